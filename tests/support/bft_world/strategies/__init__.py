"""Ways to lie, each a small class: what a Byzantine node says in the place of what it should, or beside."""

from __future__ import annotations

from support.bft_world.strategies.accusers import FalseAccuser
from support.bft_world.strategies.forger import Forger
from support.bft_world.strategies.leaders import Censor, EquivocatingLeader, SilentLeader
from support.bft_world.strategies.readers import ReadLiar
from support.bft_world.strategies.states import CheckpointLiar, StateCorrupter
from support.bft_world.strategies.strategy import Strategy
from support.bft_world.strategies.twins import Twin
from support.bft_world.strategies.views import Replayer, ViewLiar
from support.bft_world.strategies.voters import DoubleVoter, VoteWithholder, YesSayer

__all__ = ["STRATEGIES", "Strategy"]

STRATEGIES: dict[str, type[Strategy]] = {
    kind.name: kind
    for kind in (
        EquivocatingLeader,
        DoubleVoter,
        YesSayer,
        VoteWithholder,
        Forger,
        Replayer,
        ViewLiar,
        SilentLeader,
        Censor,
        StateCorrupter,
        CheckpointLiar,
        ReadLiar,
        FalseAccuser,
        Twin,
    )
}
