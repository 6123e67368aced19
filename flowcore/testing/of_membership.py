"""What holds for every membership: members are found, what they tell gets around, and who is gone is known.

The nodes are those of `MEMBERS`; a plugin that must be told who they are is given them in its trial, with
their addresses, such as `nodes = {"ant": "ant:7400", "bee": "bee:7400", "cat": "cat:7400"}`.
"""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

import attrs
import msgspec
import trio

from flowcore.swarm import MOST_ABOUT, Member, Membership, MemberState
from flowcore.testing.bench import Bench
from flowcore.testing.findings import Wrong
from flowcore.testing.ports import Port, Ports, address_of
from flowcore.testing.wires import Wires

MEMBERS = ("ant", "bee", "cat")
_LOOK = 0.02
"""Seconds between two looks."""


@attrs.define(eq=False)
class _Running:
    """One boot of a node."""

    membership: Membership
    port: Port
    scope: trio.CancelScope
    changes: list[Member] = attrs.field(factory=list)

    def state(self, name: str) -> MemberState | None:
        found = self.membership.members().get(name)
        return None if found is None else found.state


class _Swarm:
    """Nodes of one plugin, on wires."""

    def __init__(self, bench: Bench, folder: pathlib.Path) -> None:
        self.wires = Wires(7)
        self.ports = Ports(self.wires)
        self.running: dict[str, _Running] = {}
        self._bench = bench
        self._folder = folder
        self._nursery: trio.Nursery | None = None

    @asynccontextmanager
    async def open(self, names: tuple[str, ...] = MEMBERS) -> AsyncGenerator[None]:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for name in names:
                await self.start(name)
            yield
            nursery.cancel_scope.cancel()

    async def start(self, name: str) -> None:
        """Begin a boot of a node."""
        assert self._nursery is not None
        await self._nursery.start(self._run, name)

    async def _run(self, name: str, *, task_status: trio.TaskStatus[None]) -> None:
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        with trio.CancelScope() as scope:
            async with self._bench.opened(folder=folder) as membership:
                port = self.ports.port(name, folder, seeds=(address_of(MEMBERS[0]),))
                one = self.running[name] = _Running(membership, port, scope)
                self.ports.answering[name] = (name, membership)
                await membership.run(port, one.changes.append, task_status=task_status)

    def crash(self, name: str) -> None:
        """It is gone without a word."""
        one = self.running.pop(name)
        self.ports.answering.pop(name)
        one.scope.cancel()
        one.port.close()


@asynccontextmanager
async def _swarm(bench: Bench) -> AsyncGenerator[_Swarm]:
    """Three nodes that have found each other."""
    with tempfile.TemporaryDirectory() as folder:
        swarm = _Swarm(bench, pathlib.Path(folder))
        async with swarm.open():
            await _until(
                lambda: all(_all_alive(one) for one in swarm.running.values()),
                lambda: f"not all are alive for all: {_told(swarm)}",
                bench,
            )
            yield swarm


def _all_alive(one: _Running) -> bool:
    return all(one.state(name) is MemberState.ALIVE for name in MEMBERS)


def _told(swarm: _Swarm) -> Mapping[str, Mapping[str, str]]:
    return {
        name: {other.name: other.state.value for other in one.membership.members().values()}
        for name, one in swarm.running.items()
    }


async def _until(holds: Callable[[], bool], what: Callable[[], str], bench: Bench) -> None:
    """Wait; raises Wrong saying what is not, when the trial's time is nearly over."""
    with trio.move_on_after(bench.trial.within * 0.8):
        while not holds():  # noqa: ASYNC110 - members tell nobody that nothing has changed
            await trio.sleep(_LOOK)
        return
    raise Wrong(what())


async def knows_itself(bench: Bench) -> None:
    """as soon as it runs it has one member that is alive: itself, with the port's name and address"""
    with tempfile.TemporaryDirectory() as folder:
        swarm = _Swarm(bench, pathlib.Path(folder))
        async with swarm.open(MEMBERS[:1]):
            one = swarm.running[MEMBERS[0]]
            me = one.membership.members().get(MEMBERS[0])
            if me is None or me.state is not MemberState.ALIVE or me.incarnation < 1:
                raise Wrong(f"of itself it says {me}")
            if me.address != one.port.address:
                raise Wrong(f"it says that it is at {me.address}, not {one.port.address}")


async def finds_who_is_there(bench: Bench) -> None:
    """members that know one of them find all, and `changed` tells the same as `members`"""
    async with _swarm(bench) as swarm:
        for name, one in swarm.running.items():
            last = {member.name: member for member in one.changes}
            for member in one.membership.members().values():
                told = last.get(member.name)
                if member.name == name and told is None:
                    continue  # it knows itself
                if told is None or (told.state, told.address) != (member.state, member.address):
                    raise Wrong(f"{name} was told {told}, and members has {member}")


async def tells_about(bench: Bench) -> None:
    """what a member tells of itself comes to all, the latest of it, and more than `MOST_ABOUT` is refused"""
    async with _swarm(bench) as swarm:
        teller = swarm.running[MEMBERS[1]].membership
        try:
            teller.tell(bytes(MOST_ABOUT + 1))
        except ValueError:
            pass
        else:
            raise Wrong(f"it takes {MOST_ABOUT + 1} bytes")
        for about in (b"first", bytes(range(256)) * 2, b"last"):
            teller.tell(about)
            await trio.sleep(_LOOK)

        def come() -> bool:
            views = [one.membership.members()[MEMBERS[1]] for one in swarm.running.values()]
            return all(view.about == b"last" for view in views)

        await _until(come, lambda: "what it told last does not come to all", bench)


async def knows_who_is_lost(bench: Bench) -> None:
    """who is gone without a word is held for dead by all, and alive, and newer, when it is back"""
    async with _swarm(bench) as swarm:
        lost = MEMBERS[2]
        before = swarm.running[lost].membership.members()[lost].incarnation
        swarm.crash(lost)

        def state(wanted: MemberState) -> bool:
            return all(one.state(lost) is wanted for one in swarm.running.values())

        await _until(
            lambda: state(MemberState.DEAD),
            lambda: f"{lost} is gone, and not dead for all: {_told(swarm)}",
            bench,
        )
        await swarm.start(lost)
        await _until(
            lambda: state(MemberState.ALIVE),
            lambda: f"{lost} is back, and not alive for all: {_told(swarm)}",
            bench,
        )
        after = swarm.running[lost].membership.members()[lost].incarnation
        if after <= before:
            raise Wrong(f"its incarnation was {before}, and is {after} after a restart")


async def knows_who_leaves(bench: Bench) -> None:
    """who leaves has left for all, and is at no time suspected or dead"""
    async with _swarm(bench) as swarm:
        gone = MEMBERS[2]
        for one in swarm.running.values():
            one.changes.clear()
        await swarm.running[gone].membership.leave()
        await _until(
            lambda: all(one.state(gone) is MemberState.LEFT for one in swarm.running.values()),
            lambda: f"{gone} has left, and not all know it: {_told(swarm)}",
            bench,
        )
        swarm.crash(gone)
        await trio.sleep(1.0)
        wrong = {MemberState.SUSPECT, MemberState.DEAD}
        for name, one in swarm.running.items():
            states = [member.state for member in one.changes if member.name == gone]
            if wrong & set(states):
                raise Wrong(f"{gone} left, and {name} was told {states}")


async def survives_strangers(bench: Bench) -> None:
    """garbage, in datagrams and exchanges, changes nothing; whoever asks garbage gets bytes as an answer"""
    async with _swarm(bench) as swarm:
        chance = swarm.ports.chance
        stranger = swarm.wires.datagrams("stranger")
        one = swarm.running[MEMBERS[0]]
        before = dict(one.membership.members())
        for size in (0, 1, 17, 33, 200, 1400, 9000):
            for _ in range(20):
                stranger.send(MEMBERS[0], chance.randbytes(size))
            answer = await one.membership.answer(MEMBERS[1], chance.randbytes(size))
            nobody = await one.membership.answer("stranger", chance.randbytes(size))
            for said in (answer, nobody):
                if type(said) is not bytes:
                    raise Wrong(f"it answers garbage with {said!r:.100}")
        await trio.sleep(0.5)
        await _until(
            lambda: set(one.membership.members()) == set(before) and _all_alive(one),
            lambda: f"after garbage it knows {dict(one.membership.members())!r:.300}",
            bench,
        )


async def says_what_it_measures(bench: Bench) -> None:
    """its status is plain data, before it runs and meanwhile, and names its type"""
    async with bench.opened() as idle:
        before = msgspec.json.encode(idle.status())
    async with _swarm(bench) as swarm:
        status = swarm.running[MEMBERS[0]].membership.status()
        if msgspec.json.encode(status) == before:
            raise Wrong("its status is the same while it runs")
        if status.get("type") != bench.factory.type:
            raise Wrong(f"its status has the type {status.get('type')!r}")
