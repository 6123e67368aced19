"""What lies between nodes now: how long a message takes, whether it comes, once or twice, or not at all.

Used by both networks of `flowcore.testing`: the one without tasks (`World`) and the one of trio streams.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection

import attrs

RETRANSMIT = 0.2
"""Seconds by which a part of a stream that is lost comes later."""
Latency = Callable[[random.Random], float]
"""How long something takes this time, in seconds: drawn from a distribution."""


def constant(seconds: float) -> Latency:
    """Always the same."""
    _not_negative(seconds)
    return lambda chance: seconds


def uniform(low: float, high: float) -> Latency:
    """Anything between two bounds."""
    _not_negative(low)
    if high < low:
        raise ValueError(f"expected at least {low}, not {high}")
    width = high - low
    return lambda chance: low + width * chance.random()


def normal(mean: float, deviation: float) -> Latency:
    """A mean and a standard deviation, such as 75 ms ± 50 ms; never below a hundredth of the mean."""
    _not_negative(mean)
    _not_negative(deviation)
    least = mean / 100
    return lambda chance: max(least, chance.gauss(mean, deviation))


def long_tail(median: float, sigma: float = 0.5) -> Latency:
    """Log-normal: half are above the median, and a few far above it."""
    if not median > 0:
        raise ValueError(f"expected more than 0 seconds, not {median!r}")
    middle = math.log(median)
    return lambda chance: chance.lognormvariate(middle, sigma)


def _not_negative(seconds: float) -> None:
    if not 0 <= seconds < math.inf:
        raise ValueError(f"expected seconds, at least 0, not {seconds!r}")


def _probability(_: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{attribute.name}: expected a probability, 0 to 1, not {value!r}")


@attrs.frozen(kw_only=True)
class Link:
    """One direction between two nodes. Messages overtake each other where latency differs."""

    latency: Latency = attrs.field(factory=lambda: uniform(0.0005, 0.0015))
    loss: float = attrs.field(default=0.0, validator=_probability)
    """The probability that a message never comes."""
    duplicate: float = attrs.field(default=0.0, validator=_probability)
    """The probability that it comes again, with a latency of its own."""
    reorder: float = attrs.field(default=0.0, validator=_probability)
    """The probability that it is held up on its way, so that later ones overtake it."""
    held: Latency = attrs.field(factory=lambda: uniform(0.0, 0.1))
    """How long one that is held up takes in addition."""
    ordered: bool = False
    """Whether messages come in the order in which they were sent, as over one TCP connection."""


class Links:
    """All links, with what is cut; links that nobody has set are as `default`."""

    def __init__(self, default: Link | None = None) -> None:
        self.default = default or Link()
        self._own: dict[tuple[str, str], Link] = {}
        self._cut: set[tuple[str, str]] = set()
        self._deaf: set[str] = set()
        self._mute: set[str] = set()
        self._side: dict[str, object] = {}
        self._slow: dict[str, float] = {}
        self._broken = False
        self._last: dict[tuple[str, str], float] = {}
        self.watchers: list[Callable[[], None]] = []
        """Called after each change."""

    def __str__(self) -> str:
        said = []
        sides: dict[object, list[str]] = {}
        for name, side in self._side.items():
            sides.setdefault(side, []).append(name)
        if sides:
            said.append(" | ".join(" ".join(sorted(one)) for one in sides.values()))
        said += [f"{a} -/> {b}" for a, b in sorted(self._cut)]
        said += [f"{one} hears nobody" for one in sorted(self._deaf)]
        said += [f"nobody hears {one}" for one in sorted(self._mute)]
        said += [f"{one} +{seconds:g} s" for one, seconds in sorted(self._slow.items())]
        return ", ".join(said) or "whole"

    # ---- what is asked

    def between(self, sender: str, receiver: str) -> Link:
        """The link from one to another."""
        return self._own.get((sender, receiver), self.default) if self._own else self.default

    def reaches(self, sender: str, receiver: str) -> bool:
        """Whether what one sends now can come to the other."""
        if not self._broken:
            return True
        side = self._side
        return not (
            (sender, receiver) in self._cut
            or sender in self._mute
            or receiver in self._deaf
            or (side and side.get(sender, sender) != side.get(receiver, receiver))
        )

    def slowness(self, sender: str, receiver: str) -> float:
        """Seconds that a message takes longer because one of the two is slow."""
        return self._slow.get(sender, 0.0) + self._slow.get(receiver, 0.0)

    def delays(
        self, sender: str, receiver: str, now: float, chance: random.Random
    ) -> tuple[float, ...]:
        """After how many seconds a message comes that is sent now: never, once, or twice."""
        if self._broken and not self.reaches(sender, receiver):
            return ()
        link = self.between(sender, receiver)
        if link.loss and chance.random() < link.loss:
            return ()
        delay = self._delay(link, sender, receiver, now, chance)
        if link.duplicate and chance.random() < link.duplicate:
            return (delay, self._delay(link, sender, receiver, now, chance))
        return (delay,)

    def stream_delay(self, sender: str, receiver: str, chance: random.Random) -> float:
        """After how many seconds a part of a stream comes that is sent now: what is lost is sent again."""
        link = self.between(sender, receiver)
        delay = link.latency(chance) + self.slowness(sender, receiver)
        while link.loss and chance.random() < min(link.loss, 0.99):
            delay += RETRANSMIT
        return delay

    def _delay(
        self, link: Link, sender: str, receiver: str, now: float, chance: random.Random
    ) -> float:
        delay = link.latency(chance)
        if link.reorder and chance.random() < link.reorder:
            delay += link.held(chance)
        if self._slow:
            delay += self.slowness(sender, receiver)
        if link.ordered:
            due = max(now + delay, self._last.get((sender, receiver), 0.0))
            self._last[sender, receiver] = due
            return due - now
        return delay

    # ---- what is done to them

    def set(self, sender: str, receiver: str, link: Link) -> None:
        """Give one direction a link of its own."""
        self._own[sender, receiver] = link
        self._changed()

    def set_all(self, link: Link) -> None:
        """All links are like this one, those that had been set too."""
        self.default = link
        self._own.clear()
        self._changed()

    def cut(self, sender: str, receiver: str) -> None:
        """Nothing gets from one to the other; the way back is as it was."""
        self._cut.add((sender, receiver))
        self._changed()

    def mend(self, sender: str, receiver: str) -> None:
        """Undo `cut`."""
        self._cut.discard((sender, receiver))
        self._changed()

    def separate(self, one: str, other: str) -> None:
        """Nothing gets from either to the other."""
        self._cut |= {(one, other), (other, one)}
        self._changed()

    def isolate(self, name: str, *, hears: bool = False, speaks: bool = False) -> None:
        """Take a node's links away, whoever is at the other end: both ways, or one."""
        for kept, gone in ((hears, self._deaf), (speaks, self._mute)):
            gone.discard(name) if kept else gone.add(name)
        self._changed()

    def partition(self, *sides: Collection[str]) -> None:
        """Only nodes of one side reach each other; a node of no side is alone. No side: undo it."""
        self._side = {name: number for number, side in enumerate(sides) for name in side}
        if len(self._side) != sum(map(len, sides)):
            raise ValueError(f"a node can be on one side only: {sides!r}")
        self._changed()

    def slow(self, name: str, seconds: float) -> None:
        """What a node sends and gets takes so much longer; 0 undoes it."""
        _not_negative(seconds)
        self._slow.pop(name, None)
        if seconds:
            self._slow[name] = seconds
        self._changed()

    def heal(self) -> None:
        """Undo every cut, isolation, partition and slowness; links stay as they were set."""
        for one in (self._cut, self._deaf, self._mute, self._side, self._slow):
            one.clear()
        self._changed()

    def _changed(self) -> None:
        self._broken = bool(self._cut or self._deaf or self._mute or self._side)
        for watcher in self.watchers:
            watcher()
