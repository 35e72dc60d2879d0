"""What a stage tells of its training."""

from __future__ import annotations

import pytest

from ulmfit_lab.stages.fits import epoch_spread


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
