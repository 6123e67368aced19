"""Votes by way of the leader: few messages while all goes well, and nobody waits for a leader that lies."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest

from flow_consensus.bft import EngineSettings, Kind, Message, Reason, decode
from flow_consensus.bft.messages import Proposal, Quorum, Vote
from support.bft.table import ABCD, Table

SEVEN = ("a", "b", "c", "d", "e", "f", "g")


def kinds(table: Table) -> Counter[str]:
    """How many messages of each kind there were."""
    return Counter(type(message).__name__ for _, _, message in table.said)


def decided(table: Table, *names: str) -> bool:
    return all(table.seats[name].commands == [b"x"] for name in names)


def quorums(sender: str, to: str, message: Message) -> bool:
    """A leader that passes nothing on."""
    return isinstance(message, Quorum)


@pytest.mark.parametrize(("voters", "relay", "most"), [(SEVEN, True, 24), (SEVEN, False, 84)])
def test_while_all_goes_well_the_leader_alone_is_told(
    voters: tuple[str, ...], *, relay: bool, most: int
) -> None:
    """Two phases: 2(n - 1) messages each with a leader between, n(n - 1) without."""
    table = Table(voters, EngineSettings(relay=relay))
    table["a"].propose([b"x"])
    table.settle()
    assert decided(table, *voters)
    found = kinds(table)
    assert found["Vote"] + found["Quorum"] == most
    assert all(seat.engine.view == 0 for seat in table.seats.values())


def _said_by(table: Table, sender: str, to: str) -> list[str]:
    """What one has told another, by kind: precommits that are passed on are "decided"."""
    found = []
    for who, whom, message in table.said:
        if (who, whom) == (sender, to):
            precommits = isinstance(message, Quorum) and message.certificate.kind == Kind.PRECOMMIT
            found.append("decided" if precommits else type(message).__name__)
    return found


def _with_more_waiting() -> Table:
    """Height 1 is decided at its leader, which writes the next proposal, and does not get on with it."""
    table = Table(settings=EngineSettings(batch_entries=1))
    table["a"].propose([b"x"])
    table["a"].propose([b"y"])
    while table["a"].standing.height == 0:
        for name in ABCD:
            table.seats[name].holds = False
            while table.ready(name):
                if name == "a" and table["a"].standing.height:
                    table.seats["a"].holds = True
        queue, table._queue = table._queue, []
        for sender, to, data in queue:
            table[to].step(sender, decode(data))
    table.seats["a"].holds = True
    table.ready("a")
    return table


def test_precommits_go_with_the_next_proposal_where_there_is_one() -> None:
    table = _with_more_waiting()
    assert table["a"].proposed
    assert "decided" not in _said_by(table, "a", "b")
    table.said.clear()
    table.seats["a"].holds = False
    table.persist("a")
    table.settle()
    assert _said_by(table, "a", "b")[:2] == ["decided", "Proposal"]
    assert _said_by(table, "a", "b")[-1] == "decided", "nothing waits any more: at once"
    assert all(table.seats[name].commands == [b"x", b"y"] for name in ABCD)


def test_precommits_do_not_wait_for_a_disk() -> None:
    table = _with_more_waiting()
    table.tick(EngineSettings().vote_ticks)
    assert _said_by(table, "a", "b").count("decided") == 1
    assert all(table.seats[name].commands == [b"x"] for name in "bcd")
    table.seats["a"].holds = False
    table.persist("a")
    table.settle()
    assert all(table.seats[name].commands == [b"x", b"y"] for name in ABCD)
    assert table["b"].standing.leader == "a"


def test_who_leads_and_passes_nothing_on_is_not_waited_for() -> None:
    table = Table()
    table.drop = quorums
    table["a"].propose([b"x"])
    table.settle()
    assert not decided(table, "b")
    table.tick(2 * EngineSettings().vote_ticks)
    assert decided(table, *ABCD)
    assert table["b"].standing.leader == "a", "no view was given up for it"


def test_a_leader_that_is_gone_after_its_proposal_is_not_needed() -> None:
    table = Table()
    table["a"].propose([b"x"])
    table.drop = lambda sender, to, message: sender == "a" and not isinstance(message, Proposal)
    table.settle()
    table.absent.add("a")
    table.tick(2 * EngineSettings().vote_ticks)
    assert decided(table, "b", "c", "d")


def test_what_was_said_before_a_restart_is_said_to_all() -> None:
    table = Table()
    table.drop = lambda sender, to, message: isinstance(message, Vote | Quorum)
    table["a"].propose([b"x"])
    table.settle()
    table.drop = lambda sender, to, message: False
    table.said.clear()
    table.restart("b")
    table.settle()
    assert {to for who, to, one in table.said if who == "b" and isinstance(one, Vote)} == {*"acd"}
    table.tick(2 * EngineSettings().vote_ticks)
    assert decided(table, *ABCD)


def test_votes_of_a_quorum_count_though_a_liar_among_them_has_said_something_else() -> None:
    """The paper's `receive 2f + 1` is of messages: who contradicts itself has sent both."""
    table = Table()
    table.drop = lambda sender, to, message: isinstance(message, Vote | Quorum)
    table["a"].propose([b"x"])
    table.settle()
    digest = table["b"].prevoted
    liar = table.signed("d", Kind.PREVOTE, 1, 0, bytes(32))
    table["b"].step("d", Vote(liar))
    votes = table.certificate("acd", Kind.PREVOTE, 1, 0, digest)
    assert table["b"].step("c", Quorum(votes)) == str(Reason.CONTRADICTION) + ": d"
    assert table["b"].valid == digest
    assert table["b"].locked == digest
    assert "d" in table["b"].evidence


@pytest.mark.parametrize("what", ["made up", "twice", "few", "kind", "height", "epoch", "place"])
def test_what_is_no_quorum_decides_nothing(what: str) -> None:
    table = Table()
    table.drop = lambda sender, to, message: isinstance(message, Vote | Quorum)
    table["a"].propose([b"x"])
    table.settle()
    digest = table["b"].prevoted
    votes = table.certificate("acd", Kind.PRECOMMIT, 1, 0, digest)
    first = votes.signatures[0]
    lies: dict[str, dict[str, Any]] = {
        "made up": {"signatures": [(at, bytes(64)) for at, _ in votes.signatures]},
        "twice": {"signatures": [first] * 3},
        "few": {"signatures": votes.signatures[:2]},
        "kind": {"kind": int(Kind.CHECKPOINT)},
        "height": {"height": 2},
        "epoch": {"epoch": 2},
        "place": {"signatures": [(at + 4, one) for at, one in votes.signatures]},
    }
    table["b"].step("a", Quorum(msgspec.structs.replace(votes, **lies[what])))
    table.settle()
    assert table["b"].standing.height == 0
    assert table["b"].step("a", Quorum(votes)) == ""
    table.settle()
    assert decided(table, "b")


def test_what_a_quorum_has_said_of_the_next_height_is_kept_until_then() -> None:
    """On its way it may overtake what was said before."""
    table = Table()
    held: list[tuple[str, Message]] = []

    def hold(sender: str, to: str, message: Message) -> bool:
        late = to == "d" and isinstance(message, Quorum) and message.certificate.height == 1
        if late:
            held.append((sender, message))
        return late

    table.drop = hold
    for command in (b"x", b"y"):
        table["a"].propose([command])
        table.settle()
    assert table["d"].standing.height == 0
    for sender, message in held:
        table["d"].step(sender, message)
        table.settle()
    assert table.seats["d"].commands == [b"x", b"y"]


def test_a_decision_has_the_certificate_that_was_passed_on() -> None:
    table = Table()
    table["a"].propose([b"x"])
    table.settle()
    for name in ABCD:
        found = table[name].certificate
        assert found is not None
        assert len(found.signatures) >= 3
