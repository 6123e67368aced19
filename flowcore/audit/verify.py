"""Checking audit logs: every line, from file to file."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import attrs

from flowcore.audit.chain import GENESIS, Broken, Link, link_of

LONGEST = 1 << 20
"""Most bytes of a line."""


@attrs.frozen
class Verdict:
    """What was found: lines that hang together from `first` to `last`."""

    lines: int
    first: int
    last: int
    whole: bool
    """Whether it begins with the first line ever written."""


def verify_files(paths: Sequence[pathlib.Path], key: bytes | None = None) -> Verdict:
    """Check the files, oldest first, as one log.

    Raises Broken, which names file and line, for the first line that is wrong; OSError.
    """
    last: Link | None = None
    first = lines = 0
    whole = False
    for path in paths:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(LONGEST):
                number += 1
                try:
                    link = link_of(line, key)
                    _follows(link, last)
                except Broken as error:
                    raise Broken(f"{path}:{number}: {error}") from None
                if last is None:
                    first, whole = link.seq, link.prev == GENESIS and link.seq == 1
                last = link
                lines += 1
    return Verdict(lines, first, last.seq if last is not None else 0, whole)


def _follows(link: Link, last: Link | None) -> None:
    if last is None:
        return
    if link.seq != last.seq + 1:
        raise Broken(
            f"is number {link.seq}, expected {last.seq + 1}: lines were taken out or moved"
        )
    if link.prev != last.hash:
        raise Broken("does not follow the line before it: that one was changed or exchanged")
