"""Raft's simulation as a campaign of many seeds."""

from __future__ import annotations

from support.raft_world.mutants import MUTANTS
from support.raft_world.play import RaftRun
from support.simulation.campaign import Campaign

CAMPAIGN = Campaign(program="support.raft_world", run=RaftRun, mutants=MUTANTS)
