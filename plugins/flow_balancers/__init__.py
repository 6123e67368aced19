"""Balancers: how the worker that gets a call is chosen among those of a pool that can take one."""
