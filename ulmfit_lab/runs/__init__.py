"""Finished runs: lookup, comparison, reproduction, export and import."""
