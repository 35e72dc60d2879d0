"""The `noise` command: variance of an experiment's metric."""

from __future__ import annotations

import argparse
import math

from ulmfit_lab.cli.common import data_of, open_runs
from ulmfit_lab.cli.declared import load_declared
from ulmfit_lab.utils.errors import IncompleteError


def noise_command(args: argparse.Namespace) -> int:
    """Print standard deviations over seeds and test documents, and the power of different numbers of seeds."""
    from rich.console import Console

    from ulmfit_lab.experiment.plan import plan_runs
    from ulmfit_lab.experiment.precision import resolve_precision
    from ulmfit_lab.experiment.replication import sd_of_differences
    from ulmfit_lab.experiment.report_inputs import make_report_spec
    from ulmfit_lab.experiment.run_names import declared_runs
    from ulmfit_lab.report.terminal_tables import FittedTable
    from ulmfit_lab.runs.noise import measure_noise, power_words
    from ulmfit_lab.training.metrics import find_metric

    home, reader = open_runs(args)
    experiment, overrides = load_declared(args, reader)
    tracked = reader.runs(experiment.name, args.scale, "FINISHED")
    experiment, overrides = resolve_precision(experiment, args.scale, overrides, lambda: tracked, home)
    planned = plan_runs(experiment, args.scale, overrides, data_of(args), (), home.imported)
    measure, spec = find_metric(experiment.metric), make_report_spec(experiment, args.scale, overrides)
    rows = measure_noise(declared_runs(tracked, planned), measure, home)
    if not rows:
        hint = f"ulmfit-lab sweep {experiment.name} --scale {args.scale} --seeds 3"
        raise IncompleteError(f"{experiment.name} has no variant with two finished runs; run: {hint}")
    header = ["variant", spec.level_name or "level", "n", measure.label, "sd", "sd over test documents", "ICC of LM"]
    cells = [
        [row.variant, row.level, str(row.n), *("" if math.isnan(v) else f"{v:.2f}" for v in numbers)]
        for row in rows
        for numbers in [(row.mean, row.sd, row.document_sd, row.intraclass)]
    ]
    console = Console()
    console.print(FittedTable(header, cells))
    if sd := sd_of_differences(planned, tracked, spec):
        tests = len(spec.primary) or len(spec.pairs) * len(spec.levels)
        console.print(power_words(sd, tests), highlight=False, soft_wrap=True)
    return 0
