"""Two sides of a link without sockets: bytes go over when a test says so, in pieces of any size."""

from __future__ import annotations

import itertools
from typing import Any

from flowcore.swarm import Lane
from flowcore.swarm.links.flows import Flow
from flowcore.swarm.links.frames import Hello
from flowcore.swarm.links.greeting import Greeter, Phase
from flowcore.swarm.links.session import Session
from flowcore.swarm.links.settings import LinkSettings

_numbers = itertools.count(1)


def hello(name: str, **changes: Any) -> Hello:
    """What a node of a test says of itself."""
    told: dict[str, Any] = {
        "cluster": "test",
        "name": name,
        "oldest": 1,
        "newest": 1,
        "features": (),
        "address": f"{name}:7400",
        "boot": name.encode().ljust(16, b"."),
        "number": next(_numbers),
        "others": (),
        "window": 256 * 1024,
        "streams": 1024,
    }
    return Hello(**(told | changes))


def greet(one: Greeter, other: Greeter) -> None:
    """Let two greet each other to the end. Raises what either of them does."""
    for greeter, data in ((one, other.begin()), (other, one.begin())):
        greeter.feed(data)
    for decider, hears in ((one, other), (other, one)):
        if decider.phase is Phase.DECIDE:
            hears.feed(decider.welcome(1))


class Side:
    """One side: its session, and what it was told."""

    def __init__(self, session_of: Greeter, settings: LinkSettings, *, dialled: bool) -> None:
        assert session_of.agreed is not None
        self.messages: dict[Lane, list[bytes]] = {lane: [] for lane in Lane}
        self.flows: list[tuple[Flow, bytes]] = []
        self.farewell: str | None = None
        self.wants: bool | None = None
        self.session = Session(session_of.agreed, settings, self, 0.0, dialled=dialled)
        self.wire = bytearray()
        """What it has sent and is still under way."""

    def message(self, lane: Lane, message: bytes) -> None:
        self.messages[lane].append(message)

    def opened(self, flow: Flow, head: bytes) -> None:
        self.flows.append((flow, head))

    def pending(self) -> None:
        """The test itself asks what there is to take."""

    def wanted(self, wanted: bool) -> None:
        self.wants = wanted

    def goodbye(self, reason: str) -> None:
        self.farewell = reason


class Pair:
    """Both sides of a link that stands."""

    def __init__(self, settings: LinkSettings | None = None) -> None:
        settings = settings or LinkSettings()
        window = {"window": settings.window, "streams": settings.streams}
        one = Greeter(hello("alpha", **window), "beta")
        other = Greeter(hello("beta", **window), "alpha")
        greet(one, other)
        self.now = 0.0
        self.sides = (Side(one, settings, dialled=True), Side(other, settings, dialled=False))

    def take(self, side: int) -> bytes:
        """Let a side put its next batch on the wire."""
        data = self.sides[side].session.take(self.now)
        self.sides[side].wire += data
        return data

    def carry(self, side: int, most: int | None = None) -> int:
        """Bring bytes that a side has sent to the other one; how many there were."""
        wire = self.sides[side].wire
        count = len(wire) if most is None else min(most, len(wire))
        data = bytes(wire[:count])
        del wire[:count]
        if data:
            self.sides[1 - side].session.feed(data, self.now)
        return count

    def settle(self) -> None:
        """Bring everything over, until there is nothing more."""
        moved = True
        while moved:
            moved = False
            for side in (0, 1):
                while self.take(side):
                    pass
                moved |= self.carry(side) > 0
