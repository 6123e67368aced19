"""Where an engine is and whom it leads: to be looked at."""

from __future__ import annotations

from typing import Any

from flow_consensus.raft.engine import Engine


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
