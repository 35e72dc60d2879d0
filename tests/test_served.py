"""A classifier that was registered comes back as what it was, from plain text to label and probabilities."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ulmfit_lab.cli import main
from ulmfit_lab.experiment.declaration import Experiment
from ulmfit_lab.inference.predict import load_classifier, predict
from ulmfit_lab.inference.serving import FACTS, ServedClassifier, read_served, write_served
from ulmfit_lab.utils.errors import DataError, LabError

TEXTS = ["A wonderful film.", "bad", "Not a good year for films, nor for the critics who see them."]
LOAD = """
import json, sys
import mlflow
import pandas as pd

uri, texts = sys.argv[1], json.loads(sys.argv[2])
model = mlflow.pyfunc.load_model(uri)
frame = model.predict(pd.DataFrame({"stars": ["1", "2", "3"], "text": texts}))
assert frame.equals(model.predict(pd.DataFrame({"text": texts, "stars": ["1", "2", "3"]})))
assert frame.equals(model.predict([{"text": text} for text in texts]))
try:
    model.predict(pd.DataFrame({"review": texts}))
except Exception as error:
    assert "text" in str(error), error
else:
    raise AssertionError("a table without the column was read")
print(json.dumps([frame.to_dict("list"), model.metadata.signature.to_dict()]))
"""


@pytest.fixture(scope="module")
def made(new_lab: Callable[[str], Any], experiment: Experiment) -> Any:
    """A lab, a run of two directions and one of TF-IDF."""
    lab = new_lab("served")
    both = {"classifier.both_directions": True, "classifier.init": "random"}
    variants = {"random": both, "TF-IDF": {"classifier.model": "tf-idf"}}
    assert lab.sweep(replace(experiment, variants=variants, seeds=(0,))).finished == 2
    runs = {run.variant: run for run in lab.tracker.runs("starts", "tiny")}
    return lab, runs["random"], runs["TF-IDF"]


def test_a_registered_model_gives_a_fresh_process_what_its_run_gave(
    made: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lab, run, _ = made
    trained = load_classifier(run, lab.home)
    scores = predict(trained, TEXTS)
    told = ""
    for name, uri in (("", f"runs:/{run.run_id}/model"), ("films", "models:/films/1"), ("films", "models:/films/2")):
        assert main(["register", "--run", run.run_id, "--name", name, "--home", str(lab.home.root)]) == 0
        told = capsys.readouterr().out
        assert repr(uri) in told
    environment = {**os.environ, "MLFLOW_TRACKING_URI": lab.tracker.uri, "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-c", LOAD, "models:/films/2", json.dumps(TEXTS)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found, signature = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("label") == [trained.classes[number] for number in scores.argmax(1)]
    assert list(found) == [f"p_{name}" for name in trained.classes] == ["p_neg", "p_pos"]
    np.testing.assert_allclose(np.transpose(list(found.values())), scores, atol=1e-6)
    assert [column["name"] for column in json.loads(signature["outputs"])] == ["label", "p_neg", "p_pos"]
    assert [(column["name"], column["type"]) for column in json.loads(signature["inputs"])] == [("text", "string")]
    (version,) = lab.tracker.client.search_model_versions("name = 'films' and version_number = 1") or [None]
    assert version is not None and version.run_id == run.run_id


def test_columns_are_read_by_name_wherever_they_stand(made: Any) -> None:
    lab, run, _ = made
    served = ServedClassifier(load_classifier(run, lab.home))
    table = pd.DataFrame({"text": [*TEXTS, None, "<br />"], "label": list("abcde")}, index=[7, 3, 5, 1, 9])
    found = served.predict(table)
    pd.testing.assert_frame_equal(found, served.predict(table[["label", "text"]]))
    assert list(found.index) == [7, 3, 5, 1, 9] and list(found["label"].isna()) == [False] * 3 + [True] * 2
    pd.testing.assert_frame_equal(found[:3].reset_index(drop=True), served.predict(TEXTS), check_exact=False)
    for wrong in (table.rename(columns={"text": "review"}), table[["text", "text"]]):
        with pytest.raises(DataError, match="The model reads text") as refused:
            served.predict(wrong)
        assert "\n" not in str(refused.value)


def test_a_name_that_mlflow_refuses_leaves_the_run_as_it_was(made: Any, tmp_path: Path) -> None:
    lab, _, without = made
    with pytest.raises(LabError, match="cannot be logged; MLflow says: .*films/all"):
        lab.tracker.log_model(
            without.run_id, tmp_path, "ulmfit_lab.inference.serving", ["text"], {"label": "string"}, "films/all"
        )
    assert not lab.tracker.client.list_artifacts(without.run_id, "model")


def test_what_keeps_no_classifier_cannot_be_registered(made: Any, capsys: pytest.CaptureFixture[str]) -> None:
    lab, _, without = made
    assert main(["register", "--run", without.run_id, "--home", str(lab.home.root)]) == 2
    assert "stores no classifier" in capsys.readouterr().err


@pytest.mark.parametrize("facts", ["", "[]", "{}", '{"classes": 2, "configs": []}', '{"classes": [], "configs": 1}'])
def test_a_folder_that_is_no_classifier_is_told(made: Any, tmp_path: Path, facts: str) -> None:
    lab, run, _ = made
    write_served(load_classifier(run, lab.home), tmp_path / "here")
    (tmp_path / "here" / FACTS).write_text(facts)
    with pytest.raises(DataError, match="register the run again"):
        read_served(tmp_path / "here")
