"""Majorities agree with counting, and any two of them share a voter."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from flow_consensus.raft.quorum import (
    Outcome,
    joint_tally,
    jointly_reached,
    majority,
    reached,
    tally,
)

NAMES = "abcdefg"
voter_sets = st.sets(st.sampled_from(NAMES), min_size=1)
positions = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 6))
vote_sets = st.dictionaries(st.sampled_from(NAMES), st.booleans())


def counted(values: dict[str, int], voters: set[str]) -> int:
    """The largest value that more than half have, by trying all of them."""
    return max(
        value
        for value in range(7)
        if sum(values.get(one, 0) >= value for one in voters) * 2 > len(voters)
    )


@given(positions, voter_sets)
def test_what_is_reached_is_what_more_than_half_have(
    values: dict[str, int], voters: set[str]
) -> None:
    assert reached(values, voters) == counted(values, voters)


@given(positions, voter_sets, voter_sets)
def test_both_sets_have_what_is_jointly_reached(
    values: dict[str, int], voters: set[str], outgoing: set[str]
) -> None:
    assert jointly_reached(values, voters, outgoing) == min(
        counted(values, voters), counted(values, outgoing)
    )
    assert jointly_reached(values, voters, ()) == counted(values, voters)


@given(vote_sets, voter_sets)
def test_a_vote_is_over_when_what_is_open_cannot_change_it(
    votes: dict[str, bool], voters: set[str]
) -> None:
    open_votes = [one for one in voters if one not in votes]
    yes = sum(votes.get(one, False) for one in voters)
    best, worst = (yes + len(open_votes)) * 2 > len(voters), yes * 2 > len(voters)
    expected = Outcome.WON if worst else Outcome.PENDING if best else Outcome.LOST
    assert tally(votes, voters) is expected


@given(vote_sets, voter_sets, voter_sets)
def test_a_joint_vote_is_won_by_both_and_lost_by_one(
    votes: dict[str, bool], voters: set[str], outgoing: set[str]
) -> None:
    both = {tally(votes, voters), tally(votes, outgoing)}
    expected = (
        Outcome.LOST
        if Outcome.LOST in both
        else Outcome.WON
        if both == {Outcome.WON}
        else Outcome.PENDING
    )
    assert joint_tally(votes, voters, outgoing) is expected


def test_two_majorities_share_a_voter() -> None:
    for count in range(1, 8):
        voters = NAMES[:count]
        quorums = [set(one) for one in combinations(voters, majority(count))]
        assert all(one & other for one in quorums for other in quorums)


def test_nobody_decides_where_nobody_votes() -> None:
    assert reached({"a": 5}, ()) == 0
    assert tally({"a": True}, ()) is Outcome.LOST
