"""Declaring an experiment: variants, search space, confound checks, plan."""
