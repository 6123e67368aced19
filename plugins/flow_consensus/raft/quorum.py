"""Majorities, of one set of voters and of two at once.

Ongaro's dissertation, section 3.6.2 for what a majority has stored, section 4.3 for joint consensus: a
decision then needs a majority of the incoming voters and one of the outgoing voters, each on its own.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping


class Outcome(enum.Enum):
    """What came of a vote so far."""

    PENDING = "pending"
    WON = "won"
    LOST = "lost"


def majority(count: int) -> int:
    """How many of `count` voters decide."""
    return count // 2 + 1


def reached(values: Mapping[str, int], voters: Collection[str]) -> int:
    """The largest value that a majority of the voters has reached; who is not in `values` has reached 0.

    0 without voters: nobody can decide anything then.
    """
    count = len(voters)
    if count == 0:
        return 0
    have = sorted([values.get(one, 0) for one in voters])
    return have[count - majority(count)]


def jointly_reached(
    values: Mapping[str, int], voters: Collection[str], outgoing: Collection[str]
) -> int:
    """The same for both sets of a joint configuration; `outgoing` is empty outside of one."""
    mine = reached(values, voters)
    return min(mine, reached(values, outgoing)) if outgoing else mine


def tally(votes: Mapping[str, bool], voters: Collection[str]) -> Outcome:
    """What the votes cast so far come to; votes of others do not count."""
    needed = majority(len(voters))
    granted = sum(votes.get(one, False) for one in voters)
    if voters and granted >= needed:
        return Outcome.WON
    open_votes = sum(one not in votes for one in voters)
    return Outcome.PENDING if voters and granted + open_votes >= needed else Outcome.LOST


def joint_tally(
    votes: Mapping[str, bool], voters: Collection[str], outgoing: Collection[str]
) -> Outcome:
    """The same for both sets: won if both are won, lost if one is lost."""
    mine = tally(votes, voters)
    if not outgoing:
        return mine
    theirs = tally(votes, outgoing)
    if mine is theirs:
        return mine
    return Outcome.LOST if Outcome.LOST in (mine, theirs) else Outcome.PENDING
