"""Commands with a time, where liars give any, or none at all: `python -m support.bft_world.timed SEEDS`.

Honest servers stamp what clients hand to them by clocks that are a little apart, and tell their engines how
far ahead a command is. The state of none may come further ahead of time than twice what a command may, nor
ever see what is no command; and all that clients ask for is decided as before.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from random import Random
from typing import Any, Self

import attrs
import msgspec

from flowcore.testing import Faults, Host
from support.bft_world.build import Build
from support.bft_world.liar import Liar
from support.bft_world.mutants import Mutant
from support.bft_world.oracle import Blind
from support.bft_world.play import BftRun
from support.bft_world.server import BftServer
from support.bft_world.strategies import Strategy
from support.bft_world.strategies.leaders import SilentLeader
from support.bft_world.strategies.strategy import Out, own
from support.bft_world.strategies.voters import VoteWithholder, YesSayer
from support.bft_world.verifier import PROPOSAL
from support.simulation.campaign import Campaign
from support.simulation.client import Request
from support.simulation.ends import Broken
from support.simulation.machine import Command, Machine, encode
from support.simulation.stamps import Timed, timed

AHEAD = 2.0
"""As `EngineSettings.ahead` has it."""
APART = 0.2
"""Seconds that honest clocks are apart, at most."""
EPOCH = 1.7e9


class TimedMachine(Machine):
    """As `Machine`, and knows how far the times of commands have come."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 0.0

    def apply(self, position: int, data: bytes) -> tuple[Command | None, Any]:
        if data:
            stamped = timed(data)
            if stamped is None:
                raise Broken(f"validity: {data!r} is decided at {position}")
            self.time, data = max(self.time, stamped.time), stamped.command
        return super().apply(position, data)

    def dump(self) -> bytes:
        return msgspec.msgpack.encode((self.time, super().dump()))

    @classmethod
    def load(cls, data: bytes) -> Self:
        time, dump = msgspec.msgpack.decode(data)
        machine = super().load(dump)
        machine.time = time
        return machine


class TimedServer(BftServer):
    """Stamps what clients ask for, and checks what others do."""

    machines = TimedMachine
    machine: TimedMachine

    def _told(self) -> None:
        self.engine.check_by(self._ahead)

    def _ahead(self, command: bytes) -> float:
        stamped = timed(command)
        return math.inf if stamped is None else stamped.time - self.host.now

    def _asked(self, client: str, request: Request) -> None:
        if request.command:
            stamped = msgspec.msgpack.encode(Timed(self.host.now, request.command))
            request = request._replace(command=stamped)
        super()._asked(client, request)

    def _apply(self, entry: Any) -> None:
        super()._apply(entry)
        ahead = self.machine.time - self.host.now
        if ahead > 2 * AHEAD + APART:
            raise Broken(f"time: the state of {self.host.name} is {ahead:.3f} s ahead")


class TimedLiar(Liar):
    """Has the same state, and checks nothing."""

    machines = TimedMachine


class Stamper(Strategy):
    """Asks for commands of times that have not come, and for what is none; as a leader it proposes them."""

    name = "stamper"

    def __init__(self) -> None:
        super().__init__()
        self._number = 0
        self._proposed: tuple[tuple[int, int], Any] | None = None

    def ticks(self, liar: Liar) -> None:
        if liar.is_voter and liar.chance.random() < 0.2:
            self.told += 1
            ask = liar.cluster.build.messages.Ask(liar.request(self._command(liar)))
            for to in liar.others:
                liar.post(to, ask)

    def says(self, liar: Liar, to: str, message: Any) -> Out:
        signed = own(liar, message, PROPOSAL)
        if not signed or getattr(message, "proof", self) is not None:
            return [(to, message)]
        at = (signed.height, signed.view)
        if self._proposed is None or self._proposed[0] != at:
            self._proposed = (at, self._other(liar, message))
        return [(to, self._proposed[1])]

    def _other(self, liar: Liar, message: Any) -> Any:
        """The same block, with one of its own commands in it."""
        if liar.chance.random() < 0.3:
            return message
        self.told += 1
        build, signed = liar.cluster.build, message.signed
        block = build.blocks.decode_block(message.block)
        more = [one for one in block.requests if one.origin != liar.name]
        more.append(liar.request(self._command(liar)))
        data = build.blocks.encode_block(msgspec.structs.replace(block, requests=more))
        digest = build.blocks.block_digest(data)
        lie = liar.signed(PROPOSAL, signed.height, signed.view, digest)
        return build.messages.Proposal(lie, data, None)

    def _command(self, liar: Liar) -> bytes:
        chance = liar.chance
        self._number += 1
        command = encode(Command(f"liar {liar.name}", self._number, "write", "lies", self._number))
        if chance.random() < 0.3:
            return chance.choice((command, b"\xc1", chance.randbytes(20)))
        least, most = chance.choice(((-9.0, 0.0), (0.0, AHEAD), (AHEAD, 2 * AHEAD), (0.0, 3600.0)))
        return msgspec.msgpack.encode(Timed(liar.host.now + chance.uniform(least, most), command))


class TimedRun(BftRun):
    """The world of one seed, with times."""

    def __init__(self, seed: int, build: Build | None = None, *, trace: int = 0) -> None:
        super().__init__(seed, build, trace=trace)
        chance = Random(seed * 104_729 + 5)
        for name in self.names:
            self.world.nodes[name].clock.offset = EPOCH + chance.uniform(-APART / 2, APART / 2)

    def _strategies(self, chance: Random, lies: Sequence[str]) -> tuple[Strategy, ...]:
        kinds = chance.choice(((), (YesSayer,), (VoteWithholder,), (SilentLeader,)))
        return (Stamper(), *(kind() for kind in kinds))

    def _faults(self, chance: Random) -> Faults:
        return attrs.evolve(super()._faults(chance), skew=0.0)  # honest clocks are near each other

    def _serve(self, host: Host) -> TimedServer:
        return TimedServer(host, self.cluster, self.oracle, self._revive)

    def _lie(self, host: Host) -> TimedLiar:
        return TimedLiar(host, self.cluster, Blind(), self._revive, self.strategies[host.name])


MUTANTS = (
    Mutant(
        "leaders may propose what should not be decided",
        "agreement.py",
        "            unfit = self._unfit_in(ballot.block)\n",
        '            unfit = ""\n',
        quick=True,
    ),
    Mutant(
        "any request is taken",
        "requests.py",
        "        if self._unfit(request):\n",
        "        if False:\n",
        quick=True,
    ),
    Mutant(
        "whoever has a request takes another of its number for it",
        "pool.py",
        "        return held is not None and held.request == request\n",
        "        return held is not None\n",
    ),
)

CAMPAIGN = Campaign(program="support.bft_world.timed", run=TimedRun, mutants=MUTANTS)

if __name__ == "__main__":
    sys.exit(CAMPAIGN.main())
