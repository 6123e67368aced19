"""What a driver stands on, and what its parts may use of it."""

from __future__ import annotations

from typing import Protocol

from flow_consensus.bft.driver.settings import BftSettings
from flow_consensus.bft.engine import Engine


class Transport(Protocol):
    """Messages between the nodes of a cluster, whose names are authentic.

    They may be lost, or come late; they are not changed on their way.
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


class Node(Protocol):
    """A driver, as its parts see it."""

    @property
    def engine(self) -> Engine: ...

    @property
    def settings(self) -> BftSettings: ...

    @property
    def stopped(self) -> str:
        """Why nothing is taken any more; "" while it is."""
        ...

    def wake(self) -> None:
        """There is something for the engine to do."""
        ...

    def turn(self) -> None:
        """The engine has heard something: do at once what it wants."""
        ...

    def lonely(self) -> str:
        """Why no quorum can be heard; "" while one is."""
        ...

    async def wait_moved(self) -> None:
        """Wait until more is committed, or something else has changed."""
        ...

    def moved(self) -> None:
        """Something has changed that somebody may wait for."""
        ...

    def disk_failed(self, error: Exception) -> None:
        """The disk has failed: nothing is voted or asked any more."""
        ...
