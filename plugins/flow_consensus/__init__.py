"""Consensus engines: one order of commands, on one node or on several."""
