"""What a member has measured, in the words of `flowctl status`."""

from __future__ import annotations

from collections import Counter
from typing import Any, Protocol

from flow_membership.swim.beliefs import Beliefs
from flow_membership.swim.claims import Claims
from flow_membership.swim.gossip import Gossip
from flow_membership.swim.health import LocalHealth
from flow_membership.swim.metering import Meter
from flow_membership.swim.probing import Prober
from flow_membership.swim.relaying import Relay
from flowcore.swarm import MemberState


class Measured(Protocol):
    """A member, as it is looked at."""

    beliefs: Beliefs
    prober: Prober
    health: LocalHealth
    relay: Relay
    gossip: Gossip
    claims: Claims
    sent: Meter
    received: Meter
    refused: Counter[str]
    stalls: int
    silences: int
    refutations: int

    @property
    def incarnation(self) -> int: ...


def status(engine: Measured, now: float) -> dict[str, Any]:
    """What was measured so far; times in seconds."""
    beliefs, prober, counts = engine.beliefs, engine.prober, engine.beliefs.counts
    trips = {
        name: trip.mean for name, trip in sorted(prober.trips.items()) if name in beliefs.known
    }
    states = [one.state for one in beliefs.known.values()]
    return {
        "members": {state.value: states.count(state) for state in MemberState},
        "incarnation": engine.incarnation,
        "health": {
            "score": engine.health.score,
            "worst": engine.health.worst,
            "stalls": engine.stalls,
            "silences": engine.silences,
        },
        "probes": {
            "begun": prober.begun,
            "answered": prober.answered,
            "failed": prober.failed,
            "indirect": prober.indirect,
            "late_answers": prober.late,
            "passed_on": engine.relay.relayed,
        },
        "rtt": {
            "mean": round(sum(trips.values()) / len(trips), 6) if trips else None,
            "members": {name: round(mean, 6) for name, mean in trips.items()},
        },
        "suspicions": {
            "begun": counts["suspicions"],
            "confirmations": counts["confirmations"],
            "false": counts["false suspicions"],
            "declared_dead": counts["declared dead"],
            "false_deaths": counts["false deaths"],
            "withdrawn": counts["withdrawn"],
            "refuted_here": engine.refutations,
        },
        "only_exchanges": sorted(one.name for one in beliefs.present() if not one.answered),
        "news": {"waiting": len(engine.gossip), "expired": engine.gossip.expired},
        "accused": {
            one.name: {"by": one.accused.accuser, "since": round(now - one.since, 3)}
            for one in sorted(beliefs.known.values(), key=lambda one: one.name)
            if one.accused is not None
        },
        "conflicts": {
            one.name: {"address": one.address, "times": one.times}
            for one in beliefs.conflicts.values()
        },
        "refused": {
            why: engine.refused[why]
            for why in ("garbage", "version", "stranger", "altered", "replayed")
        }
        | {
            "too_large": engine.refused["too large"],
            "malformed": engine.refused["malformed"],
            "unknown_messages": counts["unknown messages"],
            "unproved_claims": counts["unproved claims"],
            "unknown_certificates": counts["unknown certificates"],
            "certificates": counts["refused certificates"],
            "stolen_keys": counts["stolen keys"],
        },
        "signatures_verified": engine.claims.verified,
        "bytes": {
            "sent": engine.sent.total,
            "received": engine.received.total,
            "sent_per_second": round(engine.sent.rate(now), 1),
            "received_per_second": round(engine.received.rate(now), 1),
        },
    }
