"""What is taken in the turn in which it is committed, and written from the turn on that wants it."""

from __future__ import annotations

import pathlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from random import Random

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from flow_consensus.effects import Write
from flow_consensus.tail import Tail
from flow_consensus.writing import Writer
from flow_storage.log_file import LogFile
from flow_storage.memory import MemoryLog
from flow_storage.sqlite import SqliteStorage
from flowcore.errors import StorageError, StorageFailed, StorageFull
from flowcore.sqlite import FileThread
from flowcore.state import Committed, Installed, LogEntry


class Follower:
    """Takes what it likes at once, and gets the rest as it comes."""

    def __init__(self, tail: Tail, likes: Callable[[], bool]) -> None:
        self._tail = tail
        self._likes = likes
        self.seen: list[int] = []
        self.at_once = 0
        tail.hand_to(self._take)

    def _take(self, batch: Sequence[Committed]) -> bool:
        if not self._likes():
            return False
        self.seen += [one.position for one in batch]
        self.at_once += 1
        return True

    async def run(self) -> None:
        async with aclosing(self._tail.follow(0)) as stream:
            async for batch in stream:
                assert not isinstance(batch, Installed)
                self.seen += [one.position for one in batch]
                await trio.lowlevel.checkpoint()


async def test_who_waits_for_more_takes_it_at_once(nursery: trio.Nursery) -> None:
    tail = Tail(MemoryLog("a log"), 0)
    follower = Follower(tail, lambda: True)
    tail.add([Committed(1, b"1")])
    tail.tell()
    assert follower.seen == []  # it does not follow yet
    nursery.start_soon(follower.run)
    await trio.testing.wait_all_tasks_blocked()
    assert (follower.seen, follower.at_once) == ([1], 0)
    for position in (2, 3):
        tail.add([Committed(position, b"x")])
        tail.tell()
        assert (follower.seen[-1], follower.at_once) == (position, position - 1)
    await trio.testing.wait_all_tasks_blocked()
    assert follower.seen == [1, 2, 3]


@pytest.mark.parametrize("seed", range(5))
async def test_what_is_not_taken_comes_and_all_comes_once_in_order(
    nursery: trio.Nursery, seed: int
) -> None:
    chance = Random(seed)
    tail = Tail(MemoryLog("a log"), 0)
    follower = Follower(tail, lambda: chance.random() < 0.6)
    nursery.start_soon(follower.run)
    last = 0
    for _ in range(300):
        for _ in range(chance.randrange(4)):
            last += 1
            tail.add([Committed(last, b"x")])
        tail.tell()
        for _ in range(chance.randrange(4)):
            await trio.lowlevel.checkpoint()
    await trio.testing.wait_all_tasks_blocked()
    assert follower.seen == list(range(1, last + 1))
    assert 0 < follower.at_once < 300


class Written(Writer):
    """Notes what follows."""

    def __init__(self, storage: MemoryLog) -> None:
        super().__init__("a", storage, lambda position: None)
        self.told: list[object] = []

    def written(self, number: int) -> None:
        self.told.append(number)

    def full(self) -> None:
        self.told.append("full")

    def roomy(self) -> None:
        self.told.append("roomy")

    def failed(self, error: StorageError) -> None:
        self.told.append(str(error))


class Prompt(MemoryLog):
    """A log that begins at once, on a disk that has no room or fails the first time."""

    def __init__(self, error: Exception | None) -> None:
        super().__init__("a log")
        self.error = error
        self.begun: list[int] = []

    def begin_append(
        self, entries: Sequence[LogEntry], *, hard_state: bytes | None = None
    ) -> Callable[[], Awaitable[None]]:
        self.begun += [one.position for one in entries]

        async def done() -> None:
            if self.error is not None:
                await trio.lowlevel.checkpoint()
                raise self.error
            await self.append(entries, hard_state=hard_state)

        return done


@pytest.mark.parametrize(
    ("error", "told", "kept"),
    [
        (None, [7], 1),
        (StorageFull("no room"), ["full", "roomy", 7], 1),
        (StorageFailed("input/output error"), ["input/output error"], 0),
    ],
)
async def test_a_write_begins_where_it_is_put(
    nursery: trio.Nursery,
    autojump_clock: MockClock,
    error: Exception | None,
    told: list[object],
    kept: int,
) -> None:
    storage = Prompt(error)
    writer = Written(storage)
    nursery.start_soon(writer.run)
    await trio.testing.wait_all_tasks_blocked()
    writer.put(Write(7, [LogEntry(1, 1, b"x")], b"hard", None, None))
    assert storage.begun == [1]
    await trio.sleep(2)
    assert writer.told == told
    assert storage.last == kept


async def test_a_file_is_written_before_anybody_waits_for_it(tmp_path: pathlib.Path) -> None:
    thread = FileThread("log")
    file = LogFile(tmp_path / "log.sqlite")
    storage = SqliteStorage(file, thread, lambda reason: None)
    done = storage.begin_append([LogEntry(1, 1, b"first")], hard_state=b"hard")
    await thread.run(lambda: None)  # what was asked for before is over then
    assert (storage.last, storage.hard_state) == (1, b"hard")
    await done()
    assert storage.status()["commits"] == 1
    file.close()
    failing = storage.begin_append([LogEntry(2, 1, b"second")])
    with pytest.raises(StorageFailed, match="cannot be written"):
        await failing()
    with pytest.raises(StorageFailed, match="nothing is written since the disk failed"):
        await storage.begin_append([LogEntry(2, 1, b"second")])()
    thread.end()
