"""What a swarm has to tell as metrics: who is there, the links, and what travels over them."""

from __future__ import annotations

from collections.abc import Iterator

from flowcore.swarm.interfaces import MemberState
from flowcore.swarm.swarm import Swarm
from flowcore.telemetry import Reading, counter, gauge

MEMBERS = gauge(
    "flowcore.swarm.members", "{node}", "Nodes by state, as this node sees them.", "state"
)
REACHABLE = gauge("flowcore.swarm.reachable", "{node}", "Other nodes that this one has a way to.")
UNREACHABLE = gauge(
    "flowcore.swarm.unreachable", "{node}", "Nodes that should be there, without a way."
)
LINKS = gauge("flowcore.links.up", "{link}", "Links that stand.")
WANTED = gauge("flowcore.links.wanted", "{link}", "Links that this node's topology asks for.")
MADE = counter("flowcore.links.made", "{link}", "Links that were made, by either side.")
REFUSED = counter("flowcore.links.refused", "{link}", "Links that were refused.", "reason")
RTT = gauge("flowcore.link.rtt", "s", "Smoothed round trip of a link.", "peer")
BYTES = counter("flowcore.link.io", "By", "Bytes of a link's frames.", "peer", "direction")
FRAMES = counter("flowcore.link.frames", "{frame}", "Frames of a link.", "peer", "direction")
STREAMS = gauge(
    "flowcore.link.streams",
    "{stream}",
    "Streams open on a link, by who began them.",
    "peer",
    "side",
)
LANE_WAITING = gauge(
    "flowcore.link.lane.waiting",
    "{message}",
    "Messages that wait on a lane of a link.",
    "peer",
    "lane",
)
LANE_BYTES = gauge(
    "flowcore.link.lane.size", "By", "What waits on a lane of a link.", "peer", "lane"
)
LANE_DROPPED = counter(
    "flowcore.link.lane.dropped", "{message}", "Messages that a full lane dropped.", "peer", "lane"
)
RELAYED = counter(
    "flowcore.overlay.relayed", "{message}", "Messages and streams of others, passed on."
)
REROUTED = counter(
    "flowcore.overlay.rerouted",
    "{message}",
    "Messages and streams that took another way than the first.",
)
DROPPED = counter(
    "flowcore.overlay.dropped",
    "{message}",
    "Messages that did not go on, or were not taken.",
    "reason",
)


def measure(swarm: Swarm) -> Iterator[Reading]:
    """Its readings."""
    states = [one.state for one in swarm.members().values()]
    for state in MemberState:
        yield MEMBERS.of(states.count(state), state.value)
    yield REACHABLE.of(len(swarm.overlay.reachable()))
    yield UNREACHABLE.of(len(swarm.overlay.unreachable()))
    links = swarm.links.status()
    yield LINKS.of(len(links["links"]))
    yield WANTED.of(len(links["wanted"]))
    yield MADE.of(links["made"])
    for reason, count in links["refused"].items():
        yield REFUSED.of(count, reason)
    for peer, link in links["links"].items():
        yield RTT.of(link["rtt"], peer)
        for direction in ("in", "out"):
            yield BYTES.of(link["bytes"][direction], peer, direction)
            yield FRAMES.of(link["frames"][direction], peer, direction)
        for side, count in link["streams"].items():
            yield STREAMS.of(count, peer, side)
        for name, lane in link["lanes"].items():
            yield LANE_WAITING.of(lane["waiting"], peer, name)
            yield LANE_BYTES.of(lane["bytes"], peer, name)
            yield LANE_DROPPED.of(lane["dropped"], peer, name)
    overlay = swarm.overlay.status()
    yield RELAYED.of(overlay["relayed"])
    yield REROUTED.of(overlay["rerouted"])
    for reason in ("dropped", "looped", "malformed", "unproven", "duplicates"):
        yield DROPPED.of(overlay[reason], "no_way" if reason == "dropped" else reason)
