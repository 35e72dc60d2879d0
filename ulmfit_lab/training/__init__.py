"""Training: steps, the loop, schedules, optimizers, metrics."""
