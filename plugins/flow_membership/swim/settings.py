"""The settings of `swim`, and the three sets of times that stand for kinds of networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

from flowcore.config import Duration, setting
from flowcore.config import validators as v


@attrs.frozen(kw_only=True)
class Times:
    """Everything that is counted in seconds, and what time-outs are made of."""

    probe_interval: float
    """A member is probed each so often: the protocol period."""
    least_timeout: float
    """A probe waits at least so long before it asks again, however quick answers are: for a process that
    was busy for a moment."""
    most_timeout: float
    """And at most so long, however slow they are."""
    gossip_interval: float
    """News go out each so often, beside what rides on probes."""
    suspicion: float
    """Lifeguard's alpha: the shortest suspicion is alpha · log10(members) probe intervals."""
    suspicion_most: float
    """Lifeguard's beta: the longest is so many times the shortest."""
    sync_interval: float
    """All that is known is compared with one other member each so often."""
    knock_interval: float
    """Somebody who is dead, or a seed, is asked again each so often at most."""
    remember: float
    """The dead and those who left are shown for so long."""


PROFILES: Mapping[str, Times] = {
    "local": Times(
        probe_interval=0.2,
        least_timeout=0.1,
        most_timeout=0.2,
        gossip_interval=0.1,
        suspicion=5,
        suspicion_most=4,
        sync_interval=30,
        knock_interval=1,
        remember=600,
    ),
    "lan": Times(
        probe_interval=1,
        least_timeout=0.2,
        most_timeout=0.5,
        gossip_interval=0.2,
        suspicion=5,
        suspicion_most=6,
        sync_interval=30,
        knock_interval=5,
        remember=3600,
    ),
    "wan": Times(
        probe_interval=5,
        least_timeout=1,
        most_timeout=3,
        gossip_interval=0.5,
        suspicion=6,
        suspicion_most=6,
        sync_interval=60,
        knock_interval=15,
        remember=24 * 3600,
    ),
}


@attrs.frozen(kw_only=True)
class SwimConfig:
    """Members probe each other at random, and tell what they find by gossip."""

    profile: Literal["local", "lan", "wan"] = setting(
        "lan",
        help="the kind of network: one machine or rack (the dead are known within 5 s), one site, or the"
        " internet; it sets the times below that are left out",
    )
    probe_interval: Duration | None = setting(
        None, validator=v.gt(0), help="one member is probed each so often"
    )
    gossip_interval: Duration | None = setting(
        None, validator=v.gt(0), help="news go out each so often, beside what rides on probes"
    )
    suspicion: float | None = setting(
        None,
        validator=v.in_range(1, 100),
        help="the shortest time for which a member is suspected is so many probe intervals, times the"
        " decimal logarithm of the number of members",
    )
    suspicion_most: float | None = setting(
        None,
        validator=v.in_range(1, 100),
        help="the longest is so many times the shortest: it applies as long as only one member suspects",
    )
    sync_interval: Duration | None = setting(
        None,
        validator=v.gt(0),
        help="all that is known is compared with another member's each so often",
    )
    remember: Duration | None = setting(
        None, validator=v.gt(0), help="the dead and those who left are shown for so long"
    )
    indirect_probes: int = setting(
        3, validator=v.in_range(0, 16), help="members that are asked to probe who does not answer"
    )
    fanout: int = setting(
        3, validator=v.in_range(1, 16), help="members that news are sent to each gossip interval"
    )
    retransmit: float = setting(
        3.0,
        validator=v.in_range(1, 20),
        help="each member passes news on so many times the natural logarithm of the number of members",
    )
    confirmations: int = setting(
        3,
        validator=v.in_range(0, 16),
        help="a suspicion is at its shortest when so many others have confirmed it",
    )
    most_health: int = setting(
        8,
        validator=v.in_range(0, 64),
        help="a node that is slow itself probes at most so many times more slowly, besides once",
    )

    def times(self) -> Times:
        """The profile's times, with what is set in their place."""
        times = PROFILES[self.profile]
        given = {
            name: getattr(self, name)
            for name in attrs.fields_dict(Times)
            if getattr(self, name, None) is not None
        }
        if self.probe_interval is not None:
            scale = self.probe_interval / times.probe_interval
            given["least_timeout"] = times.least_timeout * min(1.0, scale)
            given["most_timeout"] = max(times.most_timeout * scale, given["least_timeout"])
        return attrs.evolve(times, **given)
