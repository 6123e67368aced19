"""A client: one thing at a time, in a session, tried again until it is answered or given up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from flowcore.testing import History, Host
from support.simulation.machine import Command, encode

REGISTERS = ("x", "y")
LISTS = ("l",)


class Request(NamedTuple):
    """What a client sends: a command, or the key it wants to read."""

    call: int
    command: bytes
    key: str = ""
    leased: bool = False


class Answer(NamedTuple):
    """What it gets: a result, or who leads as far as is known."""

    call: int
    done: bool
    result: Any = None
    leader: str = ""


class Client:
    """A process of a world that never crashes."""

    def __init__(
        self,
        host: Host,
        servers: Sequence[str],
        history: History,
        now: Callable[[], float],
        *,
        does: str = "",
        leased: float = 0.0,
    ) -> None:
        """One that `does` "read" only reads, often, and from any server; "write": it writes often.

        `leased` is which part of its reads trusts leases.
        """
        self.host = host
        self._watches = does == "read"
        self._rate = 60.0 if does == "read" else 30.0 if does == "write" else 12.0
        self._only = "x" if does else ""
        self._leased = leased
        self.done = 0
        """Calls that were answered."""
        self.begun = 0
        self.stopped = False
        self.appended: dict[tuple[str, Any], str] = {}
        """By list and value: `ok` or `unknown`."""
        self.seen: list[tuple[str, list[Any]]] = []
        self._servers = list(servers)
        self._history = history
        self._now = now
        self._guess = host.random.choice(self._servers)
        self._sequence = 0
        self._request: Request | None = None
        self._what: tuple[str, str, Any] = ("", "", None)
        self._number = 0
        host.timer("next", host.random.uniform(0.0, 0.5))

    def on_timer(self, timer: str) -> None:
        if timer == "next":
            self._begin()
        elif timer == "give up":
            self._give_up()
        elif self._request is not None:
            if timer == "silence":
                self._guess = self.host.random.choice(self._servers)
            self._send()

    def on_message(self, sender: str, message: Answer) -> None:
        if self._request is None or message.call != self._request.call:
            return  # of an earlier call
        if message.done:
            self._guess = sender
            self._answered(message.result)
            return
        self._guess = message.leader or self.host.random.choice(self._servers)
        self.host.timer("again", self.host.random.uniform(0.01, 0.1))

    # ---- one call

    def _begin(self) -> None:
        if self.stopped:
            return
        chance = self.host.random
        name = chance.choices(("read", "write", "cas", "append"), (4, 2, 2, 2))[0]
        if self._watches:
            name = "read"
        self._number += 1
        value: Any = None
        key = chance.choice(LISTS if name == "append" else REGISTERS)
        if self._only and name != "append":
            key = self._only
        elif name == "read" and chance.random() < 0.3:
            key = chance.choice(LISTS)
        if name == "write":
            value = self._fresh()
        elif name == "cas":
            value = [self._last(key), self._fresh()]
        elif name == "append":
            value = f"{self.host.name} {self._number}"
            self.appended[key, value] = "unknown"
        self._what = (name, key, value)
        self.begun += 1
        call = self._history.invoke(self._now(), self.host.name, name, key, value)
        if self._watches or (name == "read" and chance.random() < 0.8):
            self._request = Request(call, b"", key, chance.random() < self._leased)
        else:
            self._sequence += 1
            command = Command(self.host.name, self._sequence, name, key, value)
            self._request = Request(call, encode(command))
        if self._watches or chance.random() < 0.2:
            self._guess = chance.choice(self._servers)  # followers answer reads, too
        self._send()
        self.host.timer("give up", 0.4 if self._watches else chance.uniform(1.0, 3.0))

    def _fresh(self) -> int:
        return self.host.random.randrange(6)

    def _last(self, key: str) -> Any:
        del key
        return self.host.random.choice((None, *range(6)))

    def _send(self) -> None:
        assert self._request is not None
        self.host.send(self._guess, self._request)
        self.host.timer("silence", self.host.random.uniform(0.2, 0.5))

    def _answered(self, result: Any) -> None:
        request = self._request
        assert request is not None
        name, key, value = self._what
        if result == "forgotten":
            raise AssertionError(f"{self.host.name}: a command was answered that is not the last")
        self._history.end(self._now(), self.host.name, request.call, "ok", result)
        if name == "append":
            self.appended[key, value] = "ok"
        elif name == "read" and isinstance(result, list):
            self.seen.append((key, result))
        self.done += 1
        self._finish()

    def _give_up(self) -> None:
        request = self._request
        if request is None:
            return
        reads = self._what[0] == "read"
        self._history.end(self._now(), self.host.name, request.call, "fail" if reads else "unknown")
        self._finish()

    def _finish(self) -> None:
        self._request = None
        for timer in ("silence", "again", "give up"):
            self.host.cancel(timer)
        self.host.timer("next", self.host.random.expovariate(self._rate))
