"""Running an experiment: workers, clusters, hyperparameter search."""
