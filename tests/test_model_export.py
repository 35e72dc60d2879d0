"""A run's language model becomes one to start from, in another home and by its name alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ulmfit_lab.cli import main
from ulmfit_lab.cli.models import model_cells
from ulmfit_lab.config.paths import override
from ulmfit_lab.config.scales import DEMO
from ulmfit_lab.data.corpus import open_corpus, write_corpus
from ulmfit_lab.data.formats import Document
from ulmfit_lab.data.rules import SPECIALS
from ulmfit_lab.data.vocabulary import Vocabulary
from ulmfit_lab.experiment.declaration import Experiment
from ulmfit_lab.inference import model_export
from ulmfit_lab.inference.model_export import export_model, share_of_unknown
from ulmfit_lab.inference.predict import load_language_model
from ulmfit_lab.models.sizes import Sizes
from ulmfit_lab.pipeline import imported_models
from ulmfit_lab.pipeline.build_models import restore_language_model
from ulmfit_lab.pipeline.graph import final_stage
from ulmfit_lab.pipeline.imported_models import list_models, read_model_folder
from ulmfit_lab.pipeline.store import Observer, StageStore
from ulmfit_lab.utils.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def trained(new_lab: Callable[[str], Any], experiment: Experiment) -> tuple[Any, Any]:
    """A lab with a run of a language model, and the run."""
    lab = new_lab("models")
    alone = replace(
        experiment,
        name="alone",
        baseline="forwards",
        variants={"forwards": {"last_stage": "pretrained"}},
        metric="final/valid_loss",
        seeds=(0,),
    )
    assert not lab.sweep(alone).failures
    return lab, lab.tracker.runs("alone", "tiny", "FINISHED")[0]


def test_an_exported_model_starts_runs_of_another_home(
    trained: Any, experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, run = trained
    monkeypatch.setattr(imported_models, "SHIPPED", tmp_path)
    saved = export_model(run, lab.home, None, tmp_path, "mine", half=True)
    assert saved == read_model_folder(tmp_path / "mine" / "forwards")
    assert [model.name for model in list_models(None)] == ["mine"]
    config = override(
        load_language_model(run, lab.home).config,
        {"imported": "mine", "last_stage": "classifier", "classifier.init": "pretrained"},
    )
    last = final_stage(config, 0, None, None)
    store = StageStore(tmp_path / "stages")
    store.get_or_compute(last, Observer())
    pretrained = next(stage for stage in last.ancestry() if stage.kind == "pretrained")
    stored = store.find(pretrained)
    assert stored is not None
    original = load_language_model(run, lab.home)
    model = restore_language_model(original.vocabulary, stored, config)
    for name, tensor in original.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor.half().float()), "float16 is read back as float32"
    with pytest.raises(ConfigError, match=r"a model of language 'en', but this run's language is 'de'.*--imported ''"):
        final_stage(override(config, {"language": "de"}), 0, None, None)


def test_a_card_says_where_a_model_comes_from(trained: Any, reviews: Path, tmp_path: Path) -> None:
    lab, run = trained
    saved = export_model(run, lab.home, None, tmp_path, "mine", half=False)
    card = json.loads((saved.folder / "model.json").read_text())["card"]
    assert card["files"] == [{"file": reviews.name, "sha256": model_export.file_digest(reviews), "terms": "not known"}]
    assert card["final"]["valid_loss"] == run.metrics["final/valid_loss"]
    assert card["tokens_read"] > 0 and card["config"]["pretraining.seed"] == 0
    assert card["command"] == "ulmfit-lab sweep alone --scale tiny"
    text = (saved.folder / "README.md").read_text()
    assert "--imported mine" in text and reviews.name in text
    assert str(tmp_path) not in text and str(reviews.parent) not in text, "no path of this machine"


def test_a_card_has_the_metrics_on_the_named_sets(
    trained: Any, tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, run = trained
    monkeypatch.setattr(model_export, "EVALUATED", (("trec", "test"),))
    monkeypatch.setattr(model_export, "EVALUATED_TOKENS", 2_000)
    saved = export_model(run, lab.home, data_dir, tmp_path, "mine", half=True)
    row = saved.card["evaluation"]["trec test"]
    assert 0 < row["unknown"] < 1 and row["perplexity"] > 1
    assert row["loss_float16"] == pytest.approx(row["loss"], abs=1e-3)
    assert "| trec test |" in (saved.folder / "README.md").read_text()


def test_the_share_of_unknown_tokens_is_counted_over_all_tokens(tmp_path: Path) -> None:
    write_corpus([Document("good film"), Document("good bad")], "en", tmp_path)
    corpus = open_corpus(tmp_path)
    known = Vocabulary((*SPECIALS, *[word for word in corpus.lexicon if word not in {"bad", "film", *SPECIALS}]))
    assert share_of_unknown(corpus, known) == pytest.approx(2 / corpus.n_tokens)


def test_models_are_listed_with_what_was_trained_here(
    trained: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, run = trained
    monkeypatch.setenv("COLUMNS", "150")
    where = ("--home", str(lab.home.root))
    assert main(["export-model", "--run", "alone/forwards/0", "--name", "given", "--to", str(tmp_path), *where]) == 0
    assert f"Written: {tmp_path / 'given' / 'forwards'}" in capsys.readouterr().out
    monkeypatch.setattr(imported_models, "SHIPPED", tmp_path)
    assert main(["models", *where]) == 0
    out = capsys.readouterr().out
    assert "given" in out and "shipped" in out and "16/24/1" in out
    assert run.tags["stage.pretrained"] in out and "trained here" in out
    assert main(["models", "given", *where]) == 0
    assert "# given, forwards" in capsys.readouterr().out
    assert main(["models", "givn", *where]) == 2
    assert "Did you mean 'given'" in capsys.readouterr().err


def test_a_model_that_its_card_would_not_describe_is_refused(
    new_lab: Callable[[str], Any], experiment: Experiment, tmp_path: Path
) -> None:
    lab = new_lab("tuned")
    assert not lab.sweep(replace(experiment, name="tuned", seeds=(0,))).failures
    run = next(run for run in lab.tracker.runs("tuned", "tiny", "FINISHED") if run.variant == "fine-tuned")
    with pytest.raises(ConfigError, match="name a run whose last_stage is pretrained"):
        export_model(run, lab.home, None, tmp_path, "mine", half=False)
    assert not list(tmp_path.iterdir())


def test_an_imported_model_is_not_described_as_one_of_the_runs_own(
    trained: Any, new_lab: Callable[[str], Any], experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, run = trained
    monkeypatch.setattr(imported_models, "SHIPPED", tmp_path)
    export_model(run, lab.home, None, tmp_path, "mine", half=False)
    other = new_lab("imported")
    start = {"imported": "mine", "classifier.init": "pretrained"}
    alone = replace(experiment, name="started", baseline="mine", variants={"mine": start}, seeds=(0,))
    assert not other.sweep(alone).failures
    (started,) = other.tracker.runs("started", "tiny", "FINISHED")
    with pytest.raises(ConfigError, match="name a run whose last_stage is pretrained"):
        export_model(started, other.home, None, tmp_path / "more", "again", half=False)


def test_the_perplexity_that_is_listed_is_the_test_texts_where_there_are_some(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(bytes(2_000_000))
    sizes = Sizes(10, 4, 5, 2, True)
    final = {"perplexity": 66.5, "valid_perplexity": 67.2}
    assert model_cells(1000, sizes, tmp_path, final) == ["1,000", "4/5/2", "2.0", "66.5"]
    assert model_cells(1000, sizes, tmp_path, {"valid_perplexity": 67.2})[-1] == "67.2"


def test_a_damaged_description_is_reported(tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "forwards"
    folder.mkdir(parents=True)
    (folder / "model.json").write_text("{}")
    with pytest.raises(DataError, match="is damaged"):
        read_model_folder(folder)


def test_the_models_of_the_package_can_be_started_from() -> None:
    models = list(list_models(None))
    for model in models:
        assert (model.folder / "model.safetensors").stat().st_size < 10e6
        assert model.language == "en" and model.card["tokens_read"] > 0
        changes = {"imported": model.name, "lm.backwards": model.direction == "backwards", **model.required_config}
        config = override(DEMO, {**changes, "compute.precision": "float32"})
        assert any(stage.key.get("weights") == model.weights for stage in final_stage(config, 0, None).ancestry())
