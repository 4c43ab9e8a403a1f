"""Re-run of the paper's experiment, and a report on it."""
