"""Training steps, loop, schedules, optimizers and metrics."""
