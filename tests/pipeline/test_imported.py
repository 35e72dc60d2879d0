"""A language model of fastai's stands where pretraining would, and only where it fits."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ulmfit_lab.cli import main
from ulmfit_lab.config.paths import override
from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.data.corpus import open_corpus
from ulmfit_lab.data.formats import Document
from ulmfit_lab.data.rules import SPECIALS
from ulmfit_lab.data.vocabulary import Vocabulary
from ulmfit_lab.experiment.declaration import Experiment, variant_config
from ulmfit_lab.inference.predict import load_language_model, tokens_of
from ulmfit_lab.models.fastai import write_fastai
from ulmfit_lab.pipeline.build_models import new_language_model, restore_language_model
from ulmfit_lab.pipeline.graph import final_stage
from ulmfit_lab.pipeline.imported_models import export_fastai, find_import, import_fastai
from ulmfit_lab.pipeline.store import Observer, Stage, StageStore
from ulmfit_lab.utils.errors import ConfigError, MismatchError

WORDS = (
    "xxunk",
    "xxpad",
    "xxbos",
    "xxfld",
    "xxmaj",
    "xxup",
    "xxrep",
    "xxwrep",
    "the",
    "film",
    "is",
    "good",
    "bad",
    ".",
)


@pytest.fixture
def config(experiment: Experiment) -> RunConfig:
    """A tiny run that starts from the imported model, whose vocabulary has `xxmaj`."""
    return override(variant_config(experiment, "tiny", "fine-tuned"), {"imported": "wt103", "mark_capitals": True})


@pytest.fixture
def files(config: RunConfig, tmp_path: Path) -> tuple[Path, Path]:
    """Weights and words of a model of the tiny size, as fastai writes them."""
    torch.manual_seed(0)
    write_fastai(new_language_model(config, len(WORDS)), tmp_path / "lm.pth")
    (tmp_path / "itos.pkl").write_bytes(pickle.dumps(list(WORDS)))
    return tmp_path / "lm.pth", tmp_path / "itos.pkl"


def test_an_import_takes_the_place_of_pretraining(config: RunConfig, files: tuple[Path, Path], tmp_path: Path) -> None:
    imports = tmp_path / "imported"
    import_fastai(*files, "wt103", imports)
    last = final_stage(config, 0, None, imports)
    pretrained = next(stage for stage in last.ancestry() if stage.kind == "pretrained")
    assert [each.kind for each in pretrained.ancestry()] == ["vocabulary", "pretrained"]
    store = StageStore(tmp_path / "stages")
    stored = store.get_or_compute(pretrained, Observer())
    words = Vocabulary.load(stored.folder / "vocabulary.json")
    model = restore_language_model(words, stored, config)
    saved = torch.load(files[0], weights_only=True)
    row = model.encoder.embedding.weight[words.ids["film"]]
    assert torch.equal(row, saved["0.encoder.weight"][WORDS.index("film")])
    assert 0 <= store.get_or_compute(last, Observer()).summary["final"]["error"] <= 1


def test_the_key_is_that_of_the_weights_and_not_of_the_name(
    config: RunConfig, files: tuple[Path, Path], tmp_path: Path
) -> None:
    imports = tmp_path / "imported"
    first = import_fastai(*files, "wt103", imports)
    import_fastai(*files, "other", imports)
    assert len(first.weights) == 64

    def cell(name: str) -> str:
        return final_stage(override(config, {"imported": name}), 0, None, imports).fingerprint

    assert cell("wt103") == cell("other") != final_stage(override(config, {"imported": ""}), 0, None).fingerprint
    write_fastai(new_language_model(config, len(WORDS)), files[0])
    import_fastai(*files, "other", imports)
    assert cell("wt103") != cell("other")
    other_recipe = override(config, {"pretraining.epochs": 7})  # nothing is pretrained
    assert final_stage(other_recipe, 0, None, imports).fingerprint == cell("wt103")
    baseline = override(config, {"classifier.init": "random"})
    assert (
        final_stage(baseline, 0, None, imports).fingerprint
        == final_stage(override(baseline, {"imported": ""}), 0, None).fingerprint
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"imported": "wt104"}, "Did you mean 'wt103'"),
        ({"lm.emb_size": 20, "lm.n_layers": 2}, "add --lm.emb-size 16 --lm.n-layers 1$"),
        ({"lm.tie_weights": False}, "add --lm.tie-weights"),
        ({"vocabulary.units": "subwords"}, "--vocabulary.units words"),
        ({"mark_capitals": False}, "marks capitals differently; add --mark-capitals$"),
        ({"lm.backwards": True}, "--backwards"),
    ],
)
def test_a_run_that_does_not_fit_is_told_what_to_set(
    config: RunConfig, files: tuple[Path, Path], tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    import_fastai(*files, "wt103", tmp_path / "imported")
    with pytest.raises(ConfigError, match=says):
        final_stage(override(config, changes), 0, None, tmp_path / "imported")


def test_texts_have_the_marks_that_the_model_was_trained_with(
    config: RunConfig, files: tuple[Path, Path], tmp_path: Path
) -> None:
    import_fastai(*files, "wt103", tmp_path / "imported")
    (tmp_path / "films.csv").write_text("text,label\nThe Film is GOOD.,pos\nBad,neg\n", encoding="utf-8")
    own = override(config, {"target.path": str(tmp_path / "films.csv"), "classifier.init": "pretrained"})

    def tokens(config: RunConfig) -> list[str]:
        (stage,) = (s for s in final_stage(config, 0, None, tmp_path / "imported").ancestry() if s.kind == "tokens")
        return list(open_corpus(StageStore(tmp_path / "stages").get_or_compute(stage, Observer()).folder).lexicon)

    assert tokens(own) == ["xxbos", "xxmaj", "the", "film", "is", "xxup", "good", ".", "bad"]
    plain = override(own, {"imported": "", "mark_capitals": False, "classifier.init": "random"})
    assert tokens(plain) == ["xxbos", "the", "film", "is", "xxup", "good", ".", "bad"]
    assert tokens_of([Document("The film")], own)[0] == ["xxbos", "xxmaj", "the", "film"], "as in training"

    old = tmp_path / "old.pkl"  # fastai 0.7 marks no capitalised words
    old.write_bytes(pickle.dumps(["_unk_", "_pad_", "xbos", "xfld", "tk_maj", *WORDS[5:]]))
    found = import_fastai(files[0], old, "old", tmp_path / "imported")
    assert not found.mark_capitals and find_import(override(config, {"imported": "wt103"}), found.folder.parents[1])
    with pytest.raises(ConfigError, match="add --no-mark-capitals$"):
        find_import(override(config, {"imported": "old"}), found.folder.parents[1])


def test_both_directions_live_under_one_name(config: RunConfig, files: tuple[Path, Path], tmp_path: Path) -> None:
    def plan(backwards: bool) -> Stage:
        return final_stage(override(config, {"lm.backwards": backwards}), 0, None, tmp_path)

    forwards = import_fastai(*files, "wt103", tmp_path)
    backwards = import_fastai(*files, "wt103", tmp_path, backwards=True)
    assert find_import(config, tmp_path) == forwards
    assert find_import(override(config, {"lm.backwards": True}), tmp_path) == backwards
    stages = [next(s for s in plan(changes).ancestry() if s.kind == "pretrained") for changes in (False, True)]
    assert forwards.weights == backwards.weights and stages[0].fingerprint != stages[1].fingerprint


def test_weights_that_changed_since_are_refused(config: RunConfig, files: tuple[Path, Path], tmp_path: Path) -> None:
    found = import_fastai(*files, "wt103", tmp_path / "imported")
    (found.folder / "model.safetensors").write_bytes(b"other")
    last = final_stage(override(config, {"classifier.init": "pretrained"}), 0, None, tmp_path / "imported")
    with pytest.raises(MismatchError, match="has changed since its import"):
        StageStore(tmp_path / "stages").get_or_compute(last, Observer())


def test_a_runs_model_goes_to_fastai_and_comes_back_the_same(
    new_lab: Callable[[str], Any], experiment: Experiment, tmp_path: Path, capsys: Any
) -> None:
    lab = new_lab("exported")
    variants = {name: {**changes, "last_stage": "pretrained"} for name, changes in experiment.variants.items()}
    alone = {**experiment.scales["tiny"], "lm.n_layers": 2}
    lab.sweep(
        Experiment(
            name="starts",
            question="?",
            baseline="random",
            variants={"random": variants["random"]},
            scales={"tiny": alone},
            seeds=(0,),
            metric="final/valid_loss",
        )
    )
    (run,) = lab.tracker.runs("starts", "tiny")
    where = ("--home", str(lab.home.root))
    assert main(["export-fastai", "--run", "starts/random/0", "--to", str(tmp_path / "lm.pth"), *where]) == 0
    files = ("--weights", str(tmp_path / "lm.pth"), "--vocab", str(tmp_path / "lm_vocab.pkl"))
    assert main(["import-fastai", *files, "--name", "mine", *where]) == 0
    assert "--imported mine --lm.emb-size 16 --lm.hidden-size 24 --lm.n-layers 2\n" in capsys.readouterr().out
    trained = load_language_model(run, lab.home)
    config = override(trained.config, {"imported": "mine", "classifier.init": "pretrained", "last_stage": "classifier"})
    last = final_stage(config, 0, None, lab.home.imported)
    pretrained = next(stage for stage in last.ancestry() if stage.kind == "pretrained")
    stored = StageStore(lab.home.stages).get_or_compute(pretrained, Observer())
    again = restore_language_model(trained.vocabulary, stored, config).state_dict()
    assert Vocabulary.load(stored.folder / "vocabulary.json") == trained.vocabulary
    assert all(torch.equal(tensor, again[name]) for name, tensor in trained.model.state_dict().items())


def test_a_model_of_subwords_cannot_go(config: RunConfig, tmp_path: Path) -> None:
    pieces = Vocabulary((*SPECIALS, "a", "b", "ab"), (("a", "b"),))
    with pytest.raises(ConfigError, match="subwords"):
        export_fastai(new_language_model(config, len(pieces)), pieces, tmp_path / "lm.pth", mark_capitals=False)


@pytest.mark.parametrize("name", ["../up", "", "a/b", ".hidden"])
def test_a_name_that_is_no_file_name_is_refused(files: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="is not a valid model name"):
        import_fastai(*files, name, tmp_path)
