"""The simulation of Byzantine agreement as a campaign of many seeds."""

from __future__ import annotations

from support.bft_world.mutants import MUTANTS
from support.bft_world.play import BftRun
from support.simulation.campaign import Campaign

CAMPAIGN = Campaign(program="support.bft_world", run=BftRun, mutants=MUTANTS, batch=20)
