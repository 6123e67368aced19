"""Benchmarks: `make benchmark` runs every family, `make benchmark-FAMILY` one."""
