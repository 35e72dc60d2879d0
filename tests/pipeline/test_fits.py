"""What a stage tells of its training."""

from __future__ import annotations

import numpy as np
import pytest

from ulmfit_lab.config.schema import LanguageModelConfig, LanguageModelTrainingConfig
from ulmfit_lab.pipeline.text_stages import Streams
from ulmfit_lab.pipeline.training_stages import check_stream_lengths, epoch_spread
from ulmfit_lab.utils.errors import DataError


def history(losses: list[float]) -> list[dict[str, float]]:
    return [{"loss": loss, "perplexity": 2.7**loss, "accuracy": loss / 10} for loss in losses]


def test_spread_over_the_last_half_of_the_epochs_by_hand() -> None:
    # of five epochs the last three: 2, 4, 6 with sd 2, and a tenth of it
    found = epoch_spread(history([90.0, 50.0, 2.0, 4.0, 6.0]))
    assert found == pytest.approx({"valid_perplexity_epoch_sd": 2.0, "valid_accuracy_epoch_sd": 0.2})
    assert epoch_spread(history([90.0, 2.0, 4.0, 6.0]))["valid_perplexity_epoch_sd"] == pytest.approx(2**0.5)


@pytest.mark.parametrize("losses", [[], [3.0], [3.0, 2.0]])
def test_fewer_than_two_last_epochs_have_no_spread(losses: list[float]) -> None:
    assert epoch_spread(history(losses)) == {}


def test_text_that_is_short_for_a_batch_is_told_with_the_field() -> None:
    long, short, none = np.zeros(513), np.zeros(512), np.zeros(0)
    recipe, lm = LanguageModelTrainingConfig(batch_size=512), LanguageModelConfig(eval_batch_size=512)
    check_stream_lengths("pretraining", recipe, lm, Streams(long, long, none))
    for streams, field, part in (
        (Streams(short, long, none), "fine_tuning.batch_size", "train"),
        (Streams(long, short, none), "lm.eval_batch_size", "valid"),
        (Streams(long, long, short), "lm.eval_batch_size", "test"),
    ):
        with pytest.raises(DataError, match=f"{field} = 512 needs more than the 512 {part} tokens; lower it"):
            check_stream_lengths("fine_tuning", recipe, lm, streams)
