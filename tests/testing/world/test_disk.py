"""Disks: what is synced is there after any crash, what is not may be a prefix of it, and damage is found."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowcore.errors import UntrustedFile
from flowcore.testing import Disk, Journal, Timeline, constant, corrupt_record


@given(
    seed=st.integers(0, 2**32),
    records=st.lists(st.binary(max_size=40), max_size=30),
    synced=st.integers(0, 30),
)
def test_a_crash_leaves_what_was_synced_and_some_of_the_rest_in_order(
    seed: int, records: list[bytes], synced: int
) -> None:
    time = Timeline(seed)
    disk = Disk(time)
    journal = Journal(disk)
    ended: list[OSError | None] = []
    for number, record in enumerate(records):
        if number == synced:
            journal.sync(ended.append)
            time.run()
        journal.append(record)
    disk.lose_unsynced()
    found = Journal(disk).records
    assert found == records[: len(found)]
    if ended:
        assert ended == [None]
        assert len(found) >= synced
    assert Journal(disk).records == found


def test_all_that_a_crash_may_leave_is_left_by_some() -> None:
    left = set()
    torn = 0
    for seed in range(300):
        disk = Disk(Timeline(seed))
        for record in (b"one" * 9, b"two" * 9):
            Journal(disk).append(record)
        disk.lose_unsynced()
        size = disk.size("journal")
        left.add(len(Journal(disk).records))
        torn += disk.size("journal") < size
    assert left == {0, 1, 2}
    assert torn > 20


def test_a_sync_covers_what_was_written_before_it_began_and_syncs_end_in_order() -> None:
    time = Timeline(4)
    disk = Disk(time)
    ended: list[int] = []
    disk.append("f", b"1")
    disk.sync(lambda error: ended.append(1))
    disk.append("f", b"2")
    disk.latency = constant(0.0)
    disk.sync(lambda error: ended.append(2))
    disk.append("f", b"3")
    assert (disk.read("f"), disk.durable("f")) == (b"123", b"")
    time.step()
    assert (ended, disk.durable("f")) == ([1], b"1")
    time.step()
    assert (ended, disk.durable("f")) == ([1, 2], b"12")
    assert disk.syncs == 2


def test_a_sync_under_way_when_the_node_crashes_never_ends() -> None:
    time = Timeline()
    disk = Disk(time)
    disk.append("f", b"1")
    disk.sync(lambda error: pytest.fail("it ended"))
    disk.lose_unsynced()
    time.run()


def test_what_a_failed_sync_was_to_keep_may_be_lost_though_it_is_seen() -> None:
    lost = 0
    for seed in range(50):
        time = Timeline(seed)
        disk = Disk(time)
        disk.append("f", b"1")
        disk.failing = 1
        errors: list[OSError | None] = []
        disk.sync(errors.append)
        time.run()
        assert isinstance(errors[0], OSError)
        disk.sync(errors.append)  # asked again, it says that all is well, as in Linux
        time.run()
        assert errors[1] is None
        assert disk.read("f") == b"1"
        disk.lose_unsynced()
        lost += disk.read("f") == b""
    assert 10 < lost < 40


def test_a_file_is_replaced_whole_or_not_at_all_and_a_full_disk_says_so() -> None:
    seen = set()
    for seed in range(40):
        time = Timeline(seed)
        disk = Disk(time)
        disk.append("f", b"old")
        disk.sync(lambda error: None)
        time.run()
        disk.replace("f", b"new content")
        disk.remove("g")
        disk.lose_unsynced()
        seen.add(disk.read("f"))
    assert seen == {b"old", b"new content"}
    disk.full = True
    with pytest.raises(OSError, match="no space left"):
        disk.append("f", b"more")
    disk.remove("f")
    assert disk.read("f") == b""


def test_a_torn_record_is_cut_off_on_a_full_disk_too() -> None:
    torn = 0
    for seed in range(50):
        disk = Disk(Timeline(seed))
        Journal(disk).append(b"one" * 9)
        disk.lose_unsynced()
        disk.full = True
        size = disk.size("journal")
        found = Journal(disk).records
        torn += size > 0 and not found
        assert disk.size("journal") == (size if found else 0)
    assert torn > 0


def test_every_flipped_bit_of_a_record_that_others_follow_is_found() -> None:
    time = Timeline()
    disk = Disk(time)
    journal = Journal(disk)
    for record in (b"first", b"", b"second", b"the last one"):
        journal.append(record)
    journal.sync(lambda error: None)
    time.run()
    whole = disk.durable("journal")
    last = len(b"the last one") + 12
    for offset in range(len(whole) - last):
        for bit in range(8):
            disk.corrupt("journal", offset, 1 << bit)
            with pytest.raises(UntrustedFile, match="is not what was written"):
                Journal(disk)
            disk.corrupt("journal", offset, 1 << bit)
    assert Journal(disk).records == [b"first", b"", b"second", b"the last one"]


def test_a_record_is_corrupted_only_where_that_can_be_found() -> None:
    for seed in range(100):
        time = Timeline(seed)
        disk = Disk(time)
        assert not corrupt_record(disk, random.Random(seed))
        journal = Journal(disk)
        journal.append(b"one")
        journal.sync(lambda error: None)
        time.run()
        assert not corrupt_record(disk, random.Random(seed))
        journal.rewrite([b"one", b"two", b"three"])
        journal.sync(lambda error: None)
        time.run()
        assert corrupt_record(disk, random.Random(seed))
        with pytest.raises(UntrustedFile):
            Journal(disk)
