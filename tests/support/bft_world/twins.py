"""Twins: one identity run twice, each with peers of its own.

Bano et al., "Twins: BFT Systems Made Robust", 2020. Both follow the protocol, and neither knows of the other.
So together they contradict themselves as no single strategy would think of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from flowcore.testing import Disk, Host
from support.bft_world.liar import Liar
from support.bft_world.server import Cluster

if TYPE_CHECKING:
    from support.bft_world.strategies import Strategy


class _Half:
    """What one of the two may use of their node: a disk and timers of its own, and some of the peers."""

    def __init__(self, host: Host, mark: str, disk: Disk, peers: Callable[[], set[str]]) -> None:
        self.name = host.name
        self.random = host.random
        self.disk = disk
        self._host = host
        self._mark = mark
        self._peers = peers

    @property
    def now(self) -> float:
        return self._host.now

    @property
    def monotonic(self) -> float:
        return self._host.monotonic

    @property
    def alive(self) -> bool:
        return self._host.alive

    def send(self, receiver: str, message: Any) -> None:
        if receiver in self._peers():
            self._host.send(receiver, message)

    def timer(self, timer: str, delay: float) -> None:
        self._host.timer(f"{self._mark} {timer}", delay)

    def cancel(self, timer: str) -> None:
        self._host.cancel(f"{self._mark} {timer}")

    def stop(self, reason: str) -> None:
        self._host.stop(reason)


class Twins:
    """A process that is two servers."""

    def __init__(
        self,
        host: Host,
        cluster: Cluster,
        oracle: Any,
        revive: Callable[[str], None],
        strategies: Sequence[Strategy],
        second: Disk,
    ) -> None:
        """`second` is the disk of the second one."""
        self._host = host
        self._strategies = strategies
        self._names = sorted(one for one in cluster.ring.public if one != host.name)
        self._sides: list[set[str]] = [set(), set()]
        self._split()
        self.twins: list[Liar] = []
        for at, disk in enumerate((host.disk, second)):
            half: Any = _Half(host, str(at), disk, self._side(at))
            self.twins.append(Liar(half, cluster, oracle, revive, strategies))

    def _side(self, at: int) -> Callable[[], set[str]]:
        return lambda: self._sides[at]

    def _split(self) -> None:
        """Each peer talks to one of the two from now on; some to both."""
        chance = self._host.random
        for strategy in self._strategies:
            strategy.told += strategy.twins
        for side in self._sides:
            side.clear()
        for name in self._names:
            for at in chance.choice(((0,), (1,), (0,), (1,), (0, 1))):
                self._sides[at].add(name)
        self._host.timer("split", chance.uniform(0.3, 2.0))

    def on_timer(self, timer: str) -> None:
        if timer == "split":
            self._split()
            return
        mark, _, name = timer.partition(" ")
        self.twins[int(mark)].on_timer(name)

    def on_message(self, sender: str, message: Any) -> None:
        for side, twin in zip(self._sides, self.twins, strict=True):
            if sender in side:
                twin.on_message(sender, message)
