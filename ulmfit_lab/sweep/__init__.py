"""Sweeps: workers, clusters, hyperparameter search."""
