"""Verdicts, tables and figures, regenerated from runs."""
