"""A log in a file does what a list does, also after it was closed and opened again."""

from __future__ import annotations

import pathlib
import shutil
import tempfile

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from flow_storage.log_file import LogFile
from flowcore.errors import TooOld
from flowcore.state import LogEntry, SnapshotInfo


class AsAListDoes(RuleBasedStateMachine):
    @initialize()
    def open(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.path = pathlib.Path(self.folder) / "log.sqlite"
        self.file = LogFile(self.path)
        self.identity = self.file.identity
        self.compacted = (0, 0)
        self.entries: list[LogEntry] = []
        self.hard_state = b""
        self.snapshot: tuple[SnapshotInfo, list[bytes]] | None = None

    @property
    def last(self) -> int:
        return self.compacted[0] + len(self.entries)

    @rule(
        back=st.integers(-1, 4),
        data=st.lists(st.binary(max_size=20), max_size=4),
        term=st.integers(1, 9),
        state=st.none() | st.binary(max_size=5),
    )
    def append(self, back: int, data: list[bytes], term: int, state: bytes | None) -> None:
        first = self.last + 1 - back
        entries = [LogEntry(at, term, one) for at, one in enumerate(data, start=first)]
        if entries and not self.compacted[0] < first <= self.last + 1:
            with pytest.raises(ValueError, match="does not follow"):
                self.file.append(entries, state)
            return
        self.file.append(entries, state)
        if entries:
            self.entries[first - self.compacted[0] - 1 :] = entries
        if state is not None:
            self.hard_state = state

    @rule(position=st.integers(0, 20))
    def compact(self, position: int) -> None:
        while self.file.compact(position):
            pass
        gone = min(position, self.last) - self.compacted[0]
        if gone > 0:
            self.compacted = (self.entries[gone - 1].position, self.entries[gone - 1].term)
            del self.entries[:gone]

    @rule(position=st.integers(0, 9), term=st.integers(1, 9))
    def reset(self, position: int, term: int) -> None:
        self.file.reset(position, term)
        self.compacted, self.entries = (position, term), []

    @rule(chunks=st.lists(st.binary(max_size=9), max_size=3), whole=st.booleans())
    def snap(self, chunks: list[bytes], whole: bool) -> None:
        slot = self.file.begin_snapshot()
        for number, chunk in enumerate(chunks):
            self.file.put_chunk(slot, number, chunk)
        if whole:
            info = SnapshotInfo(position=self.last, term=1, about=b"who")
            self.file.end_snapshot(slot, info, len(chunks))
            self.snapshot = (info, chunks)

    @rule()
    def reopen(self) -> None:
        self.file.close()
        self.file = LogFile(self.path)

    @invariant()
    def is_the_same(self) -> None:
        if not hasattr(self, "file"):
            return
        file = self.file
        assert (file.identity, file.compacted, file.last) == (
            self.identity,
            self.compacted,
            self.last,
        )
        assert file.hard_state == self.hard_state
        assert file.read(self.compacted[0] + 1, self.last, 10**6) == self.entries
        with pytest.raises(TooOld):
            file.read(self.compacted[0], self.last, 1)
        if self.snapshot is None:
            assert file.snapshot is None
        else:
            info, chunks = self.snapshot
            assert file.snapshot == info
            slot = file.snapshot_slot()
            assert [file.chunk(slot, at) for at in range(len(chunks) + 1)] == [*chunks, None]

    def teardown(self) -> None:
        if hasattr(self, "file"):
            self.file.close()
            shutil.rmtree(self.folder)


AsAListDoes.TestCase.settings = settings(max_examples=40, stateful_step_count=15, deadline=None)
TestAsAListDoes = AsAListDoes.TestCase
