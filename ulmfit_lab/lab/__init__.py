"""Experiments: what is compared, at which scale, at which cost."""
