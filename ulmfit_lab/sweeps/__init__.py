"""Making the runs of an experiment, and searching its recipes."""
