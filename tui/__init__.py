"""The terminal UI: a client of the admin API and of nothing else."""
