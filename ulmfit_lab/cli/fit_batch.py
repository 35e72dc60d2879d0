"""What `plan --fit-batch` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from ulmfit_lab.experiment.plan import Plan


def print_batch_sizes(plan: Plan, console: Console) -> None:
    """Try batch sizes for the models of a plan, and print them with the option that takes the largest one."""
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
        console.print("No batch that was tried fits, or no model is trained here.")
        return
    console.print(f"The largest that fit: {' '.join(options)}", highlight=False, soft_wrap=True)
    console.print(
        f"On a CPU a batch fits in {SHARE:.0%} of the free memory. Nothing was changed: another batch size is another "
        "recipe, whose learning rate is searched anew.",
        highlight=False,
        soft_wrap=True,
    )
