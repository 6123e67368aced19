"""What a driver stands on, and what its parts may use of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import trio

from flow_consensus.raft.driver.settings import RaftSettings
from flow_consensus.raft.driver.wire import Own
from flow_consensus.raft.engine import Engine


class Transport(Protocol):
    """Messages between the nodes of a cluster, whose names are authentic.

    They may be lost, or come late; they are not changed, and each comes once at most.
    """

    @property
    def most(self) -> int:
        """Bytes of one message, at most; 256 at least."""
        ...

    def send(self, to: str, message: bytes) -> bool:
        """Send without waiting; False if it surely does not arrive."""
        ...

    async def receive(self) -> tuple[str, bytes]:
        """The next message: from whom, and what. Those of one sender come in order, or not at all."""
        ...

    @property
    def waiting(self) -> int:
        """Messages that have come and were not received yet."""
        ...


@runtime_checkable
class Prompt(Protocol):
    """A transport that hands over what comes at once, a turn of the scheduler sooner than by `receive`."""

    def hand_to(self, receiver: Callable[[str, bytes], None]) -> None:
        """Give what comes to a receiver: it is quick, and raises nothing."""
        ...


class Alone:
    """The transport of who has no one to talk to."""

    most = 2**20
    waiting = 0

    def send(self, to: str, message: bytes) -> bool:
        del to, message
        return False

    async def receive(self) -> tuple[str, bytes]:
        await trio.sleep_forever()


class Node(Protocol):
    """A driver, as its parts see it."""

    @property
    def engine(self) -> Engine: ...

    @property
    def settings(self) -> RaftSettings: ...

    @property
    def stopped(self) -> str:
        """Why nothing is taken any more; "" while it is."""
        ...

    @property
    def last(self) -> int:
        """What was handed out as committed."""
        ...

    def wake(self) -> None:
        """There is something for the engine to do."""
        ...

    def turn(self) -> None:
        """Let the engine do now what there is to do; in a task of this node."""
        ...

    def turn_for(self) -> None:
        """As `turn`, in a task of somebody else: a fault is this node's, and not that task's."""
        ...

    def tick_now(self) -> None:
        """Tell the engine all the time that has passed: a lease rests on it."""
        ...

    def next_number(self) -> int:
        """A number that this life, and no other, gives to what it asks."""
        ...

    def send_own(self, to: str, message: Own) -> bool:
        """Send a driver's own message; False if it surely does not arrive."""
        ...

    async def wait_moved(self) -> None:
        """Wait until more is committed, or something else has changed."""
        ...

    def moved(self) -> None:
        """Something has changed that somebody may wait for."""
        ...

    def disk_failed(self, error: Exception) -> None:
        """The disk has failed: nothing is voted, acknowledged or led any more."""
        ...
