"""The items of a request, put one after the other into memory that is used again for the next request.

A request is some hundred kilobytes: to make it of pieces, and to put what stands before around it, would copy
it several times, each into memory that the kernel has to bring along first.
"""

from __future__ import annotations

from typing import Final

_KEPT: Final = 1 << 18
"""Bytes of memory that are kept between requests; there is more only as long as a request needs it."""


class Body:
    """The items of one request after the other."""

    def __init__(self, head: int) -> None:
        """`head` is how many bytes may come before the items."""
        self._head = head
        self.buffer = bytearray(head + _KEPT)
        """Where they are; another one when more is needed."""
        self._end = head

    def __len__(self) -> int:
        """How many bytes of items there are."""
        return self._end - self._head

    def take(self, size: int) -> int:
        """Where in `buffer` the next so many bytes are to be put."""
        at = self._end
        self._end = end = at + size
        if end > len(self.buffer):
            self.buffer = self.buffer + bytes(max(size, len(self.buffer)))
        return at

    def add(self, data: bytes) -> None:
        """Put these bytes at its end."""
        at = self.take(len(data))
        self.buffer[at : self._end] = data

    def whole(self, head: bytes) -> memoryview:
        """All of it behind this head; valid until something is put into it, or it is cleared."""
        start = self._head - len(head)
        self.buffer[start : self._head] = head
        return memoryview(self.buffer)[start : self._end]

    def clear(self) -> None:
        """Begin anew."""
        self._end = self._head
        if len(self.buffer) > self._head + _KEPT:
            self.buffer = bytearray(self._head + _KEPT)
