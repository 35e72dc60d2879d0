"""Experiments, their stages and runs: declaration, store, sweep, tracking."""
