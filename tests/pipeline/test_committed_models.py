"""The committed language models are those that the declared experiments start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from ulmfit_lab.experiment.declaration import load_experiment, run_specs
from ulmfit_lab.pipeline.graph import final_stage
from ulmfit_lab.pipeline.stage_archive import import_stages
from ulmfit_lab.pipeline.store import StageStore

ARCHIVES = sorted((Path(__file__).resolve().parents[2] / "results" / "pretrained").glob("*.zip"))
USERS = ("lm_seeds", "word2vec_vs_lm", "fine_tuning", "features_vs_fine_tuning", "unseen_words", "label_efficiency")
MOST_BYTES = 50_000_000


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> StageStore:
    """A store with the committed stages."""
    store = StageStore(tmp_path_factory.mktemp("home") / "stages")
    for archive in ARCHIVES:
        import_stages(archive, store)
    return store


def test_committed_models_are_whole_and_fit_into_a_clone(store: StageStore) -> None:
    models = [stage for stage in store.finished() if stage.kind == "pretrained"]
    assert len(models) == 8 and sum(archive.stat().st_size for archive in ARCHIVES) < MOST_BYTES
    perplexities = [stage.summary["final"]["perplexity"] for stage in models]
    assert max(perplexities) < 80 and max(perplexities) - min(perplexities) < 3, "one recipe, different seeds"
    assert len(set(perplexities)) == len(models)


@pytest.mark.parametrize("name", USERS)
def test_an_experiment_starts_from_the_committed_models(store: StageStore, name: str, data_dir: Path) -> None:
    committed = {stage.fingerprint for stage in store.finished() if stage.kind == "pretrained"}
    experiment = load_experiment(name)
    used = {
        stage.fingerprint
        for spec in run_specs(experiment, "small")
        if spec.variant == experiment.baseline or spec.config.classifier.init in ("pretrained", "fine-tuned")
        for stage in final_stage(spec.config, spec.seed, data_dir).ancestry()
        if stage.kind == "pretrained"
    }
    assert committed <= used
