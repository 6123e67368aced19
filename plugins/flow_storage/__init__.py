"""Storage: a log and what a consensus engine must not forget."""
