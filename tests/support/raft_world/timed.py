"""Leases by the time of commands, where some clocks are wrong: `python -m support.raft_world.timed SEEDS`.

Servers reckon that time as nodes do (`flowcore.state.StateClock`): they ask each other for it, and stamp what
clients hand to them. The clocks of a minority jump by up to an hour, and what else fails goes on beside that.
Two who hold a lease as singletons do must never hold it at the same time.
"""

from __future__ import annotations

import sys
from random import Random
from typing import Any, NamedTuple

import attrs
import msgspec

from flowcore.state import (
    AcquireLease,
    ClockTold,
    Committed,
    Entry,
    LeaseTold,
    RenewLease,
    StateClock,
    encode_entry,
)
from flowcore.state import Command as StateCommand
from flowcore.testing import Faults, Host
from support.raft_world.build import Build
from support.raft_world.play import RaftRun
from support.raft_world.server import Policy, RaftServer
from support.raft_world.state import StateMachine
from support.simulation.campaign import Campaign
from support.simulation.client import Answer, Request
from support.simulation.ends import Broken
from support.simulation.machine import Command, encode
from support.simulation.stamps import Timed, timed

LEASE = 2.0
HELD = 0.75 * LEASE
"""As `flowcore.durable.singleton` trusts one, by its own clock from when it asked."""
SOON, PAUSE = 0.25, 12.0
"""Seconds between two questions for the time, as in `flowcore.flow.clocks` where leases hold 5 s."""
LONG = 4.0
"""Seconds after which nodes that are missed for want of an agreement are gone: two leases, as there."""
EPOCH = 1.7e9


class Ask(NamedTuple):
    """What time is it?"""

    since: float
    """By the clock of who asks."""


class Told(NamedTuple):
    since: float
    told: ClockTold


class Stamped(NamedTuple):
    """A client's request, which another server has given its time."""

    client: str
    request: Request


class TimedMachine(StateMachine):
    """As `StateMachine`, with leases, and the times of commands."""

    _now = 0.0

    def apply(self, position: int, data: bytes) -> tuple[Command | None, Any]:
        if data:
            stamped = timed(data)
            self._now, data = (stamped.time, stamped.command) if stamped else (0.0, data)
        return super().apply(position, data)

    @property
    def time(self) -> float:
        """How far the state is; 0: it has not begun."""
        return self._state.tables.meta.time

    def _meant(self, command: Command) -> StateCommand:
        if command.name == "acquire":
            return AcquireLease(name=command.key, holder=command.client, seconds=LEASE)
        if command.name == "renew":
            return RenewLease(name=command.key, fence=command.value, seconds=LEASE)
        return super()._meant(command)

    def _result(self, command: Command, result: Any) -> Any:
        if command.name in ("acquire", "renew"):
            return result.fence if isinstance(result, LeaseTold) and result.held else 0
        return super()._result(command, result)

    def _do(self, command: StateCommand, session: int = 0, sequence: int = 0) -> Any:
        entry = Entry(time=self._now, session=session, sequence=sequence, command=command)
        (applied,) = self._state.apply([Committed(self._state.position + 1, encode_entry(entry))])
        return applied.result


class TimedServer(RaftServer):
    """One life of a server that knows the time."""

    def __init__(self, host: Host, *given: Any, others: tuple[str, ...]) -> None:
        self.others = others
        self.clock = StateClock(lambda: host.now, lambda: host.monotonic)
        self._told: dict[str, tuple[float, ClockTold]] = {}
        self._heard: float | None = None
        """Since when any of the others is heard."""
        super().__init__(host, *given)
        self.clock.seen(self.machine.time)
        host.timer("time", 0.0)

    def on_timer(self, timer: str) -> None:
        if timer == "time":
            self._told = {}
            for name in self.others:
                if name != self.host.name:
                    self.host.send(name, Ask(self.host.monotonic))
            self.host.timer("heard", SOON)
        elif timer == "heard":
            self._hear()
            self.host.timer("time", PAUSE if self.clock.settled.is_set() and self._told else 0.0)
        else:
            super().on_timer(timer)

    def on_message(self, sender: str, message: Any) -> None:
        if isinstance(message, Ask):
            self.host.send(sender, Told(message.since, self.clock.tell()))
        elif isinstance(message, Told):
            then = (
                message.since + self.host.monotonic
            ) / 2  # of a round trip half is the way there
            self._told[sender] = (then, message.told)
        elif isinstance(message, Stamped):
            super().on_message(message.client, message.request)
        else:
            super().on_message(sender, message)

    def _hear(self) -> None:
        """Go by what the others have told, as if they said it now."""
        here = self.host.monotonic
        if not self._told:
            self._heard = None
            return
        if self._heard is None:
            self._heard = here
        others = [told.after(here - then) for then, told in self._told.values()]
        self.clock.hear(others, len(self.others), patient=here - self._heard < LONG)

    def _asked(self, client: str, request: Request) -> None:
        if not request.command:
            super()._asked(client, request)
            return
        if timed(request.command) is None:
            if not self.clock.settled.is_set():
                self.host.send(client, Answer(request.call, False, None, ""))
                return
            stamped = msgspec.msgpack.encode(Timed(self.clock(), request.command))
            request = request._replace(command=stamped)
        leader = self.engine.leader
        if self.engine.role != "leader" and leader:
            self.host.send(leader, Stamped(client, request))
        else:
            super()._asked(client, request)

    def _apply(self, entry: Any) -> None:
        super()._apply(entry)
        self.clock.seen(self.machine.time)

    def _install(self, info: Any) -> None:
        super()._install(info)
        self.clock.seen(self.machine.time)


class Holder:
    """Who wants a lease, and trusts it for as long as a singleton does."""

    def __init__(self, host: Host, run: TimedRun) -> None:
        self.host = host
        self.until = 0.0
        """Up to when it holds it, by its own clock."""
        self.held = 0
        """How often it came to hold it."""
        self._run = run
        self._fence = self._sequence = self._call = 0
        self._asked = 0.0
        host.timer("ask", host.random.uniform(0.0, LEASE))

    @property
    def holds(self) -> bool:
        return self.host.monotonic < self.until

    def on_timer(self, timer: str) -> None:
        del timer
        self._call += 1
        self._sequence += 1
        self._asked = self.host.monotonic
        renews = self.holds
        if not renews:
            self._fence = 0
        name, value = ("renew", self._fence) if renews else ("acquire", None)
        command = encode(Command(self.host.name, self._sequence, name, "lease", value))
        server = self.host.random.choice(self._run.servers)
        self.host.send(server, Request(self._call, command))
        self.host.timer("ask", LEASE / 4 if renews else self.host.random.uniform(0.1, 0.2) * LEASE)

    def on_message(self, sender: str, message: Answer) -> None:
        del sender
        if message.call != self._call or not message.done or not message.result:
            return
        other = next((one for one in self._run.holders if one is not self and one.holds), None)
        if other is not None and self._asked + HELD > self.host.monotonic:
            raise Broken(
                f"{self.host.name} holds the lease under {message.result}, and {other.host.name} does for"
                f" {other.until - other.host.monotonic:.3f} s more"
            )
        self.held += not self.holds
        self._fence = message.result
        self.until = self._asked + HELD


class TimedRun(RaftRun):
    """The world of one seed, with leases."""

    def __init__(self, seed: int, build: Build | None = None, *, trace: int = 0) -> None:
        self.holders: list[Holder] = []
        super().__init__(seed, build, seconds=40.0, trace=trace)
        chance = Random(seed * 104_729 + 5)
        for name in self.servers:
            self.world.nodes[name].clock.offset = EPOCH + chance.uniform(-0.05, 0.05)
        wrong = chance.sample(self.names, (self.count - 1) // 2)
        for _ in range(chance.randint(1, 6)):
            self.world.after(chance.uniform(0.0, 35.0), self._jump, chance.choice(wrong), chance)
        for number in range(2):
            self.world.add(f"holder {number}", self._holder)

    def _policy(self, chance: Random) -> Policy:
        return super()._policy(chance)._replace(machine=TimedMachine)

    def _faults(self, chance: Random) -> Faults:
        return attrs.evolve(super()._faults(chance), skew=0.0)  # most clocks must be right

    def _start(self, voters: tuple[str, ...]) -> Any:
        def start(host: Host) -> TimedServer:
            return TimedServer(
                host, self.build, self.policy, self.oracle, voters, self._revive, others=self.names
            )

        return start

    def _holder(self, host: Host) -> Holder:
        self.holders.append(Holder(host, self))
        return self.holders[-1]

    def _jump(self, name: str, chance: Random) -> None:
        """Somebody sets a clock wrong, or right again."""
        clock = self.world.nodes[name].clock
        wrong = chance.choice((-1, 1)) * chance.uniform(0.0, 3600.0)
        clock.offset = EPOCH + chance.choice((0.0, wrong, wrong))
        clock.rate = 1 + chance.uniform(-0.001, 0.001)
        self.world.trace(f"the clock of {name} jumps", clock.offset - EPOCH)


CAMPAIGN = Campaign(program="support.raft_world.timed", run=TimedRun, mutants=())

if __name__ == "__main__":
    sys.exit(CAMPAIGN.main())
