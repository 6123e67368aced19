"""`Nemesis`: breaks a world at random, mends it, and breaks it again; the end is whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from flowcore.testing.world.links import Latency, long_tail, uniform
from flowcore.testing.world.world import World


@attrs.frozen(kw_only=True)
class Faults:
    """What a nemesis does, each as often as its weight says, 0 for never."""

    crash: float = 3.0
    """One node goes down, and comes again."""
    outage: float = 0.5
    """All go down at once, as when the power fails."""
    pause: float = 1.0
    """One node hangs, as by SIGSTOP."""
    partition: float = 2.0
    """The nodes fall into two sides."""
    isolate: float = 1.0
    """One node is alone, or only hears, or is only heard."""
    cut: float = 2.0
    """Nothing gets from one node to another, and the way back is open."""
    slow: float = 1.0
    """What one node sends and gets takes longer."""
    sync: float = 0.5
    """One fsync of a node fails."""
    full: float = 0.3
    """The disk of one node is full for a while."""
    skew: float = 1.0
    """The clock of one node jumps, and runs wrong from there on."""
    every: Latency = attrs.field(factory=lambda: long_tail(0.7))
    """Seconds from one fault to the next."""
    lasting: Latency = attrs.field(factory=lambda: long_tail(0.8, 1.0))
    """Seconds until it is over."""
    slowness: Latency = attrs.field(factory=lambda: uniform(0.01, 0.5))
    """Seconds by which a slow node's messages take longer."""
    jump: Latency = attrs.field(factory=lambda: uniform(0.0, 3600.0))
    """Seconds by which a clock jumps, forward or back."""
    drift: float = 0.05
    """By which share of its speed a clock may run wrong."""


class Nemesis:
    """Breaks the nodes that it is given, and what is between them and all others, from now to `stop`."""

    def __init__(self, world: World, nodes: Sequence[str], faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.done: dict[str, int] = {}
        """How often it did what."""
        self._world = world
        self._nodes = list(nodes)
        self._running = True
        weights = {
            name: getattr(self.faults, name)
            for name in attrs.fields_dict(Faults)
            if hasattr(self, f"_{name}")
        }
        self._kinds = [name for name, weight in weights.items() if weight > 0]
        self._weights = [weights[name] for name in self._kinds]
        self._plan()

    def stop(self) -> None:
        """Mend everything: links whole, nodes up if their disks let them, clocks running at their speed."""
        self._running = False
        world = self._world
        world.links.heal()
        for name in self._nodes:
            node = world.nodes[name]
            node.disk.full, node.disk.failing = False, 0
            node.clock.rate = 1.0
            node.resume()
            node.restart()
        world.trace("the nemesis stops")

    def _plan(self) -> None:
        if self._kinds:
            self._world.after(self.faults.every(self._world.random), self._break)

    def _break(self) -> None:
        if not self._running:
            return
        chance = self._world.random
        (kind,) = chance.choices(self._kinds, self._weights)
        self.done[kind] = self.done.get(kind, 0) + 1
        mend: Callable[[], None] | None = getattr(self, f"_{kind}")()
        if mend is not None:
            self._world.after(self.faults.lasting(chance), self._mend, kind, mend)
        self._plan()

    def _mend(self, kind: str, mend: Callable[[], None]) -> None:
        if self._running:
            self._world.trace(f"the nemesis mends {kind}")
            mend()

    def _one(self) -> str:
        return self._world.random.choice(self._nodes)

    def _others(self, name: str) -> list[str]:
        return [one for one in self._world.nodes if one != name]

    # ---- each breaks something, and gives what mends it

    def _crash(self) -> Callable[[], None]:
        node = self._world.nodes[self._one()]
        node.crash()

        def mend() -> None:
            node.restart()

        return mend

    def _outage(self) -> Callable[[], None]:
        nodes = [self._world.nodes[name] for name in self._nodes]
        for node in nodes:
            node.crash("outage")

        def mend() -> None:
            for node in nodes:
                node.restart()

        return mend

    def _pause(self) -> Callable[[], None]:
        node = self._world.nodes[self._one()]
        node.pause()
        self._world.trace(f"{node.name} hangs")
        return node.resume

    def _partition(self) -> Callable[[], None]:
        names = list(self._world.nodes)
        self._world.random.shuffle(names)
        here = self._world.random.randint(1, max(1, len(names) - 1))
        self._world.links.partition(names[:here], names[here:])
        self._told()
        return self._world.links.partition

    def _isolate(self) -> Callable[[], None]:
        links, name = self._world.links, self._one()
        hears, speaks = self._world.random.choice(((False, False), (True, False), (False, True)))
        links.isolate(name, hears=hears, speaks=speaks)
        self._told()
        return lambda: links.isolate(name, hears=True, speaks=True)

    def _cut(self) -> Callable[[], None]:
        links, name = self._world.links, self._one()
        other = self._world.random.choice(self._others(name) or [name])
        one, two = self._world.random.sample([name, other], 2)
        links.cut(one, two)
        self._told()
        return lambda: links.mend(one, two)

    def _slow(self) -> Callable[[], None]:
        links, name = self._world.links, self._one()
        links.slow(name, self.faults.slowness(self._world.random))
        self._told()
        return lambda: links.slow(name, 0.0)

    def _sync(self) -> None:
        name = self._one()
        self._world.nodes[name].disk.failing = 1
        self._world.trace(f"the next fsync of {name} fails")

    def _full(self) -> Callable[[], None]:
        node = self._world.nodes[self._one()]
        disk = node.disk
        disk.full = True
        self._world.trace(f"the disk of {node.name} is full")

        def mend() -> None:
            disk.full = False

        return mend

    def _skew(self) -> None:
        chance = self._world.random
        node = self._world.nodes[self._one()]
        node.clock.offset += chance.choice((-1, 1)) * self.faults.jump(chance)
        rate = 1 + self.faults.drift * (2 * chance.random() - 1)
        node.clock.rate = rate
        self._world.trace(f"the clock of {node.name} jumps", (node.clock.offset, node.clock.rate))

    def _told(self) -> None:
        self._world.trace("links", str(self._world.links))
