"""A new experiment's module runs as it is written, and takes nobody's place."""

from __future__ import annotations

from pathlib import Path

import pytest

from ulmfit_lab.cli import main
from ulmfit_lab.experiment.confounds import check_confounds
from ulmfit_lab.experiment.declaration import load_experiment, run_specs
from ulmfit_lab.experiment.template import new_experiment
from ulmfit_lab.pipeline.graph import final_stage
from ulmfit_lab.utils.errors import ConfigError

FLOAT32 = {"compute.precision": "float32"}


def test_a_new_experiment_can_be_loaded_and_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", "my_question"]) == 0
    assert "ulmfit-lab plan my_question --scale demo" in capsys.readouterr().out
    experiment = load_experiment("my_question")
    assert experiment.name == "my_question"
    for scale, runs in (("tiny", 18), ("demo", 36)):
        check_confounds(experiment, scale)
        stages = {
            final_stage(each.config, each.seed, None).fingerprint for each in run_specs(experiment, scale, FLOAT32)
        }
        assert len(stages) == runs
    with pytest.raises(ConfigError, match="There is an experiment my_question"):
        new_experiment("my_question", tmp_path / "experiments")


@pytest.mark.parametrize("name", ["", "my-question", "class", "../up", "1st", "_hidden", "a b"])
def test_a_name_that_is_no_module_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="is not a module name"):
        new_experiment(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("kept")
    with pytest.raises(ConfigError, match="already exists"):
        new_experiment("mine", tmp_path)
    with pytest.raises(ConfigError, match="There is an experiment word2vec_vs_lm"):
        new_experiment("word2vec_vs_lm", tmp_path)
    assert (tmp_path / "mine.py").read_text() == "kept"
