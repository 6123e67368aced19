"""Real processes, killed, on disks that are full or fail: what was acknowledged is there, once."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
from collections.abc import Generator

import attrs
import pytest
import trio

from flowcore.errors import OutcomeUnknown, StateUnavailable
from flowcore.state import ReadLevel, open_state
from support.keeping import keeping, open_single, open_storage
from support.small_disk import mounted
from support.state_writer import SETTINGS, count

ROOT = pathlib.Path(__file__).parents[2]


@attrs.define
class Clients:
    """What clients know: their sessions, and the sequence that they do next."""

    known: dict[str, list[int]]
    refused: list[str] = attrs.field(factory=list)

    def hear(self, line: str) -> None:
        what, client, rest = line.rstrip("\n").split(" ", 2)
        if what == "session":
            self.known[client] = [int(rest), 1]
        elif what == "done":
            assert int(rest) == self.known[client][1]
            self.known[client][1] += 1
        else:
            self.refused.append(rest)

    @property
    def done(self) -> int:
        return sum(sequence - 1 for _, sequence in self.known.values())


def some_clients(number: int = 6) -> Clients:
    return Clients({f"c{at}": [0, 1] for at in range(number)})


@contextlib.contextmanager
def writing(
    folder: pathlib.Path, clients: Clients, *before: str, padding: int = 0
) -> Generator[subprocess.Popen[str]]:
    program = [sys.executable, "-m", "support.state_writer", str(folder), str(padding)]
    process = subprocess.Popen(
        [*before, *program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT / "tests",
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}"},
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(clients.known))
    process.stdin.close()
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:  # what was said before it died
            if line.endswith("\n"):
                clients.hear(line)
        process.stdout.close()
        process.stderr.close()


def hear(process: subprocess.Popen[str], clients: Clients, lines: int) -> None:
    """As many lines, or all there are."""
    assert process.stdout is not None
    for _ in range(lines):
        line = process.stdout.readline()
        if not line:
            break
        clients.hear(line)


async def check(folder: pathlib.Path, clients: Clients) -> None:
    """Each client asks its last command again, whatever became of it: all are applied once."""
    async with keeping(folder, SETTINGS) as kept:
        expected = {}
        for client, (session, sequence) in clients.known.items():
            if session:
                await kept.state.do(count(client), session=session, sequence=sequence)
                expected[client] = float(sequence)
        page = await kept.state.list_patterns("counts")
        assert {one.text: one.weight for one in page.patterns} == expected
        assert kept.state.status()["checked"]


def kill_again_and_again(folder: pathlib.Path, clients: Clients, times: int, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(times):
        with writing(folder, clients) as process:
            hear(process, clients, chance.randint(1, 400))


@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_acknowledged_is_lost_or_done_twice_when_killed(
    tmp_path: pathlib.Path, seed: int
) -> None:
    clients = some_clients()
    await trio.to_thread.run_sync(kill_again_and_again, tmp_path, clients, 5, seed)
    assert clients.done > 50
    await check(tmp_path, clients)


@pytest.mark.long
async def test_nothing_is_lost_in_a_hundred_kills(tmp_path: pathlib.Path) -> None:
    clients = some_clients(16)
    await trio.to_thread.run_sync(kill_again_and_again, tmp_path, clients, 100, 3)
    await check(tmp_path, clients)


def fill(folder: pathlib.Path, clients: Clients, padding: int) -> str:
    """Write until the process ends by itself; what it said on stderr."""
    with writing(folder, clients, padding=padding) as process:
        hear(process, clients, 100_000)
        assert process.stderr is not None
        return process.stderr.read()


@pytest.fixture
def small_disk(tmp_path: pathlib.Path) -> Generator[pathlib.Path]:
    """A file system of 3 MiB."""
    with mounted(tmp_path / "small", "3m"):
        yield tmp_path / "small"


async def test_a_full_disk_refuses_and_loses_nothing(small_disk: pathlib.Path) -> None:
    clients = some_clients(3)
    said = await trio.to_thread.run_sync(fill, small_disk, clients, 20_000)
    assert "Traceback" not in said
    assert clients.refused
    assert all("there is no room on the disk" in one for one in clients.refused), clients.refused
    assert clients.done > 5
    async with keeping(small_disk, SETTINGS) as kept:  # what it has can be read, full or not
        page = await kept.state.list_patterns("counts", level=ReadLevel.STALE)
        found = {one.text: one.weight for one in page.patterns}
        for client, (_, sequence) in clients.known.items():
            assert found.get(client, 0) >= sequence - 1
    larger = small_disk.parent / "larger"
    await trio.to_thread.run_sync(shutil.copytree, small_disk, larger)
    await check(larger, clients)


async def test_a_full_disk_that_has_room_again_takes_commands_again(
    small_disk: pathlib.Path,
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 2**21)
    async with keeping(small_disk, SETTINGS) as kept:
        done = 0
        with pytest.raises((StateUnavailable, OutcomeUnknown), match="no room on the disk"):
            while True:
                await kept.state.do(count("c", 20_000))
                done += 1
        ballast.unlink()
        while True:
            try:
                stored = await kept.state.do(count("c"))
            except (OutcomeUnknown, StateUnavailable):
                continue  # the state catches up when it tries again
            break
        found = await kept.state.patterns([stored.patterns[0].id])
        assert done + 1 <= found[0].weight <= done + 3
        assert kept.state.status()["trouble"] == ""


async def test_a_state_that_has_no_room_for_what_is_committed_says_so(
    small_disk: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """The log has room, the state has not: nobody waits for ever, and with room again all is there."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (2**21 + 2**18))
    async with open_storage(tmp_path / "log") as storage, open_single(storage) as consensus:
        path = small_disk / "state.sqlite"
        async with open_state(consensus, path, SETTINGS) as state:
            done = 0
            with pytest.raises((OutcomeUnknown, StateUnavailable), match="no room on the disk"):
                while True:
                    await state.do(count("c", 20_000))
                    done += 1
            for level in (ReadLevel.LINEARIZABLE, ReadLevel.LEASED):
                with pytest.raises(
                    StateUnavailable, match=r"no room on the disk for .*state\.sqlite"
                ):
                    await state.list_patterns("counts", level=level)
            with pytest.raises(StateUnavailable, match="no room on the disk"):
                await state.do(count("c"))
            page = await state.list_patterns("counts", level=ReadLevel.STALE)
            assert page.patterns[0].weight == done
            assert "no room" in state.status()["trouble"]
        async with open_state(consensus, path, SETTINGS) as state:  # it starts as it is
            page = await state.list_patterns("counts", level=ReadLevel.STALE)
            assert page.patterns[0].weight == done
            before = state.position
            ballast.unlink()
            await state.wait_applied(before)
            page = await state.list_patterns("counts")
            assert page.patterns[0].weight > done
            assert state.status()["trouble"] == ""
            await state.do(count("c"))


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
async def test_a_disk_that_fails_to_sync_stops_all_commands(tmp_path: pathlib.Path) -> None:
    clients = some_clients(2)
    with_faults = (
        *("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync"),
        *("-e", "inject=fsync,fdatasync:error=EIO:when=40+"),
    )

    def run() -> None:
        with writing(tmp_path, clients, *with_faults) as process:
            hear(process, clients, 100_000)

    await trio.to_thread.run_sync(run)
    assert clients.done > 3
    assert any(one.startswith("OutcomeUnknown") for one in clients.refused), clients.refused
    assert all("disk failed" in one or "nobody knows" in one for one in clients.refused), (
        clients.refused
    )
    await check(tmp_path, clients)
