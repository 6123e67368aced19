"""The live state: what `do` tells, what reads see, what followers get, and what a restart leaves."""

from __future__ import annotations

import gc
import itertools
import pathlib
import shutil
from collections.abc import AsyncIterator, Sequence

import msgspec
import pytest
import trio

from flow_consensus.single import SingleConfig
from flowcore.errors import (
    InvalidArguments,
    Overloaded,
    QuotaExceeded,
    SessionExpired,
    StateUnavailable,
    TooLarge,
    TooOld,
    UntrustedFile,
    VersionConflict,
)
from flowcore.state import (
    Feedback,
    GiveFeedback,
    OpenSession,
    PatternLine,
    PutPattern,
    PutPatterns,
    ReadLevel,
    RemovePatterns,
    SnapshotInfo,
    StateSettings,
    Tidy,
    line_of,
    pattern_of,
)
from support.keeping import Kept, keeping, note

PLACES = pytest.mark.parametrize("kept_in", ["file", "memory"])


def place(tmp_path: pathlib.Path, kept_in: str) -> pathlib.Path | None:
    return tmp_path / "data" if kept_in == "file" else None


@PLACES
async def test_what_is_done_is_read_at_every_level(tmp_path: pathlib.Path, kept_in: str) -> None:
    async with keeping(place(tmp_path, kept_in)) as kept:
        stored = await kept.state.do(note("a", "first", value=b"[1]"))
        for level in ReadLevel:
            found = await kept.state.pattern("notes", "a", level=level)
            assert found is not None
            assert (found.text, found.value, found.version) == ("first", b"[1]", stored.position)
            page = await kept.state.list_patterns("notes", level=level)
            assert (page.level, page.position) == (level, kept.state.position)
        assert await kept.state.pattern("notes", "b") is None
        assert await kept.state.patterns([7, stored.patterns[0].id]) == [found]


@PLACES
async def test_refusals_are_typed_and_change_nothing(tmp_path: pathlib.Path, kept_in: str) -> None:
    settings = StateSettings(namespace_quota=2000)
    async with keeping(place(tmp_path, kept_in), settings) as kept:
        do = kept.state.do
        await do(note("a"))
        with pytest.raises(VersionConflict) as conflict:
            await do(note("a", "new", if_version=0))
        assert conflict.value.data == {"version": kept.state.position - 1}
        with pytest.raises(QuotaExceeded):
            await do(note("b", "x" * 3000))
        with pytest.raises(SessionExpired):
            await do(note("b"), session=77, sequence=1)
        before = kept.state.position
        for wrong in (
            note("b", value=b"{"),
            note("b", vector=b"123"),
            note("b", vector=b"\0\0\x80\x7f", embedder="e"),
            note("b", vector=b"\0\0\x80\x3f"),
            note("b", reward=float("nan")),
            note("b", "\udc80"),
            note("b", ttl=-1.0),
            PutPatterns(()),
            PutPatterns((PutPattern(namespace="a\nb", key="k"),)),
            PutPatterns((PutPattern(namespace=7, key="k"),)),  # type: ignore[arg-type]
            RemovePatterns(ids=(2**70,)),
            "no command",
        ):
            with pytest.raises(InvalidArguments):
                await do(wrong)  # type: ignore[arg-type]
        for large in (
            note("k" * 513),
            note("b", "x" * (2**20 + 1)),
            note("b", value=b"1" * (2**22 + 1)),
            PutPatterns(
                tuple(PutPattern(namespace="n", key=str(n), text="x" * 2**20) for n in range(17))
            ),
            RemovePatterns(ids=tuple(range(10_001))),
        ):
            with pytest.raises(TooLarge):
                await do(large)
        assert kept.state.position == before  # none of them was proposed
        assert [one.key for one in (await kept.state.list_patterns("notes")).patterns] == ["a"]


@PLACES
async def test_pages_follow_each_other_in_any_order(tmp_path: pathlib.Path, kept_in: str) -> None:
    keys = ["b", "a", "aa", "ab", "ä", "b\U0010ffff", "c", "", "é"]
    async with keeping(place(tmp_path, kept_in)) as kept:
        for number, key in enumerate(keys):
            expert = "even" if number % 2 == 0 else "odd"
            pattern = PutPattern(
                namespace="n",
                key=key or None,
                text=key or "t",
                expert=expert,
                time=float(number // 2),
            )
            await kept.state.do(PutPatterns((pattern,)))

        async def all_of(limit: int, **how: object) -> list[str]:
            found: list[str] = []
            cursor = None
            while True:
                page = await kept.state.list_patterns("n", limit=limit, cursor=cursor, **how)  # type: ignore[arg-type]
                found += [one.key for one in page.patterns]
                cursor = page.cursor
                if cursor is None:
                    return found

        named = [key or str(at) for at, key in enumerate(keys, start=1)]
        for limit in (1, 2, 1000):
            assert await all_of(limit) == named
            assert await all_of(limit, descending=True) == named[::-1]
            assert await all_of(limit, order="key") == sorted(named)
            assert await all_of(limit, order="time", descending=True) == named[::-1]
            assert await all_of(limit, prefix="a", order="key") == ["a", "aa", "ab"]
            assert await all_of(limit, prefix="b") == ["b", "b\U0010ffff"]
            assert await all_of(limit, expert="odd") == named[1::2]
            assert await all_of(limit, since=1.0, until=3.0) == named[2:6]
        page = await kept.state.list_patterns("n", limit=1)
        for wrong in (
            {"cursor": "x"},
            {"cursor": page.cursor, "order": "key"},
            {"limit": 0},
            {"order": "no"},
        ):
            with pytest.raises(InvalidArguments):
                await kept.state.list_patterns("n", **wrong)


async def test_a_session_outlives_a_restart_and_its_commands_happen_once(
    tmp_path: pathlib.Path,
) -> None:
    command = PutPatterns((PutPattern(namespace="n", text="x", weight=1.0),))
    async with keeping(tmp_path) as kept:
        session = (await kept.state.do(OpenSession("me"))).session
        first = await kept.state.do(command, session=session, sequence=1)
    async with keeping(tmp_path) as kept:
        assert await kept.state.do(command, session=session, sequence=1) == first
        second = await kept.state.do(command, session=session, sequence=2)
        assert second.patterns[0].id == first.patterns[0].id
        found = await kept.state.patterns([first.patterns[0].id])
        assert [one.weight for one in found] == [2.0]
        assert kept.state.status()["again"] == 1


@PLACES
async def test_who_follows_changes_has_the_same_as_the_state(
    tmp_path: pathlib.Path, kept_in: str
) -> None:
    copy: dict[int, int] = {}
    position = 0

    async def follow(kept: Kept) -> None:
        nonlocal position
        while True:
            changes = await kept.state.pattern_changes(position, 3)
            for one in changes.changed:
                copy[one.id] = one.version
            for id_ in changes.removed:
                copy.pop(id_, None)
            position = changes.position
            if changes.complete:
                await kept.state.wait_applied(position)

    async with keeping(place(tmp_path, kept_in), StateSettings(patterns=20)) as kept:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow, kept)
            for number in range(60):
                await kept.state.do(note(str(number % 37)))
                if number % 5 == 0:
                    await kept.state.do(RemovePatterns(namespace="notes", keys=(str(number // 2),)))
            while position < kept.state.position:
                await trio.testing.wait_all_tasks_blocked(0.001)
            nursery.cancel_scope.cancel()
        page = await kept.state.list_patterns("notes")
        assert copy == {one.id: one.version for one in page.patterns}
        assert 0 < len(copy) <= 20


async def test_who_comes_back_too_late_is_told_so(tmp_path: pathlib.Path) -> None:
    settings = StateSettings(removed=2, feedback=3)
    async with keeping(tmp_path, settings) as kept:
        for number in range(4):
            await kept.state.do(note(str(number)))
        for number in range(4):
            await kept.state.do(RemovePatterns(namespace="notes", keys=(str(number),)))
        with pytest.raises(TooOld):
            await kept.state.pattern_changes(0)
        changes = await kept.state.pattern_changes(kept.state.position - 2)
        assert changes.removed == (3, 4)
        for number in range(5):
            await kept.state.do(GiveFeedback((Feedback(text=str(number), expert="e", reward=1.0),)))
        with pytest.raises(TooOld):
            await kept.state.feedback_after(0)
        oldest = await kept.state.oldest_feedback()
        lessons = await kept.state.feedback_after(oldest, 2)
        assert ([one.text for one in lessons.lessons], lessons.complete) == (["2", "3"], False)
        lessons = await kept.state.feedback_after(lessons.position, 2)
        assert ([one.text for one in lessons.lessons], lessons.complete) == (["4"], True)


async def test_who_comes_from_another_state_is_told_to_begin_anew(tmp_path: pathlib.Path) -> None:
    async with keeping(tmp_path / "a") as kept, keeping(tmp_path / "b") as other:
        await kept.state.do(note("a"))
        assert kept.state.identity != other.state.identity
        for ask in (kept.state.pattern_changes, kept.state.feedback_after):
            with pytest.raises(TooOld, match="lies beyond"):
                await ask(kept.state.position + 1)


@PLACES
async def test_what_cannot_be_asked_is_an_invalid_argument(
    tmp_path: pathlib.Path, kept_in: str
) -> None:
    async with keeping(place(tmp_path, kept_in)) as kept:
        state = kept.state
        for ask in (
            lambda: state.pattern("\udc80", "k"),
            lambda: state.pattern("n", "\udc80"),
            lambda: state.list_patterns("n", prefix="\udc80"),
            lambda: state.list_patterns("n", cursor="\u2028"),
        ):
            with pytest.raises(InvalidArguments):
                await ask()
        assert await state.patterns([-1, 0, 2**80]) == []
        assert await state.pattern("n", "\x00") is None


async def test_many_at_once_share_an_fsync_and_all_are_there_afterwards(
    tmp_path: pathlib.Path,
) -> None:
    async with keeping(tmp_path) as kept:
        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(kept.state.do, note(str(number)))
        status = kept.state.status()
        assert status["patterns"] == 200
        assert status["consensus"]["batches"] < 20
    async with keeping(tmp_path) as kept:
        assert kept.state.status()["patterns"] == 200


async def test_beyond_the_queue_commands_are_refused_and_the_others_done(
    tmp_path: pathlib.Path,
) -> None:
    done, refused = [], []

    async def try_(kept: Kept, number: int) -> None:
        try:
            done.append(await kept.state.do(note(str(number))))
        except Overloaded as error:
            assert error.retry_after is not None
            refused.append(number)

    async with keeping(tmp_path, config=SingleConfig(queue=5)) as kept:
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(try_, kept, number)
        assert len(done) + len(refused) == 50
        assert len(done) >= 5
        assert refused
        assert kept.state.status()["patterns"] == len(done)


@PLACES
async def test_a_caller_that_goes_away_leaves_nothing_waiting(
    tmp_path: pathlib.Path, kept_in: str
) -> None:
    async with keeping(place(tmp_path, kept_in)) as kept:
        for number in range(20):
            with trio.move_on_after(0.0001 * number):
                await kept.state.do(note(str(number)))
        await kept.state.do(note("last"))
        assert kept.state.status()["waiting"] == 0
        assert await kept.state.pattern("notes", "last") is not None
    with pytest.raises(StateUnavailable):
        await kept.state.do(note("after"))
    with pytest.raises(StateUnavailable, match="being stopped"):
        await kept.consensus.propose(b"after")
    with pytest.raises(StateUnavailable, match="one voter"):
        await kept.consensus.change_voters(add=["beta"])


async def test_the_log_lets_go_of_what_is_durable_in_the_state(tmp_path: pathlib.Path) -> None:
    settings = StateSettings(compact_after=10)
    async with keeping(tmp_path, settings) as kept:
        for number in range(57):
            await kept.state.do(note(str(number % 7), str(number)))
        with trio.fail_after(60):  # it is made durable, and let go of, beside what goes on
            while kept.state.position - kept.storage.compacted[0] >= 10:  # noqa: ASYNC110
                await trio.sleep(0.005)
        status = kept.state.status()
        assert status["durable_position"] > 47
        assert status["consensus"]["storage"]["first"] > 47
    async with keeping(tmp_path, settings) as kept:
        found = await kept.state.pattern("notes", "0")
        assert found is not None
        assert found.text == "56"


async def test_a_state_whose_log_has_let_go_of_what_it_lacks_is_refused(
    tmp_path: pathlib.Path,
) -> None:
    async with keeping(tmp_path, StateSettings(compact_after=3)) as kept:
        for number in range(9):
            await kept.state.do(note(str(number)))
        with trio.fail_after(60):
            while not kept.storage.compacted[0]:  # noqa: ASYNC110 - the state keeps what is applied beside
                await trio.sleep(0.005)
    (tmp_path / "state.sqlite").unlink()
    with pytest.RaisesGroup(
        pytest.RaisesExc(TooOld, match="the log begins after"), flatten_subgroups=True
    ):
        async with keeping(tmp_path):
            pass


async def test_a_state_that_is_gone_is_made_anew_from_a_whole_log(tmp_path: pathlib.Path) -> None:
    async with keeping(tmp_path) as kept:
        for number in range(30):
            await kept.state.do(note(str(number % 7), str(number)))
        before = [piece async for piece in kept.state.snapshot()]
    (tmp_path / "state.sqlite").unlink()
    async with keeping(tmp_path) as kept:
        assert [piece async for piece in kept.state.snapshot()] == before


async def test_a_log_that_ends_before_what_was_acknowledged_is_refused(
    tmp_path: pathlib.Path,
) -> None:
    crashed = tmp_path / "crashed"
    async with keeping(tmp_path / "data") as kept:
        for number in range(5):
            await kept.state.do(note(str(number)))
        shutil.copytree(tmp_path / "data", crashed)  # as kill -9 would leave it
    log = crashed / "log.sqlite-wal"
    whole = log.read_bytes()
    log.write_bytes(
        whole[:-1] + bytes([whole[-1] ^ 1])
    )  # SQLite takes it for a torn end, and drops it
    with pytest.RaisesGroup(
        pytest.RaisesExc(UntrustedFile, match="has applied 5, and the log ends at 4"),
        flatten_subgroups=True,
    ):
        async with keeping(crashed):
            pass


async def test_a_state_of_another_log_or_ahead_of_its_own_is_refused(
    tmp_path: pathlib.Path,
) -> None:
    async with keeping(tmp_path / "a") as kept:
        await kept.state.do(note("a"))
        async with keeping(tmp_path / "b") as other:
            await other.state.do(note("b"))
    (tmp_path / "a" / "log.sqlite").unlink()
    (tmp_path / "b" / "log.sqlite").rename(tmp_path / "a" / "log.sqlite")
    with pytest.RaisesGroup(
        pytest.RaisesExc(match="do not belong together"), flatten_subgroups=True
    ):
        async with keeping(tmp_path / "a"):
            pass


async def test_a_snapshot_in_the_storage_takes_the_place_of_what_is_lacking(
    tmp_path: pathlib.Path,
) -> None:
    async with keeping(tmp_path / "a") as kept:
        for number in range(30):
            await kept.state.do(note(str(number), "x" * 1000))
        pieces = [piece async for piece in kept.state.snapshot()]
        position = kept.state.position
        async with keeping(tmp_path / "b") as other:
            await other.storage.save_snapshot(SnapshotInfo(position=position, term=1), Each(pieces))
            await other.storage.reset(position, 1)
    for _ in range(2):
        async with keeping(tmp_path / "b") as kept:
            assert kept.state.position >= position
            assert kept.state.status()["patterns"] == 30
            await kept.state.do(note("0", "new"))


class Each:
    """Some pieces, as something asynchronous that may be left in the middle."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = iter(pieces)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        for piece in self._pieces:
            return piece
        raise StopAsyncIteration


@PLACES
async def test_what_is_written_while_a_snapshot_is_read_is_not_in_it(
    tmp_path: pathlib.Path, kept_in: str
) -> None:
    async with keeping(place(tmp_path, kept_in)) as kept:
        for number in range(300):
            await kept.state.do(note(str(number), "x" * 2000))
        whole = b"".join([piece async for piece in kept.state.snapshot()])
        pieces = []
        async for piece in kept.state.snapshot():
            pieces.append(piece)
            await kept.state.do(note("more"))
        assert len(pieces) > 3
        assert b"".join(pieces) == whole


async def test_an_expired_pattern_is_not_shown_and_then_it_is_gone(tmp_path: pathlib.Path) -> None:
    now = [1000.0]
    async with keeping(tmp_path, clock=lambda: now[0]) as kept:
        await kept.state.do(note("a", ttl=10.0))
        now[0] = 1009.0
        assert await kept.state.pattern("notes", "a") is not None
        now[0] = 1010.0
        assert await kept.state.pattern("notes", "a") is None
        assert (await kept.state.list_patterns("notes")).patterns == ()
        assert kept.state.status()["patterns"] == 1
        await kept.state.tidy()
        assert kept.state.status()["patterns"] == 0


async def test_a_pattern_becomes_a_line_and_a_pattern_again(tmp_path: pathlib.Path) -> None:
    clock = itertools.count(1000).__next__
    async with keeping(tmp_path, clock=lambda: float(clock())) as kept:
        await kept.state.do(
            note("a", "täxt", value=b'{"a": [1, null]}', ttl=1e6, owner=("jwt", "ann"))
        )
        bare = PutPattern(namespace="m", text="t", vector=b"\0\0\x80\x3f", embedder="e", weight=2.0)
        await kept.state.do(PutPatterns((bare,)))
        for namespace in ("notes", "m"):
            (one,) = (await kept.state.list_patterns(namespace)).patterns
            line = msgspec.json.decode(
                msgspec.json.encode(line_of(one, vector=True)), type=PatternLine
            )
            put = pattern_of(line, 1000.0)
            assert put is not None
            assert (put.text, put.value, put.vector) == (one.text, one.value, one.vector)
            assert (put.embedder, put.weight, put.owner) == (one.embedder, one.weight, one.owner)
            assert put.time == one.time
            assert line_of(one).vector == line_of(one).embedder == ""
            if one.expires is not None:
                assert put.ttl == one.expires - 1000.0
                assert pattern_of(line, one.expires) is None
    with pytest.raises(InvalidArguments, match="vector: expected base64"):
        pattern_of(PatternLine(namespace="n", vector="x"), 0.0)


async def test_memory_does_not_grow_with_what_is_kept(tmp_path: pathlib.Path) -> None:
    async with keeping(tmp_path, StateSettings(compact_after=500)) as kept:

        async def fill(start: int) -> int:
            for part in range(start, start + 2000, 500):
                patterns = tuple(
                    PutPattern(namespace="n", key=str(n), text="x" * 100)
                    for n in range(part, part + 500)
                )
                await kept.state.do(PutPatterns(patterns))
            gc.collect()
            return len(gc.get_objects())

        await fill(0)
        before = await fill(2000)
        after = await fill(4000)
        assert after - before < 500


async def test_a_clock_that_is_wrong_somewhere_is_told(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = [5000.0]
    async with keeping(tmp_path, clock=lambda: now[0]) as kept:
        await kept.state.do(Tidy())
        assert kept.state.status()["ahead"] == 0
        now[0] -= (
            3600.0  # this node's clock is set back; or the last command came from one that is ahead
        )
        for _ in range(2):
            await kept.state.do(Tidy())
        assert kept.state.status()["ahead"] == 3600.0
        assert caplog.text.count("3600.0 s ahead of this node's clock") == 1
        now[0] += 3600.5
        await kept.state.do(Tidy())
        assert kept.state.status()["ahead"] == 0
