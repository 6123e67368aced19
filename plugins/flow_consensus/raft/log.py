"""A node's log as the engine sees it: what is stored, what is being written, what is to be written.

    compacted │ stored, maybe only there │ in memory, durable │ being written │ to be written
              start                    offset               durable        taken         last

Terms of all positions from `start` on are kept, as runs: one number for each change of term. So logs are
compared (Ongaro's dissertation, section 3.5) without reading; only entries to send are ever read back.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from flowcore.state import LogEntry

_OVERHEAD = 100
"""Bytes that an entry costs beside its data, about."""


class Terms:
    """The term of every position from `start` on, as runs."""

    __slots__ = ("_firsts", "_terms", "last")

    def __init__(self, start: int, term: int) -> None:
        self._firsts = [start]
        self._terms = [term]
        self.last = start

    @property
    def start(self) -> int:
        return self._firsts[0]

    @property
    def last_term(self) -> int:
        return self._terms[-1]

    def at(self, position: int) -> int | None:
        """The term at a position; None before the start, and after the end."""
        if position > self.last or position < self._firsts[0]:
            return None
        if position >= self._firsts[-1]:
            return self._terms[-1]
        return self._terms[bisect_right(self._firsts, position) - 1]

    def add(self, position: int, term: int) -> None:
        """The next position's."""
        self.last = position
        if term != self._terms[-1]:
            self._firsts.append(position)
            self._terms.append(term)

    def truncate(self, last: int) -> None:
        """Forget what is after a position."""
        while self._firsts[-1] > last:
            del self._firsts[-1], self._terms[-1]
        self.last = last

    def compact(self, start: int) -> None:
        """Forget what is before a position, which is in the log."""
        run = bisect_right(self._firsts, start) - 1
        del self._firsts[:run], self._terms[:run]
        self._firsts[0] = start

    def reset(self, start: int, term: int) -> None:
        """Forget everything: the log begins anew."""
        self._firsts[:] = [start]
        self._terms[:] = [term]
        self.last = start

    def runs(self, last: int) -> list[tuple[int, int]]:
        """Where each term begins, up to a position: the first is the start."""
        count = bisect_right(self._firsts, last)
        return list(zip(self._firsts[:count], self._terms[:count], strict=True))

    def know(self, runs: Sequence[tuple[int, int]], last: int) -> None:
        """Have these terms, as `runs` gave them, up to a position."""
        self._firsts[:] = [first for first, _ in runs]
        self._terms[:] = [term for _, term in runs]
        self.last = last

    def not_after(self, position: int, term: int) -> int:
        """The last position up to another one whose term is not after `term`; `start` if there is none."""
        position = min(position, self.last)
        run = bisect_right(self._firsts, position) - 1
        while run > 0 and self._terms[run] > term:
            position = self._firsts[run] - 1
            run -= 1
        return max(position, self._firsts[0])


def size_of(entries: Sequence[LogEntry]) -> int:
    """Bytes that entries cost, about."""
    return sum([len(one.data) for one in entries]) + _OVERHEAD * len(entries)


class Log:
    """The entries from the last compacted one on, and how far each is on its way to the disk."""

    __slots__ = (
        "_bytes",
        "_flying",
        "_memory",
        "commit",
        "durable",
        "given",
        "memory",
        "offset",
        "taken",
        "terms",
        "uncommitted",
    )

    def __init__(self, start: int, term: int, memory: int) -> None:
        self.terms = Terms(start, term)
        self.commit = start
        """Nothing up to here will ever change (section 3.6)."""
        self.given = start
        """Up to here, what is committed and durable was handed out to be applied."""
        self.durable = start
        """What is up to here is on this node's disk, and is what the log holds."""
        self.taken = start
        """What is up to here is on the disk or on its way."""
        self.offset = start
        """What is after here is in memory."""
        self.memory: list[LogEntry] = []
        self.uncommitted = 0
        """Bytes after `commit`, as far as a leader counts them."""
        self._memory = memory
        self._bytes = 0
        self._flying = -1

    @property
    def start(self) -> int:
        """The last compacted position."""
        return self.terms.start

    @property
    def last(self) -> int:
        return self.terms.last

    @property
    def last_term(self) -> int:
        return self.terms.last_term

    def term(self, position: int) -> int | None:
        """The term at a position; None where it is compacted or not there yet."""
        return self.terms.at(position)

    def matches(self, position: int, term: int) -> bool:
        """Whether the entry there has that term: then all before are the same, too (section 3.5)."""
        return self.terms.at(position) == term

    def is_newer(self, last: int, last_term: int) -> bool:
        """Whether another log's end is strictly more up to date than this one's (section 3.6.1)."""
        return (last_term, last) > (self.terms.last_term, self.terms.last)

    def append(self, entries: Sequence[LogEntry]) -> None:
        """Put entries at their positions; what stood there and after is gone. Never at or before `commit`."""
        first = entries[0].position
        if first <= self.last:
            self._truncate(first - 1)
        terms = self.terms
        for entry in entries:
            if entry.term == terms.last_term:
                terms.last = entry.position
            else:
                terms.add(entry.position, entry.term)
        self.memory.extend(entries)
        size = size_of(entries)
        self._bytes += size
        self.uncommitted += size

    def _truncate(self, last: int) -> None:
        keep = last - self.offset
        if keep < 0:
            raise AssertionError("what is not in memory is committed, and never replaced")
        size = size_of(self.memory[keep:])
        self._bytes -= size
        self.uncommitted -= size
        del self.memory[keep:]
        self.terms.truncate(last)
        self.durable = min(self.durable, last)
        self.taken = min(self.taken, last)
        self._flying = min(self._flying, last)

    def commit_to(self, position: int) -> None:
        """What is up to there will never change."""
        self.uncommitted -= size_of(self.held(self.commit + 1, position))
        self.commit = position

    def give(self) -> list[LogEntry]:
        """What is committed, durable here and was not handed out yet: no state is ahead of its own log."""
        last = min(self.commit, self.durable)
        entries = self.held(self.given + 1, last)
        self.given = last
        return entries

    @property
    def untaken(self) -> bool:
        """Whether there are entries to write."""
        return self.taken < self.last

    def take(self) -> list[LogEntry]:
        """The entries that are to be written now."""
        entries = self.memory[self.taken - self.offset :]
        self.taken = self._flying = self.last
        return entries

    def written(self) -> None:
        """What was last taken is durable, except for what was replaced meanwhile."""
        self.durable = max(self.durable, self._flying)
        self._flying = -1
        self._evict()

    def held(self, first: int, last: int) -> list[LogEntry]:
        """Entries that are in memory, from a position to another one."""
        return self.memory[first - self.offset - 1 : last - self.offset]

    def piece(self, first: int, entries: int, size: int) -> list[LogEntry] | None:
        """Entries from a position on: so many at most, and so many bytes, but one in any case.

        None if they are on the disk alone.
        """
        at = first - self.offset - 1
        if at < 0:
            return None
        taken = self.memory[at : at + entries]
        for number, entry in enumerate(taken):
            size -= len(entry.data) + _OVERHEAD
            if size < 0 and number:
                return taken[:number]
        return taken

    def compact(self, position: int) -> None:
        """Forget what is up to a position, at most the durable and committed."""
        if position <= self.start:
            return
        self.terms.compact(position)
        if position > self.offset:
            self._forget(position - self.offset)

    def reset(self, position: int, term: int) -> None:
        """A snapshot has taken the place of everything (section 5.1)."""
        self.terms.reset(position, term)
        self.memory.clear()
        self._bytes = self.uncommitted = 0
        self.offset = self.durable = self.taken = self.commit = self.given = position
        self._flying = -1

    def know(self, runs: Sequence[tuple[int, int]], last: int) -> None:
        """What is up to a position is on the disk, and committed; these are its terms."""
        self.terms.know(runs, last)
        self.offset = self.durable = self.taken = self.commit = self.given = last

    def restored(self, entry: LogEntry, commit: int) -> None:
        """An entry as it was found on the disk, the next one."""
        self.terms.add(entry.position, entry.term)
        self.memory.append(entry)
        self._bytes += len(entry.data) + _OVERHEAD
        self.durable = self.taken = entry.position
        self.commit = self.given = min(commit, entry.position)
        if entry.position > commit:
            self.uncommitted += len(entry.data) + _OVERHEAD
        if self._bytes > self._memory:
            self._evict()

    def _evict(self) -> None:
        """Leave old entries to the disk, down to half of what is allowed."""
        if self._bytes <= self._memory:
            return
        most = min(self.durable, self.given) - self.offset
        size, count = self._bytes, 0
        while count < most and size > self._memory // 2:
            size -= len(self.memory[count].data) + _OVERHEAD
            count += 1
        self._forget(count)

    def _forget(self, count: int) -> None:
        self._bytes -= size_of(self.memory[:count])
        del self.memory[:count]
        self.offset += count
