"""The agent as its own code sees it: what it may tell the world, and what it may add to its offers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

import msgspec
import trio
from msgspec import Raw

from flowcore.agents.catalog import Catalog
from flowcore.interfaces import AgentPort

LogLevel = Literal["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]


class Changeable(Protocol):
    """What an agent offers, as far as its own code may change it."""

    def add(self, function: Callable[..., Any]) -> None:
        """Offer one function more. Raises AssemblyError."""
        ...

    def remove(self, name: str) -> None:
        """Offer it no longer. Raises KeyError."""
        ...

    def catalog(self) -> Catalog:
        """All of it."""
        ...


class NativeAgent:
    """One worker's way to speak of its agent, in a call (`CallContext.agent`) and outside any.

    A class whose constructor has a parameter annotated with this class is given it. All of its methods may
    be called from threads that trio started, too.
    """

    def __init__(self, port: AgentPort, offers: Changeable) -> None:
        self._port = port
        self._offers = offers

    @property
    def name(self) -> str:
        """The agent's name in the configuration."""
        return self._port.agent

    @property
    def worker(self) -> str:
        """The worker's own name, such as `notes/3`."""
        return self._port.worker

    def resource_updated(self, uri: str) -> None:
        """Tell whoever subscribed to it that a resource is not what it was."""
        params = Raw(msgspec.json.encode({"uri": uri}))
        in_trio(self._port.notify, "notifications/resources/updated", params)

    def log(self, data: Any, level: LogLevel = "info", logger: str | None = None) -> None:
        """Send a log message to every client that wants to hear it, outside any call."""
        params = {"level": level, "logger": logger or self.name, "data": data}
        in_trio(self._port.notify, "notifications/message", Raw(msgspec.json.encode(params)))

    def offer(self, function: Callable[..., Any]) -> None:
        """Offer one more function from now on, for all workers of the agent; its mark says as what.

        A function without a mark is a tool. Raises AssemblyError if it cannot be one, or its name is taken.
        """
        in_trio(self._offers.add, function)
        in_trio(self._port.announce, self._offers.catalog())

    def withdraw(self, name: str) -> None:
        """Offer no longer what was offered under this name (for resources, this URI) by `offer`.

        Raises KeyError if nothing was.
        """
        in_trio(self._offers.remove, name)
        in_trio(self._port.announce, self._offers.catalog())


def in_trio(function: Callable[..., Any], *arguments: Any) -> None:
    """Call it here if this is trio's thread, else there: what it touches belongs to trio's thread."""
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        trio.from_thread.run_sync(function, *arguments)
    else:
        function(*arguments)
