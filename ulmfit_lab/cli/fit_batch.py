"""Output of `plan --fit-batch`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from ulmfit_lab.experiment.plan import Plan


def print_batch_sizes(plan: Plan, console: Console) -> None:
    """Try batch sizes for the models of a plan; print the results and the options for the largest that fit."""
    from ulmfit_lab.experiment.batch_size import SHARE, find_fitting_batch_sizes, largest
    from ulmfit_lab.report.terminal_tables import text_table

    options = []
    for group, now, tried in find_fitting_batch_sizes(plan):
        console.print(
            text_table(
                [f"{group}.batch_size", "tokens/s", "memory", "fits"],
                [
                    [
                        f"{each.size}{' (now)' if each.size == now else ''}",
                        "" if each.tokens_per_second is None else f"{each.tokens_per_second:,.0f}",
                        f"{each.bytes / 2**20:,.0f} MiB" if each.bytes else "",
                        "yes" if each.fits else "no",
                    ]
                    for each in tried
                ],
            )
        )
        if found := largest(tried):
            options.append(f"--{group}.batch-size {found.size}")
    if not options:
        console.print("No batch size fits, or no model is trained.")
        return
    console.print(f"Largest batch sizes that fit: {' '.join(options)}", highlight=False, soft_wrap=True)
    console.print(
        f"On a CPU a batch may use {SHARE:.0%} of the free memory. The config is unchanged: a new batch size needs "
        "a new search for the learning rate.",
        highlight=False,
        soft_wrap=True,
    )
