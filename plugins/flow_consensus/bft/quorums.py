"""How many may lie, and how many must agree: N >= 3f + 1 (Pease, Shostak, Lamport 1980)."""

from __future__ import annotations

LEAST = 4
"""Voters of the smallest cluster that stands one liar."""


class TooFewVoters(ValueError):
    """So few voters that not one of them may lie."""


def faults(voters: int) -> int:
    """f: how many of so many voters may do whatever they like."""
    return (voters - 1) // 3


def quorum(voters: int) -> int:
    """How many must say the same: any two such sets share an honest voter, whichever f lie.

    That is 2f + 1 where there are 3f + 1; one more where there are more, for 2 * quorum > voters + f.
    """
    return (voters + faults(voters)) // 2 + 1


def some_honest(voters: int) -> int:
    """f + 1: among so many there is an honest one."""
    return faults(voters) + 1


def check(voters: int) -> None:
    """Raises TooFewVoters for fewer than 3f + 1 with f = 1."""
    if voters < LEAST:
        raise TooFewVoters(
            f"{voters} voters cannot outvote one that lies: expected N >= 3f + 1 with f >= 1, so"
            f" {LEAST} at least; where no node lies, 3 are enough for type 'raft'"
        )
