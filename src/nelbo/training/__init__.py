"""Training by the bound: steps, checkpoints, the log and the lock of a run's folder."""
