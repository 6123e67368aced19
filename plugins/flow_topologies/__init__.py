"""Topologies: which links there are among the members of a swarm, and which way leads where."""
