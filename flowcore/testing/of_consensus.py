"""What holds for every consensus engine: one order, nothing acknowledged is lost, refusals are typed."""

from __future__ import annotations

import contextlib
import pathlib
import tempfile
from collections.abc import Sequence
from contextlib import aclosing

import msgspec
import trio

from flowcore.errors import CallError, OutcomeUnknown, TooOld
from flowcore.state import (
    Committed,
    Consensus,
    Installed,
    PutPattern,
    PutPatterns,
    ShowsLog,
    open_state,
)
from flowcore.testing.bench import Bench
from flowcore.testing.findings import Wrong

_MANY = 300


async def _until(consensus: Consensus, after: int, last: int) -> list[Committed]:
    """What is committed after a position, as far as another one."""
    found: list[Committed] = []
    if after >= last:
        return found
    async with aclosing(consensus.committed(after)) as stream:
        async for batch in stream:
            if isinstance(batch, Installed):
                raise Wrong("it gives a snapshot, and nobody has made one")
            found += batch
            if not batch:
                raise Wrong("it gives an empty batch")
            if found[-1].position >= last:
                break
    expected = list(range(after + 1, after + len(found) + 1))
    if [one.position for one in found] != expected:
        raise Wrong(f"after {after} it gives positions {[one.position for one in found][:10]}")
    return found


async def _propose(consensus: Consensus, commands: Sequence[bytes]) -> dict[int, bytes]:
    """All at once; the position of each that was taken."""
    taken: dict[int, bytes] = {}

    async def one(command: bytes) -> None:
        position = await consensus.propose(command)
        if position in taken:
            raise Wrong(f"two commands have the position {position}")
        taken[position] = command

    async with trio.open_nursery() as nursery:
        for command in commands:
            nursery.start_soon(one, command)
    return taken


async def puts_all_into_one_order(bench: Bench) -> None:
    """each command has a position of its own, and everybody sees them in that order"""
    async with bench.opened() as consensus:
        commands = [b"command %d" % number for number in range(_MANY)]
        taken = await _propose(consensus, commands)
        last = max(taken)
        if (
            await consensus.read_barrier() < last
            or await consensus.read_barrier(leased=True) < last
        ):
            raise Wrong("a read barrier lies before what was acknowledged")
        for after in (0, 1, last // 2, last - 1):
            for one in await _until(consensus, after, last):
                if one.data and taken.get(one.position) != one.data:
                    raise Wrong(
                        f"at {one.position} it gives {one.data!r}, which it told of another"
                    )
        seen = {one.position for one in await _until(consensus, 0, last) if one.data}
        if seen != taken.keys():
            raise Wrong("not all that was acknowledged is given, or more than that")


async def tells_who_follows(bench: Bench) -> None:
    """who waits for what is committed gets it as it comes"""
    async with bench.opened() as consensus:
        got: list[Committed] = []

        async def follow() -> None:
            async with aclosing(consensus.committed(0)) as stream:
                async for batch in stream:
                    got.extend(batch)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            for number in range(20):
                await consensus.propose(b"%d" % number)
            while len([one for one in got if one.data]) < 20:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()


async def refuses_by_typed_errors(bench: Bench) -> None:
    """more than it can hold is refused by CallErrors that say nothing began; the rest is committed"""
    async with bench.opened() as consensus:
        taken: list[int] = []
        unsure = 0

        async def one(number: int) -> None:
            nonlocal unsure
            try:
                taken.append(await consensus.propose(b"%08d" % number * 2000))
            except OutcomeUnknown:
                unsure += 1
            except CallError as error:
                if error.began:
                    raise Wrong(f"it refuses with began=True: {error}") from None

        async with trio.open_nursery() as nursery:
            for number in range(10_000):
                nursery.start_soon(one, number)
        if not taken:
            raise Wrong("of 10,000 commands at once it took none")
        seen = [one for one in await _until(consensus, 0, max(taken)) if one.data]
        if not len(taken) <= len(seen) <= len(taken) + unsure:
            raise Wrong(f"it acknowledged {len(taken)}, and {len(seen)} are committed")


async def survives_who_goes_away(bench: Bench) -> None:
    """a caller that is cancelled disturbs nobody"""
    async with bench.opened() as consensus:
        for number in range(50):
            with trio.move_on_after(number * 1e-5):
                await consensus.propose(b"perhaps %d" % number)
        position = await consensus.propose(b"surely")
        if (await _until(consensus, position - 1, position))[0].data != b"surely":
            raise Wrong("after callers went away another's command is lost")


async def lets_go(bench: Bench) -> None:
    """what is compacted need not be there, and what comes after it is"""
    async with bench.opened() as consensus:
        taken = await _propose(consensus, [b"%d" % number for number in range(50)])
        last = max(taken)
        await consensus.compact(last - 5)
        if len(await _until(consensus, last - 5, last)) != 5:
            raise Wrong("what comes after the compacted is not there")
        with contextlib.suppress(TooOld):  # an engine may keep more than it must
            await _until(consensus, 0, last)
        position = await consensus.propose(b"after")
        if (await _until(consensus, position - 1, position))[0].data != b"after":
            raise Wrong("it does not go on after compact")


async def carries_a_state(bench: Bench) -> None:
    """a state stands on it, and is there again if it is durable"""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for turn in range(2):
            async with bench.opened(folder=folder) as consensus:
                path = folder / "state.sqlite"
                async with open_state(consensus, path) as state:
                    kept = await state.pattern("n", "k")
                    if turn and consensus.durable and (kept is None or kept.text != "turn 0"):
                        raise Wrong(f"what was done is not there again: {kept}")
                    pattern = PutPattern(namespace="n", key="k", text=f"turn {turn}")
                    await state.do(PutPatterns((pattern,)))


async def says_what_it_does(bench: Bench) -> None:
    """its status is plain data, and changes with what it does"""
    async with bench.opened() as consensus:
        before = msgspec.json.encode(consensus.status())
        await consensus.propose(b"something")
        if msgspec.json.encode(consensus.status()) == before:
            raise Wrong("its status is the same after a command")


async def shows_what_is_in_the_log(bench: Bench) -> None:
    """where it shows its log, that is what it gives as committed, and nothing after its end"""
    async with bench.opened() as consensus:
        log = consensus if isinstance(consensus, ShowsLog) else None
        if log is None:
            return
        taken = await _propose(consensus, [b"command %d" % number for number in range(20)])
        last = max(taken)
        shown = await log.entries(1, last)
        if [one.position for one in shown] != list(range(1, last + 1)):
            raise Wrong(
                f"it shows {[one.position for one in shown][:10]}, not all from 1 to {last}"
            )
        for one in shown:
            if not one.committed or one.data != taken.get(one.position, b""):
                raise Wrong(
                    f"at {one.position} it shows {one.data!r}, and that is not what it told"
                )
            if not (one.data or one.note):
                raise Wrong(f"what {one.position} is, it does not say")
        if await log.entries(last + 1, 10) and consensus.status()["last"] == last:
            raise Wrong("it shows entries after the end of its log")
        if len(await log.entries(1, 3)) > 3:
            raise Wrong("it shows more than it was asked for")
