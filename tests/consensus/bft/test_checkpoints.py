"""Certified checkpoints, requests of another life, and what a driver does when its disk does not."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
import trio
from trio.testing import MockClock

from flow_consensus.bft import Kind, Reason, Refused
from flow_consensus.bft.checkpoints import subject
from flow_consensus.bft.messages import (
    Checkpoint,
    Chunk,
    Fetch,
    FetchChunk,
    Offer,
    Read,
    ReadAnswer,
    Stable,
    Vote,
)
from flow_storage.memory import MemoryLog
from flowcore.errors import (
    InvalidArguments,
    OutcomeUnknown,
    StateUnavailable,
    StorageFailed,
    StorageFull,
    TooLarge,
    TooOld,
)
from flowcore.state import LogEntry
from support.bft.nodes import open_group
from support.bft.table import ABCD, Table

STATE, OTHER = b"\1" * 32, b"\2" * 32


def at_a_checkpoint() -> Table:
    """All have decided a block after which one is due."""
    table = Table(checkpoint=5)
    table["a"].propose([b"%d" % number for number in range(8)])
    table.settle()
    assert all([one.height for one in seat.due] == [1] for seat in table.seats.values())
    return table


def test_a_quorum_that_has_the_same_state_certifies_it() -> None:
    table = at_a_checkpoint()
    for name in "ab":
        table[name].checkpointed(1, STATE)
    table.settle()
    assert [table[name].status().checkpoint for name in ABCD] == [0] * 4
    assert table["a"].compact(9) == 0  # nothing goes before it is certified
    table["c"].checkpointed(1, STATE)
    table.settle()
    assert [table[name].status().checkpoint for name in ABCD] == [1, 1, 1, 0]
    table["d"].checkpointed(1, STATE)  # late, and the votes are there
    table.settle()
    assert table["d"].status().checkpoint == 1
    assert table["a"].compact(8) == 0
    assert table["a"].compact(9) == 9
    table.settle()
    restarted = table.restart("a")
    assert restarted.status().checkpoint == 1


def test_who_has_another_state_stops_and_says_so() -> None:
    table = at_a_checkpoint()
    for name in "abc":
        table[name].checkpointed(1, STATE)
    table["d"].checkpointed(1, OTHER)
    table.settle()
    assert "another one than 3 voters have certified" in table["d"].failed
    assert "diverged" in [one.kind for one in table.seats["d"].events] or table["d"].diverged
    with pytest.raises(Refused, match="another one than"):
        table["d"].propose([b"x"])
    table["b"].propose([b"the others go on"])
    table.settle()
    assert table["a"].standing.height == 2


def test_who_missed_the_votes_gets_the_certificate() -> None:
    table = at_a_checkpoint()
    table.drop = lambda sender, to, message: to == "d" and isinstance(message, Vote)
    for name in "abc":
        table[name].checkpointed(1, STATE)
    table.settle()
    table["d"].checkpointed(1, STATE)
    table.settle()
    assert table["d"].status().checkpoint == 0
    table.tick(220)
    assert table["d"].status().checkpoint == 1
    wrong = at_a_checkpoint()
    stable = table["a"].stable
    assert stable is not None
    wrong["d"].checkpointed(1, OTHER)
    # the same cluster, so the certificate counts there, too
    said = wrong["d"].step("a", Stable(stable))
    assert said == "" or said.startswith(Reason.CERTIFICATE)


def test_checkpoints_that_are_not_certified_are_not_taken() -> None:
    table = at_a_checkpoint()
    for name in "abc":
        table[name].checkpointed(1, STATE)
    table.settle()
    good = table["a"].stable
    assert good is not None
    fresh = Table(checkpoint=5)
    engine = fresh["d"]
    replace = msgspec.structs.replace
    certificate = good.certificate
    for bad in (
        replace(good, state=OTHER),
        replace(good, standing=good.standing[:-1]),
        replace(good, standing=b""),
        replace(good, certificate=replace(certificate, signatures=certificate.signatures[:2])),
        replace(good, certificate=replace(certificate, kind=Kind.PRECOMMIT)),
        replace(good, certificate=replace(certificate, view=1)),
    ):
        engine._fetching = "a"
        assert engine.step("a", Offer(bad)).startswith(Reason.CERTIFICATE)
        assert engine.step("a", Stable(bad)).startswith(Reason.CERTIFICATE)
    assert engine.step("a", Offer(good)).startswith(Reason.NOT_ASKED)
    engine._fetching = "a"
    assert engine.step("a", Offer(good)) == ""
    assert engine.taking == 1
    assert engine.step("b", Chunk(1, 0, b"x", False)).startswith(Reason.NOT_ASKED)
    assert engine.step("a", Chunk(1, 1, b"x", False)).startswith(Reason.NOT_ASKED)
    assert engine.step("a", Chunk(1, 0, b"x", False)) == ""
    engine.piece_stored(1, 0)
    for _ in range(400):
        engine.tick()  # the next piece never comes
    assert engine.taking == 0
    assert engine.bad_snapshots == {}, "who is late has not lied"
    assert "late" in [one.kind for one in engine.ready().events]
    assert engine.step("a", Fetch(99)).startswith(Reason.AHEAD)
    assert engine.step("a", FetchChunk(1, 0)) == ""


def certified(table: Table, *names: str) -> Checkpoint:
    """The checkpoint that is due, certified by these; it is the last one at "a"."""
    for name in names:
        due = table.seats[name].due[-1].height
        table[name].checkpointed(due, bytes([due]) * 32)
    table.settle()
    found = table["a"].stable
    assert found is not None
    return found


def two_checkpoints() -> tuple[Checkpoint, Checkpoint]:
    table = at_a_checkpoint()
    first = certified(table, *"abc")
    table["a"].propose([b"%d" % number for number in range(8)])
    table.settle()
    return first, certified(table, *"abc")


def test_where_the_state_that_is_taken_is_gone_a_later_one_takes_its_place() -> None:
    first, later = two_checkpoints()
    engine = Table(checkpoint=5)["d"]
    engine._fetching = "a"
    assert engine.step("a", Offer(first)) == ""
    assert engine.taking == 1
    assert engine.step("b", Offer(later)).startswith(Reason.NOT_ASKED)
    engine._fetching = "b"
    assert engine.step("b", Offer(later)) == "", "an answer, and not needed"
    assert engine.taking == 1
    assert engine.step("a", Offer(first)) == ""
    engine.ready()
    assert engine.step("a", Offer(later)) == ""
    assert engine.taking == 2
    ready = engine.ready()
    assert ready.install is not None
    assert ready.install.height == 2
    assert ready.messages == [("a", FetchChunk(2, 0))]
    assert engine.step("a", Chunk(1, 0, b"x", False)).startswith(Reason.NOT_ASKED)
    engine.install_failed(1, "of the one before")
    engine.installed(1)
    assert engine.taking == 2
    assert engine.bad_snapshots == {}


def test_who_is_late_with_its_state_is_left_for_who_has_a_later_one() -> None:
    first, later = two_checkpoints()
    engine = Table(checkpoint=5)["d"]
    engine._fetching = "a"
    assert engine.step("a", Offer(first)) == ""
    for _ in range(engine.settings.fetch_ticks):
        engine.tick()
    engine._fetching = "b"
    assert engine.step("b", Offer(later)) == ""
    assert engine.taking == 2
    assert ("b", FetchChunk(2, 0)) in engine.ready().messages


def test_who_asks_for_a_state_that_is_gone_is_offered_the_one_that_is_there() -> None:
    table = at_a_checkpoint()
    good = certified(table, *"abc")
    table.said.clear()
    table["a"].chunk_gone("d")
    table["d"].chunk_gone("a")  # it has none
    table.settle()
    assert [one for one in table.said if isinstance(one[2], Offer)] == [("a", "d", Offer(good))]


def test_a_read_is_answered_where_a_state_is_taken_in_meanwhile() -> None:
    """What a quorum has answered lies beyond what was here, and not beyond what was taken in."""
    table = at_a_checkpoint()
    for name in "abc":
        table[name].checkpointed(1, STATE)
    table.settle()
    stable, proof = table["a"].stable, table["a"].certificate
    assert stable is not None
    engine = Table(checkpoint=5)["d"]
    engine.read("a read")
    asked = next(one.id for _, one in engine.ready().messages if isinstance(one, Read))
    for name in "abc":
        assert engine.step(name, ReadAnswer(asked, 1, proof)) == ""
    assert engine.ready().reads == []
    assert engine.step("a", Offer(stable)) == ""
    assert engine.step("a", Chunk(1, 0, b"x", True)) == ""
    engine.installed(1)
    assert [(one.context, one.position) for one in engine.ready().reads] == [("a read", 9)]


def test_votes_for_checkpoints_are_checked_as_all_others() -> None:
    table = at_a_checkpoint()
    engine = table["d"]
    of = subject(engine._due[1].encoded, STATE)
    good = table.signed("b", Kind.CHECKPOINT, 1, 0, of)
    replace = msgspec.structs.replace
    assert engine.step("b", Vote(replace(good, signature=bytes(64)))).startswith(Reason.SIGNATURE)
    assert engine.step("b", Vote(replace(good, signer="x"))).startswith(Reason.NOT_VOTER)
    assert engine.step("b", Vote(replace(good, view=1))).startswith(Reason.IMPOSSIBLE)
    assert engine.step("b", Vote(good)) == ""
    assert engine.step("b", Vote(good)) == ""
    early = table.signed("b", Kind.CHECKPOINT, 7, 0, of)
    assert engine.step("c", Vote(early)).startswith(Reason.IMPOSSIBLE)
    assert engine.step("b", Vote(early)) == ""
    assert (
        Checkpoint(b"", STATE, table.certificate("abc", Kind.CHECKPOINT, 1, 0, of)).state == STATE
    )


def test_a_node_that_has_lost_its_disk_asks_under_a_later_boot() -> None:
    table = Table()
    for number in range(3):
        table["a"].propose([b"%d" % number])
        table.settle()
    seat = table.seats["a"]
    seat.disk.entries, seat.disk.hard_state = [], b""
    engine = table.restart("a")
    seat.commands.clear()
    assert engine.boot == 1  # it does not know better
    engine.propose([b"after"])
    table.tick(400)
    assert engine.boot == 2
    assert all(one.commands[-1] == b"after" for one in table.seats.values())
    assert table["b"].standing.counters["a"] == (2, 1)


class _Failing(MemoryLog):
    """A log whose disk does not do what it should."""

    error: Exception | None = None

    async def append(self, entries: Sequence[LogEntry], *, hard_state: bytes | None = None) -> None:
        if self.error is not None:
            raise self.error
        await super().append(entries, hard_state=hard_state)


async def test_a_disk_that_fails_ends_it_and_the_others_go_on(autojump_clock: MockClock) -> None:
    async with open_group() as group:
        await group.stop("d")
        disk = _Failing("d")
        await group.start("d", disk)
        await group["d"].propose(b"one")
        disk.error = StorageFailed("no more")
        with pytest.raises((OutcomeUnknown, StateUnavailable), match="no more"):
            await group["d"].propose(b"two")
        with pytest.raises(StateUnavailable, match="no commands are taken: no more"):
            await group["d"].propose(b"three")
        with pytest.raises(StateUnavailable, match="no more"):
            await group["d"].read_barrier()
        with pytest.raises(StateUnavailable, match="no more"):
            await group["d"].change_voters(add=["e"])
        await group["a"].propose(b"four")
        assert b"four" in await group.agree("abc")


async def test_without_room_it_waits_until_there_is(autojump_clock: MockClock) -> None:
    async with open_group() as group:
        await group.stop("d")
        disk = _Failing("d")
        await group.start("d", disk)
        await group["a"].propose(b"one")
        disk.error = StorageFull("no room")
        await group["a"].propose(b"two")
        await trio.sleep(2)
        assert group["d"].status()["trouble"] == "no room"
        disk.error = None
        await group["a"].propose(b"three")
        assert await group.agree() == [b"one", b"two", b"three"]


async def test_commands_that_cannot_be_are_refused(autojump_clock: MockClock) -> None:
    async with open_group() as group:
        with pytest.raises(InvalidArguments, match="a command is empty"):
            await group["a"].propose(b"")
        with pytest.raises(TooLarge, match="split it"):
            await group["a"].propose(bytes(33 * 2**20))
        await group["a"].propose(bytes(300_000))  # beyond what is read on the event loop
        for name in ABCD:
            group[name].received("a", b"\x82cut")
            group[name].received("a", b"\x07 what is this")
        assert (await group.agree()) == [bytes(300_000)]
        assert group["b"].status()["checked_in_thread"] > 0
        assert group["b"].status()["bad_messages"] == 2
        shown = await group["b"].entries(1, 10)
        assert "block 1 of epoch 1, made by a in view 0" in shown[0].note
        assert await group["b"].entries(99, 10) == ()
        assert group["b"].describe(2).term == 1
        with pytest.raises(ValueError, match="99 is not decided"):
            group["b"].describe(99)
        assert (await group["b"].followers())["a"]["active"]
        await group.storages["b"].compact(2)
        with pytest.raises(TooOld):
            await group.storages["b"].read(1, 2)
