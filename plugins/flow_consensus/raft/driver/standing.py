"""Where an engine is, whom it leads, and what is in its log: to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import trio

from flow_consensus.raft.engine import Engine
from flow_consensus.raft.entries import command_of, described
from flowcore.state import Shown, Storage


async def shown(storage: Storage, commit: int, first: int, most: int) -> Sequence[Shown]:
    """Entries of a log from a position on, `most` at most, for a person. Raises TooOld."""
    last = min(storage.last, first + most - 1)
    if first > last:
        await trio.lowlevel.checkpoint()
        return ()
    return [
        Shown(
            position=one.position,
            term=one.term,
            committed=one.position <= commit,
            data=command_of(one.data),
            note=described(one.data),
        )
        for one in await storage.read(first, last)
    ]


def standing(engine: Engine) -> dict[str, Any]:
    """What is true of it now, for JSON; names in order."""
    now = engine.status()
    return {
        "name": now.name,
        "cluster": engine.cluster,
        "role": str(now.role),
        "term": now.term,
        "leader": now.leader,
        "commit": now.commit,
        "last": now.last,
        "start": now.start,
        "lag": now.last - now.commit,
        "voters": sorted(now.membership.voters),
        "outgoing": sorted(now.membership.outgoing),
        "learners": sorted(now.membership.learners),
        "followers": {
            name: {
                "phase": one.phase,
                "match": one.match,
                "lag": now.last - one.match,
                "active": one.active,
            }
            for name, one in now.followers.items()
        },
        "refused_messages": now.refused,
    }
