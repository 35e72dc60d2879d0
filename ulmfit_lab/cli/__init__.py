"""The command line."""

from ulmfit_lab.cli.commands import main

__all__ = ["main"]
