"""What can be rehearsed, on whom, how often, how long, and when it stops itself."""

from __future__ import annotations

from typing import Literal

import attrs

from flowcore.config import Duration, Size, setting
from flowcore.config import validators as v

Fault = Literal[
    "latency",
    "error",
    "link_latency",
    "link_loss",
    "partition",
    "crash_agent",
    "crash_node",
    "processor",
    "memory",
    "disk",
    "clock",
]
OF_REQUESTS = frozenset({"latency", "error"})
OF_LINKS = frozenset({"link_latency", "link_loss", "partition"})
OF_AGENTS = frozenset({"latency", "error", "crash_agent"})


@attrs.frozen(kw_only=True)
class Experiment:
    """One fault, on some, for a while."""

    fault: Fault = setting(
        help="`latency` and `error` of requests; `link_latency`, `link_loss` and `partition` of links and"
        " gossip; `crash_agent`, `crash_node`; `processor`, `memory` and `disk` of this machine;"
        " `clock` of this node"
    )
    agents: tuple[str, ...] = setting(
        (), help="whose requests, or who is to crash; unset: the requests of all"
    )
    nodes: tuple[str, ...] = setting((), help="to and from which nodes; unset: all")
    way: Literal["in", "out", "both"] = setting(
        "both", help="of links: what comes from there, what goes there, or both"
    )
    rate: float = setting(
        1.0,
        validator=v.in_range(0.0, 1.0),
        help="the share of the requests, or of what passes, that it meets",
    )
    delay: Duration = setting(0.0, validator=v.ge(0), help="how much later something comes")
    jitter: Duration = setting(0.0, validator=v.ge(0), help="so much more or less, evenly")
    size: Size = setting(
        0, validator=v.ge(0), help="bytes of memory or disk that are taken, at most"
    )
    leave: Size = setting(
        0, validator=v.ge(0), help="bytes of the disk that are left free; 0 is a full disk"
    )
    offset: Duration = setting(
        0.0, validator=v.ge(0), help="how far ahead this node's wall clock is"
    )
    behind: bool = setting(False, help="whether the clock is behind by `offset` instead")
    cores: int = setting(1, validator=v.in_range(1, 64), help="processors that are kept busy")
    after: Duration = setting(
        0.0, validator=v.ge(0), help="how long after the start, or after `flowctl fault start`"
    )
    duration: Duration = setting(
        60.0, validator=v.in_range(0.001, 86400.0), help="how long it lasts; then it is undone"
    )
    dry_run: bool = setting(False, help="whether it is only counted and audited what would be done")

    def __attrs_post_init__(self) -> None:
        kind = self.fault
        if kind in ("latency", "link_latency") and not self.delay and not self.jitter:
            raise ValueError(f"expected a delay or jitter for {kind!r}")
        if kind == "crash_agent" and not self.agents:
            raise ValueError("expected the agents that are to crash")
        if kind in ("memory", "disk") and not self.size:
            raise ValueError(f"expected a size for {kind!r}: the bytes that it takes at most")
        if kind == "clock" and not self.offset:
            raise ValueError("expected an offset for 'clock': how far it is off")
        if (self.offset or self.behind) and kind != "clock":
            raise ValueError(f"expected offset and behind only for 'clock', not {kind!r}")
        if self.agents and kind not in OF_AGENTS:
            raise ValueError(f"expected no agents for {kind!r}")
        if (self.nodes or self.way != "both") and kind not in OF_LINKS:
            raise ValueError(f"expected nodes and way only for faults of links, not {kind!r}")


@attrs.frozen(kw_only=True)
class StopSettings:
    """When a rehearsal goes too far: all experiments are undone at once."""

    errors: float = setting(
        0.5, validator=v.in_range(0.0, 1.0), help="the share of failed requests that is too much"
    )
    p99: Duration | None = setting(
        None, validator=v.gt(0), help="the time of the slowest in a hundred that is too long"
    )
    calls: int = setting(20, validator=v.ge(1), help="requests before shares mean anything")
    window: Duration = setting(10.0, validator=v.gt(0), help="the time over which they count")


@attrs.frozen(kw_only=True)
class FaultsConfig:
    """Rehearsed failure: experiments that begin with the node, or by `flowctl fault start`."""

    experiments: dict[str, Experiment] = setting(
        factory=dict,
        help="by name; each is there to be started, and starts by itself if `start` says so",
    )
    start: tuple[str, ...] = setting((), help="names of experiments that begin with the node")
    crash_node: bool = setting(
        False, help="whether this node may be crashed at all (kill -9 of itself)"
    )
    stop: StopSettings = setting(factory=StopSettings, help="when all of it is undone")

    def __attrs_post_init__(self) -> None:
        unknown = [name for name in self.start if name not in self.experiments]
        if unknown:
            raise ValueError(f"expected names of experiments to start, not {unknown[0]!r}")
        crash = [name for name, one in self.experiments.items() if one.fault == "crash_node"]
        if crash and not self.crash_node:
            raise ValueError(
                f"experiment {crash[0]!r} would crash this node: set crash_node = true to allow it"
            )
