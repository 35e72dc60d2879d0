"""A declaration is recorded when the first sweep starts; what was changed afterwards is reported as exploratory."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ulmfit_lab.analysis.interim import replay_looks
from ulmfit_lab.analysis.spec import ManipulationCheck, Margin, Published, ReportSpec
from ulmfit_lab.config.paths import field_types
from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.experiment.declaration import Design, Experiment, Report, until_decided
from ulmfit_lab.experiment.registration import (
    NEWER,
    changes_since,
    declared_facts,
    parse_registration,
    read_registration,
    registered_in,
    with_registration,
)
from ulmfit_lab.experiment.report_inputs import make_report_spec
from ulmfit_lab.report.committed import Committed, committed_grid
from ulmfit_lab.report.publish import publish
from ulmfit_lab.runs.transfer import export_runs, import_runs
from ulmfit_lab.utils.errors import DataError


@pytest.fixture(scope="module")
def swept(new_lab: Callable[[str], Any], experiment: Experiment) -> Any:
    """A lab with a finished sweep of two variants."""
    lab = new_lab("registered")
    assert not lab.sweep(experiment).failures
    return lab


def report_of(lab: Any, experiment: Experiment, folder: Path) -> str:
    """The table of a report."""
    publish(experiment, "tiny", {}, lab.home, None, lab.tracker, folder)
    return (folder / "table.md").read_text(encoding="utf-8")


def test_a_sweep_records_what_was_declared_before_its_first_run(
    swept: Any, experiment: Experiment, tmp_path: Path
) -> None:
    first = parse_registration(registered_in(swept.tracker.runs("starts", "tiny")), "here")
    assert first.runs_before == 0 and first.facts == declared_facts(experiment, "tiny", None)
    report = report_of(swept, experiment, tmp_path)
    assert f"Declared {first.time} UTC" in report and ", before the first run." in report
    assert "Changed since" not in report and "exploratory" not in report
    assert read_registration(tmp_path) == f"{registered_in(swept.tracker.runs('starts', 'tiny'))}\n"
    # a clone without the runs says the same
    _, spec = committed_grid(Committed(experiment, "tiny", tmp_path))
    assert spec.registered in report


def test_what_was_declared_after_the_first_run_is_exploratory(
    swept: Any, experiment: Experiment, tmp_path: Path
) -> None:
    turned = replace(experiment, design=Design(contrasts=(("random", "fine-tuned"),)))
    report = report_of(swept, turned, tmp_path)
    assert "contrasts added: random - fine-tuned; contrasts dropped: fine-tuned - random" in report
    assert "1 language model, exploratory |" in report
    asked = replace(experiment, question="And what of sentences?")
    report = report_of(swept, asked, tmp_path)
    assert "-> 'And what of sentences?'" in report and ", exploratory |" not in report


def test_a_later_sweep_does_not_change_the_record(swept: Any, experiment: Experiment, tmp_path: Path) -> None:
    before = registered_in(swept.tracker.runs("starts", "tiny"))
    wider = replace(experiment, variants={**experiment.variants, "TF-IDF": {"classifier.model": "tf-idf"}})
    assert not swept.sweep(wider).failures
    assert registered_in(swept.tracker.runs("starts", "tiny")) == before
    report = report_of(swept, wider, tmp_path)
    assert "contrasts added: TF-IDF - random" in report and "variant added: TF-IDF" in report
    tests, _, documents = report.partition("## Over seeds and test documents")
    (line,) = [line for line in tests.splitlines() if line.startswith("| TF-IDF | random |")]
    assert ", exploratory |" in line and "| TF-IDF | random |" in documents


def test_a_changed_recipe_is_named(experiment: Experiment) -> None:
    first = declared_facts(experiment, "tiny", None)
    changed = declared_facts(experiment, "tiny", {"classifier.lr": 0.5})
    assert list(changes_since(first, changed)) == ["config of random changed", "config of fine-tuned changed"]
    assert list(changes_since(first, declared_facts(experiment, "tiny", {"compute.threads": 2}))) == []


def test_a_field_that_is_younger_than_a_registration_changes_nothing_at_its_default(experiment: Experiment) -> None:
    assert len(field_types(RunConfig).keys() - set(NEWER)) == 139, "a new field of the config belongs into NEWER"
    first = declared_facts(experiment, "tiny", None)
    assert first == declared_facts(experiment, "tiny", {"classifier.second_model": 0})
    assert first["configs"] != declared_facts(experiment, "tiny", {"classifier.second_model": 1})["configs"]


def test_looks_that_were_added_after_a_fixed_test_include_its_error(experiment: Experiment) -> None:
    """Six seeds were declared first; looks after them are a second chance for the same comparison."""

    def declared(experiment: Experiment) -> str:
        facts = declared_facts(experiment, "tiny", None)
        return json.dumps({"time": "2026-01-01 10:00", "commit": "", "runs_before": 0, "facts": facts})

    fixed = replace(experiment, seeds=tuple(range(6)))
    looked = until_decided(fixed, 10, 2)
    own = make_report_spec(looked, "tiny")
    planned, added = (with_registration(own, declared(each), looked, None, "here") for each in (looked, fixed))
    assert (planned.tested_seeds, added.tested_seeds, added.looks) == (0, 6, (6, 8, 10))
    assert not planned.exploratory and added.exploratory
    noise = 0.7 * np.random.default_rng(3).standard_normal((2, 10))
    measured = {
        (variant, "", seed): noise[k, seed] - k for k, variant in enumerate(looked.variants) for seed in looked.seeds
    }
    (p,), (p_added,) = ([each.p for each in replay_looks(measured, spec).results.values()] for spec in (planned, added))
    assert p < p_added <= 2 * p


EIGHT = tuple(range(8))
DESIGN = Design(
    primary=(("fine-tuned", "random", 100),),
    margins=(Margin("fine-tuned", "random", 2.0, "small"),),
    checks={"random": ManipulationCheck("final/above_majority", statement="learns", at_least=0.1)},
)
LEVELS = {"tiny": (30, 100)}


@pytest.mark.parametrize(
    ("later", "levels"),
    [
        ({}, ()),
        ({"question": "And what of sentences?"}, ()),
        ({"seeds": EIGHT[:6]}, ()),
        ({"seeds": range(12)}, ("30", "100")),
        ({"seeds": range(12), "scales": {"tiny": {"classifier.lr": 0.5}}}, ("30", "100")),
        ({"levels": {"tiny": (30, 60, 100)}}, ("60",)),
        ({"levels": {"tiny": (100,)}}, ()),
        ({"levels": {"tiny": (100,)}, "scales": {"tiny": {"classifier.lr": 0.5}}}, ("100",)),
        ({"design": replace(DESIGN, primary=(("fine-tuned", "random", 30),))}, ("30", "100")),
        ({"design": replace(DESIGN, primary=())}, ("30", "100")),
        ({"design": replace(DESIGN, margins=())}, ("30", "100")),
        ({"design": replace(DESIGN, margins=(Margin("fine-tuned", "random", 5.0, "small"),))}, ("30", "100")),
        ({"design": replace(DESIGN, checks={})}, ("30", "100")),
        ({"design": replace(DESIGN, language_models=2)}, ("30", "100")),
        ({"design": replace(DESIGN, smallest_difference=1.0)}, ()),
    ],
)
def test_a_change_after_the_first_run_marks_each_contrast_that_it_may_have_decided(
    experiment: Experiment, later: dict[str, Any], levels: tuple[str, ...]
) -> None:
    first = replace(experiment, factor="target.n_labels", levels=LEVELS, seeds=EIGHT, design=DESIGN)
    spec = compared(first, replace(first, **later))
    assert spec.exploratory == tuple(("fine-tuned", "random", level) for level in levels)
    assert bool(spec.changed) == bool(later)


def test_dropping_what_is_corrected_together_with_a_contrast_marks_it(experiment: Experiment) -> None:
    plain = replace(experiment, factor="target.n_labels", levels=LEVELS, seeds=EIGHT)
    fewer = replace(plain, levels={"tiny": (100,)})
    assert compared(plain, fewer).exploratory == (("fine-tuned", "random", "100"),)


def test_seeds_after_too_few_for_a_test_are_no_second_test(experiment: Experiment) -> None:
    tried, whole = (replace(experiment, seeds=range(n)) for n in (5, 8))
    assert compared(tried, whole).exploratory == ()


def test_a_published_pair_is_declared_from_the_start(experiment: Experiment) -> None:
    row = Published(variant="random", against="fine-tuned", what="error", value=5.0, source="a table")
    named = replace(experiment, design=Design(contrasts=()), report=Report(published=(row,)), baseline="fine-tuned")
    assert compared(named, named).exploratory == ()


def test_a_record_of_the_first_kind_is_read(experiment: Experiment) -> None:
    """It has one fingerprint for all configs of a variant, and neither checks nor the number of language models."""
    early = {"checks", "language_models", "recipes"}
    first = replace(experiment, design=DESIGN, factor="target.n_labels", levels=LEVELS, seeds=EIGHT)
    assert compared(first, first, without=early).changed == ()
    changed = compared(first, replace(first, scales={"tiny": {"classifier.lr": 0.5}}), without=early)
    assert changed.changed == ("config of random changed", "config of fine-tuned changed")
    assert len(changed.exploratory) == 2


def compared(first: Experiment, now: Experiment, without: Collection[str] = ()) -> ReportSpec:
    """The report specification of an experiment whose first declaration was another one."""
    facts = {name: fact for name, fact in declared_facts(first, "tiny", None).items() if name not in without}
    text = json.dumps({"time": "2026-01-01 10:00", "commit": "", "runs_before": 0, "facts": facts})
    return with_registration(make_report_spec(now, "tiny"), text, now, None, "here")


def test_a_declaration_travels_with_its_runs(
    swept: Any, new_lab: Callable[[str], Any], experiment: Experiment, tmp_path: Path
) -> None:
    export_runs("starts", "tiny", swept.tracker, tmp_path / "runs.jsonl", swept.home)
    report_of(swept, experiment, tmp_path / "made")
    for name, source in (("export", tmp_path / "runs.jsonl"), ("csv", tmp_path / "made" / "runs.csv")):
        other = new_lab(name)
        import_runs(experiment, "tiny", None, other.home, None, other.tracker, source)
        report_of(other, experiment, tmp_path / name)
        for file in ("registered.json", "table.md"):
            assert (tmp_path / name / file).read_bytes() == (tmp_path / "made" / file).read_bytes()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"time": 1, "commit": "", "runs_before": 0, "facts": {}}', "{"])
def test_a_damaged_record_is_an_error_that_names_its_file(text: str) -> None:
    with pytest.raises(DataError, match=r"results/x/registered.json holds no registration .* restore or delete it"):
        parse_registration(text, "results/x/registered.json")
