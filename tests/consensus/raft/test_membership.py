"""Configurations: each step's majorities overlap with the next one's; bytes come back as they went."""

from __future__ import annotations

import contextlib
from itertools import combinations, pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flow_consensus.raft import BadMembership, Change, ChangeRefused, Membership
from flow_consensus.raft.membership import History
from flow_consensus.raft.quorum import majority

names = st.sampled_from("abcdef")
sets = st.frozensets(names)


@st.composite
def memberships(draw: st.DrawFn) -> Membership:
    voters = draw(st.frozensets(names, min_size=1))
    return Membership(voters=voters, learners=draw(sets) - voters)


@st.composite
def changes(draw: st.DrawFn) -> Change:
    voters = draw(sets)
    learners = draw(sets) - voters
    joint = draw(st.sampled_from([None, True]))
    return Change(
        voters=voters, learners=learners, remove=draw(sets) - voters - learners, joint=joint
    )


def quorums(membership: Membership) -> list[frozenset[str]]:
    """Every set of nodes that decides."""
    found = []
    members = sorted(membership.deciders)
    for count in range(1, len(members) + 1):
        for some in map(frozenset, combinations(members, count)):
            enough = len(some & membership.voters) >= majority(len(membership.voters))
            old = membership.outgoing
            if enough and (not old or len(some & old) >= majority(len(old))):
                found.append(some)
    return found


@given(memberships(), changes())
def test_each_step_shares_a_decider_with_the_next(before: Membership, change: Change) -> None:
    try:
        steps = [before, before.changed(change)]
    except ChangeRefused:
        assume(False)
    if steps[-1].joint:
        steps.append(steps[-1].left())
    for one, other in pairwise(steps):
        assert all(some & more for some in quorums(one) for more in quorums(other))
    end = steps[-1]
    assert end.voters == (before.voters | change.voters) - change.learners - change.remove
    assert end.learners == (before.learners | change.learners) - change.voters - change.remove


@given(memberships(), changes())
def test_bytes_come_back_as_they_went(before: Membership, change: Change) -> None:
    try:
        after = before.changed(change)
    except ChangeRefused:
        after = before
    assert Membership.decode(after.encode()) == after


@given(st.binary(max_size=60))
def test_no_bytes_do_harm(data: bytes) -> None:
    with contextlib.suppress(BadMembership):
        assert Membership.decode(data).encode()


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"voters": "a", "learners": "a"}, "voters and learners at once"),
        ({"outgoing": "a"}, "needs voters"),
        ({"voters": "a", "auto_leave": True}, "only a joint configuration"),
        ({"voters": "ab", "outgoing": "a", "learners_next": "a"}, "voted out"),
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, object], why: str) -> None:
    with pytest.raises(BadMembership, match=why):
        Membership(**wrong)  # type: ignore[arg-type]


def test_a_change_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(ChangeRefused, match="two of"):
        Change(voters="a", remove="a")
    with pytest.raises(ChangeRefused, match="no name"):
        Change(voters=["x" * 300])


def test_history_goes_back_and_forward() -> None:
    first, second, third = (Membership(voters=one) for one in ("a", "ab", "abc"))
    history = History(0, first)
    history.add(5, second)
    history.add(9, third)
    assert history.latest is third
    assert history.at(8) == (5, second)
    assert history.at(4) == (0, first)
    assert history.truncate(9)
    assert not history.truncate(9)
    assert history.latest is second
    history.compact(7)
    assert history.at(1) == (5, second)
    history.reset(20, third)
    assert (history.position, history.latest) == (20, third)
