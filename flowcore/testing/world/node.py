"""One machine of a world: its process, its disk, its clock; it crashes, hangs, and starts again."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Protocol

from flowcore.errors import UntrustedFile
from flowcore.testing.world.disk import Disk
from flowcore.testing.world.timeline import Timeline

Send = Callable[[str, str, Any], None]
"""Gives a message to the network: sender, receiver, message."""


class Process(Protocol):
    """What runs on a node: an engine, in whatever little it needs around it.

    It is called, does what it has to without waiting, and returns. It never looks at a clock or at chance
    but through its `Host`. What it does not keep on its disk is gone when the node crashes.
    """

    def on_message(self, sender: str, message: Any) -> None:
        """A message has come."""
        ...

    def on_timer(self, timer: str) -> None:
        """A timer that it set has run out."""
        ...


Start = Callable[["Host"], Process]
"""Makes the process of a node that starts, from what is on its disk. UntrustedFile: it does not start."""


class Clock:
    """A node's clock: it may be wrong, and run wrong."""

    def __init__(self, time: Timeline) -> None:
        self.offset = 0.0
        """Seconds by which the time of day is ahead; it may jump."""
        self._time = time
        self._rate = 1.0
        self._base = 0.0
        self._since = 0.0

    @property
    def rate(self) -> float:
        """Its seconds in one true second. When it changes, the clock does not jump."""
        return self._rate

    @rate.setter
    def rate(self, rate: float) -> None:
        if not rate > 0:
            raise ValueError(f"expected a rate above 0, not {rate!r}")
        self._base, self._since = self.monotonic, self._time.now
        self._rate = rate

    @property
    def monotonic(self) -> float:
        """Seconds that it has counted: it never jumps."""
        return self._base + self._rate * (self._time.now - self._since)


class Host:
    """What a process may use of the world: one for each life of a node."""

    def __init__(self, node: Node, life: int) -> None:
        self.name = node.name
        self.disk = node.disk
        self.random: random.Random = node.time.random
        self._node = node
        self._time = node.time
        self._life = life
        self._timers: dict[str, int] = {}
        self._set = 0

    @property
    def now(self) -> float:
        """The time of day by the node's own clock, in seconds; it may jump."""
        clock = self._node.clock
        return clock.offset + clock.monotonic

    @property
    def monotonic(self) -> float:
        """Seconds by the node's own clock that never jumps; it goes on through crashes."""
        return self._node.clock.monotonic

    @property
    def alive(self) -> bool:
        """False once the node has crashed: this was another life."""
        return self._node.life == self._life

    def send(self, receiver: str, message: Any) -> None:
        """Send a message: bytes, or anything that does not change any more."""
        if self._node.life == self._life:
            self._node.send(self.name, receiver, message)

    def timer(self, timer: str, delay: float) -> None:
        """Call `on_timer` after so many seconds of the node's clock; instead of when it was set to before."""
        self._set += 1
        self._timers[timer] = self._set
        self._time.after(delay / self._node.clock.rate, self._fire, timer, self._set)

    def cancel(self, timer: str) -> None:
        """Forget a timer, if it is set."""
        self._timers.pop(timer, None)

    def stop(self, reason: str) -> None:
        """End this process: its node is down, with a reason, as after a crash."""
        if self.alive:
            self._node.crash(reason)

    def trace(self, what: str, about: object = "") -> None:
        """Write a line into the trace, if one is kept."""
        self._time.trace(f"{self.name}: {what}", about)

    def _fire(self, timer: str, number: int) -> None:
        node = self._node
        if self._timers.get(timer) != number or node.life != self._life:
            return
        if node.paused:
            node.do(self._fire, timer, number)
            return
        del self._timers[timer]
        process = node.process
        assert process is not None
        process.on_timer(timer)


class Node:
    """A machine; it is up while it has a process."""

    def __init__(self, time: Timeline, name: str, start: Start, send: Send) -> None:
        self.time = time
        self.name = name
        self.send = send
        self.disk = Disk(time, self.do)
        self.clock = Clock(time)
        self.process: Process | None = None
        self.life = 0
        """Grows with every start and crash."""
        self.paused = False
        self.why = ""
        """Why it is down, in words."""
        self.refused: UntrustedFile | None = None
        """What its last start found on the disk, if that is why it is down."""
        self._later: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._start = start

    @property
    def up(self) -> bool:
        """Whether a process runs; it may be paused."""
        return self.process is not None

    def restart(self) -> bool:
        """Start the process again, if the node is down; whether it runs now."""
        if self.process is not None:
            return True
        self.life += 1
        self.refused = None
        self.why = ""
        self.time.trace(f"{self.name} starts")
        life = self.life
        try:
            process = self._start(Host(self, life))
        except UntrustedFile as error:
            self.refused, self.why = error, str(error)
            self.time.trace(f"{self.name} does not start", self.why)
            return False
        if self.life == life:  # else it stopped while it was starting
            self.process = process
        return self.up

    def crash(self, why: str = "crash") -> None:
        """Take the process away, with all that it has not made durable. Nothing happens if it is down."""
        if self.process is None and self.why:
            return
        self.process = None
        self.paused = False
        self._later.clear()
        self.life += 1
        self.why = why
        self.disk.lose_unsynced()
        self.time.trace(f"{self.name} is down", why)

    def pause(self) -> None:
        """Hang, as by SIGSTOP: clocks go on, and what comes waits."""
        self.paused = self.up

    def resume(self) -> None:
        """Go on: with everything that came meanwhile, at once."""
        if self.paused:
            self.paused = False
            waiting, self._later = self._later, []
            for call, args in waiting:
                self.time.after(0.0, call, *args)

    def do(self, call: Callable[..., None], *args: Any) -> None:
        """Call something of the process: now, or when it goes on after a pause."""
        if self.paused:
            self._later.append((call, args))
        else:
            call(*args)

    def deliver(self, sender: str, message: Any) -> None:
        """Give the process a message; one that is down never sees it."""
        if self.process is None:
            return
        if self.paused:
            self.do(self.deliver, sender, message)
        else:
            self.process.on_message(sender, message)
