"""The engine by itself: what it promises, when, and what it never takes."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest

from flow_consensus.bft import (
    NIL,
    Block,
    Engine,
    EngineSettings,
    Kind,
    Member,
    Message,
    Reason,
    Refused,
    Request,
    block_digest,
    encode_block,
    request_statement,
)
from flow_consensus.bft.messages import (
    Ask,
    Blocks,
    Certificate,
    Endorse,
    Here,
    Proposal,
    Quorum,
    ReadAnswer,
    Vote,
)
from support.bft.keys import Signer, public_key
from support.bft.table import ABCD, Table


def request(table: Table, origin: str, number: int = 1, *commands: bytes, boot: int = 1) -> Request:
    """A request that its node has signed."""
    bare = Request(origin, boot, number, list(commands or (b"x",)), bytes(64))
    said = request_statement(table["a"].standing.cluster, bare)
    return msgspec.structs.replace(bare, signature=Signer(origin)(said))


def block_of(table: Table, creator: str, view: int, *requests: Request) -> tuple[bytes, bytes]:
    """A block that may follow, and its digest."""
    at = table["a"].standing
    made = Block(
        at.cluster,
        at.epoch.number,
        at.height + 1,
        view,
        creator,
        at.digest,
        at.position + 1,
        list(requests),
        [],
        [],
    )
    data = encode_block(made)
    return data, block_digest(data)


def proposal(
    table: Table,
    leader: str,
    view: int,
    *requests: Request,
    valid: int = -1,
    proof: Certificate | None = None,
) -> Proposal:
    data, digest = block_of(table, leader, 0, *requests)
    signed = table.signed(leader, Kind.PROPOSAL, table["a"].height, view, digest, valid)
    return Proposal(signed, data, proof)


def votes(table: Table, by: str) -> list[tuple[int, int, bytes]]:
    """What a node has said: kind, view, digest; each once."""
    found: list[tuple[int, int, bytes]] = []
    for sender, _, message in table.said:
        if sender == by and isinstance(message, Vote) and message.signed.signer == by:
            one = (message.signed.kind, message.signed.view, message.signed.digest)
            if one not in found:
                found.append(one)
    return found


# ---- deciding


def test_what_one_asks_for_is_decided_by_all_in_three_steps() -> None:
    table = Table()
    ticket = table["b"].propose([b"one", b"two"])
    table.settle()
    for seat in table.seats.values():
        assert seat.commands == [b"one", b"two"]
        assert (seat.engine.standing.height, seat.engine.standing.position) == (1, 3)
    (settled,) = table.seats["b"].settled
    assert (settled.number, settled.position, settled.count) == (ticket, 2, 2)
    kinds = [type(message) for _, _, message in table.said]
    assert kinds.count(Ask) == 3
    assert kinds.count(Proposal) == 3
    assert kinds.count(Vote) + kinds.count(Quorum) == 2 * 6


def test_nothing_is_said_before_it_is_durable() -> None:
    table = Table(settings=EngineSettings(relay=False))
    for seat in table.seats.values():
        seat.holds = True
    table["a"].propose([b"one"])
    table.settle()
    assert table.said == []  # and no proposal
    table.persist("a")
    table.settle()
    assert votes(table, "b") == []
    table.persist("b")
    table.settle()
    assert [kind for kind, _, _ in votes(table, "b")] == [Kind.PREVOTE]
    table.persist("c")
    table.settle()
    # a quorum has prevoted: who has seen it is locked, and says so once that is written
    assert table["b"].locked_view == 0
    assert [kind for kind, _, _ in votes(table, "b")] == [Kind.PREVOTE]
    table.persist("b")
    table.settle()
    assert [kind for kind, _, _ in votes(table, "b")] == [Kind.PREVOTE, Kind.PRECOMMIT]
    locked = [one.data[1:] for one in table.seats["b"].disk.entries][1:]
    assert locked == [b"one"]  # the block itself is there with its lock


def test_nothing_is_handed_out_before_it_is_durable() -> None:
    table = Table()
    table["a"].propose([b"one"])
    table.seats["d"].holds = True
    table.settle()
    assert table["d"].standing.height == 1
    assert table.seats["d"].commands == []
    while table.seats["d"].waiting is not None:
        table.persist("d")
        table.settle()
    assert table.seats["d"].commands == [b"one"]


def test_a_leader_that_is_gone_is_replaced_and_time_outs_double() -> None:
    table = Table(settings=EngineSettings(view_ticks=8, vote_ticks=2))
    table.absent = {"a", "b"}  # two of four: nothing can be decided
    table["c"].propose([b"one"])
    began: dict[int, int] = {}
    for now in range(700):
        table.tick()
        began.setdefault(table["c"].view, now)
    # c and d are too few to end a view: nobody can say that they are not the liars
    assert table["c"].view == 0
    table.absent = {"a"}
    began.clear()
    for now in range(200):
        table.tick()
        began.setdefault(table["c"].view, now)
    assert table.seats["c"].commands == [b"one"]
    table = Table(settings=EngineSettings(view_ticks=8, vote_ticks=2))
    table.drop = lambda sender, to, message: isinstance(message, Proposal)
    table["c"].propose([b"one"])
    began.clear()
    for now in range(1000):
        table.tick()
        began.setdefault(table["c"].view, now)
    took = [began[view + 1] - began[view] for view in range(1, 5)]
    assert all(2 * one - 2 <= other <= 2 * one + 2 for one, other in pairwise(took))
    table.drop = lambda sender, to, message: False
    table.tick(2000)
    assert {tuple(seat.commands) for seat in table.seats.values()} == {(b"one",)}


def test_f_and_one_more_pull_the_others_into_their_view() -> None:
    table = Table()
    table["d"].step("b", Vote(table.signed("b", Kind.PREVOTE, 1, 3, NIL)))
    assert table["d"].view == 0
    table["d"].step("c", Vote(table.signed("c", Kind.PRECOMMIT, 1, 3, NIL)))
    assert table["d"].view == 3


# ---- the lock


def locked_in(table: Table, name: str) -> Proposal:
    """A node that is locked on a proposal of view 0, as only it knows."""
    one = proposal(table, "a", 0, request(table, "a"))
    table[name].step("a", one)
    for voter in "abc":
        table[name].step(voter, Vote(table.signed(voter, Kind.PREVOTE, 1, 0, one.signed.digest)))
    drain(table, name)
    assert (table[name].locked_view, table[name].locked) == (0, one.signed.digest)
    return one


def drain(table: Table, name: str) -> None:
    """Do all that a node wants; nobody else hears it."""
    while table.ready(name):
        pass


def to_view(table: Table, name: str, view: int) -> None:
    """f + 1 others are in a view."""
    for voter in "ac":
        table[name].step(voter, Vote(table.signed(voter, Kind.PRECOMMIT, 1, view, NIL)))
    assert table[name].view == view


@pytest.mark.parametrize("what", ["nothing valid", "valid before the lock"])
def test_who_is_locked_prevotes_for_nothing_else_without_proof(what: str) -> None:
    """Line 23, and line 29."""
    table = Table()
    locked_in(table, "d")
    to_view(table, "d", 1)
    table["d"].step("b", proposal(table, "b", 1, request(table, "b")))
    drain(table, "d")
    assert votes(table, "d")[-1] == (Kind.PREVOTE, 1, NIL)
    if what == "valid before the lock":
        to_view(table, "d", 2)
        table["d"].locked_view = 2  # as if it had locked again meanwhile
        to_view(table, "d", 5)
        made = proposal(table, "b", 0, request(table, "b"))
        proof = table.certificate("abc", Kind.PREVOTE, 1, 1, made.signed.digest)
        signed = table.signed("b", Kind.PROPOSAL, 1, 5, made.signed.digest, 1)
        assert table["d"].step("b", Proposal(signed, made.block, proof)) == ""
        drain(table, "d")
        assert votes(table, "d")[-1] == (Kind.PREVOTE, 5, NIL)


def test_a_later_quorum_of_prevotes_lets_it_go() -> None:
    """Line 29: nobody can have decided what the lock was for."""
    table = Table()
    locked_in(table, "d")
    to_view(table, "d", 5)
    made = proposal(table, "b", 0, request(table, "b"))
    proof = table.certificate("abc", Kind.PREVOTE, 1, 3, made.signed.digest)
    signed = table.signed("b", Kind.PROPOSAL, 1, 5, made.signed.digest, 3)
    assert table["d"].step("b", Proposal(signed, made.block, proof)) == ""
    drain(table, "d")
    assert votes(table, "d")[-1] == (Kind.PREVOTE, 5, made.signed.digest)
    assert table["d"].locked_view == 0  # until a quorum has done so


def test_who_is_locked_prevotes_for_that_again() -> None:
    table = Table()
    one = locked_in(table, "d")
    to_view(table, "d", 1)
    signed = table.signed("b", Kind.PROPOSAL, 1, 1, one.signed.digest)
    table["d"].step("b", Proposal(signed, one.block))
    drain(table, "d")
    assert votes(table, "d")[-1] == (Kind.PREVOTE, 1, one.signed.digest)


@pytest.mark.parametrize(
    ("by", "kind", "height", "view"),
    [
        ("ab", Kind.PREVOTE, 1, 0),  # 2f
        ("abc", Kind.PRECOMMIT, 1, 0),
        ("abc", Kind.PREVOTE, 2, 0),
        ("abc", Kind.PREVOTE, 1, 1),
    ],
)
def test_a_valid_view_needs_its_certificate(by: str, kind: Kind, height: int, view: int) -> None:
    table = Table()
    digest = proposal(table, "c", 2, request(table, "a")).signed.digest
    proof = table.certificate(by, kind, height, view, digest)
    said = proposal(table, "c", 2, request(table, "a"), valid=0, proof=proof)
    assert table["d"].step("c", said).startswith(Reason.CERTIFICATE)
    none = proposal(table, "c", 2, request(table, "a"), valid=0)
    assert table["d"].step("c", none).startswith(Reason.CERTIFICATE)


def test_a_certificate_of_one_voter_three_times_is_none() -> None:
    table = Table()
    digest = proposal(table, "c", 2, request(table, "a")).signed.digest
    good = table.certificate("abc", Kind.PREVOTE, 1, 0, digest)
    assert table["d"]._holds(good)
    first = good.signatures[0]
    for signatures in (
        [first, first, first],
        [first, (1, first[1]), (2, first[1])],
        list(reversed(good.signatures)),
        [*good.signatures[:2], (40, good.signatures[2][1])],
        [],
    ):
        assert not table["d"]._holds(msgspec.structs.replace(good, signatures=signatures))
    assert not table["d"]._holds(msgspec.structs.replace(good, epoch=2))
    assert not table["d"]._holds(msgspec.structs.replace(good, view=1))


# ---- after a crash


def test_who_starts_again_votes_never_twice_in_one_view() -> None:
    table = Table()
    one = proposal(table, "a", 0, request(table, "a"))
    other = proposal(table, "a", 0, request(table, "b"))
    table["d"].step("a", one)
    table.ready("d")
    table.ready("d")
    (before,) = {
        message.signed
        for _, _, message in table.said
        if isinstance(message, Vote) and message.signed.signer == "d"
    }
    table.said.clear()
    table.restart("d")
    table["d"].step("a", other)
    table["d"].tick()
    while table.ready("d"):
        pass
    said = {
        message.signed
        for _, _, message in table.said
        if isinstance(message, Vote) and message.signed.signer == "d"
    }
    assert said == {before}  # the same, bit for bit


def test_who_crashes_before_it_has_written_has_said_nothing() -> None:
    table = Table()
    table.seats["d"].holds = True
    table["d"].step("a", proposal(table, "a", 0, request(table, "a")))
    table.ready("d")
    table.restart("d")
    table.seats["d"].holds = False
    other = proposal(table, "a", 0, request(table, "b"))
    table["d"].step("a", other)
    while table.ready("d"):
        pass
    assert votes(table, "d") == [(Kind.PREVOTE, 0, other.signed.digest)]


def test_a_leader_that_starts_again_proposes_nothing_else_in_its_view() -> None:
    table = Table()
    table.drop = lambda sender, to, message: sender == "a"
    table["a"].propose([b"one"])
    table.settle()
    (first,) = {m.signed for _, _, m in table.said if isinstance(m, Proposal)}
    table.restart("a")
    table["a"].propose([b"two"])
    table.settle()
    assert {m.signed for _, _, m in table.said if isinstance(m, Proposal)} == {first}
    table.drop = lambda sender, to, message: False
    table.tick(300)
    assert all(seat.commands == [b"two"] for seat in table.seats.values())


def test_who_starts_again_keeps_its_lock_and_its_block() -> None:
    table = Table()
    table.drop = lambda sender, to, message: (
        isinstance(message, Vote) and message.signed.kind == Kind.PRECOMMIT
    )
    table["a"].propose([b"one"])
    table.settle()
    locked = table["a"].locked
    assert locked
    for name in ABCD:
        table.restart(name)
        assert (table[name].locked, table[name].locked_view) == (locked, 0)
    table.drop = lambda sender, to, message: False
    table.tick(300)
    assert all(seat.commands == [b"one"] for seat in table.seats.values())


def test_a_disk_that_failed_ends_all_promises() -> None:
    table = Table()
    table["d"].disk_failed("no more")
    assert table["d"].step("a", proposal(table, "a", 0, request(table, "a"))) == (
        Reason.DISK_FAILED
    )
    with pytest.raises(Refused, match="no more"):
        table["d"].propose([b"x"])
    table["a"].propose([b"one"])
    table.settle()
    assert votes(table, "d") == []
    assert table.seats["a"].commands == [b"one"]


# ---- what is not taken


def refused(engine: Engine, sender: str, message: Message, reason: Reason) -> bool:
    before = engine.refused[reason]
    said = engine.step(sender, message)
    return said.startswith(reason) and engine.refused[reason] == before + 1


def test_votes_that_are_not_what_they_say_are_refused() -> None:
    table = Table()
    engine = table["d"]
    good = table.signed("b", Kind.PREVOTE, 1, 0, NIL)
    replace = msgspec.structs.replace
    for changed in (
        replace(good, kind=Kind.PRECOMMIT),
        replace(good, view=1),
        replace(good, digest=b"\1" * 32),
        replace(good, signer="c"),
        replace(good, signature=bytes(64)),
    ):
        assert refused(engine, "b", Vote(changed), Reason.SIGNATURE)
    assert refused(engine, "b", Vote(replace(good, epoch=2)), Reason.OTHER_EPOCH)
    assert refused(engine, "b", Vote(replace(good, signer="x")), Reason.NOT_VOTER)
    assert refused(engine, "x", Vote(good), Reason.STRANGER)
    assert refused(engine, "d", Vote(good), Reason.IMPOSSIBLE)
    assert refused(engine, "b", Vote(replace(good, valid=0)), Reason.IMPOSSIBLE)
    assert refused(engine, "b", Vote(replace(good, height=9)), Reason.AHEAD)
    assert engine.step("c", Vote(good)) == ""  # whoever passes it on


def test_statements_of_another_cluster_are_refused() -> None:
    table, other = Table(), Table(("a", "b", "c", "e"))
    vote = other.signed("b", Kind.PREVOTE, 1, 0, NIL)
    assert refused(table["d"], "b", Vote(vote), Reason.SIGNATURE)
    said = Here(other["a"].standing.cluster, 0, 0)
    assert refused(table["d"], "b", said, Reason.OTHER_CLUSTER)
    table.ready("d")
    assert [one.kind for one in table.seats["d"].events] == ["cluster"]


def test_proposals_that_may_not_be_get_no_vote() -> None:
    table = Table()
    engine = table["d"]
    stranger = proposal(table, "b", 0, request(table, "a"))
    assert refused(engine, "b", stranger, Reason.NOT_PROPOSER)
    good = proposal(table, "a", 0, request(table, "a"))
    other, _ = block_of(table, "a", 0, request(table, "b"))
    assert refused(engine, "a", Proposal(good.signed, other), Reason.BLOCK)
    assert votes(table, "d") == []
    for requests in (
        (),
        (request(table, "a", 2),),  # not the next one
        (request(table, "a"), request(table, "a")),  # twice
        (request(table, "a", 1, b"x", b""),),
        (msgspec.structs.replace(request(table, "a"), commands=[b"another"]),),  # not signed
        (request(table, "e"),),
    ):
        table = Table()
        table["d"].step("a", proposal(table, "a", 0, *requests))
        while table.ready("d"):
            pass
        assert votes(table, "d") == [(Kind.PREVOTE, 0, NIL)]


def test_blocks_count_by_their_certificate_whoever_sends_them() -> None:
    table = Table()
    table.absent = {"d"}
    table["a"].propose([b"one"])
    table.settle()
    table.absent = set()
    height, data, good = table["a"]._recent[0]
    assert height == 1
    engine = table["d"]
    short = msgspec.structs.replace(good, signatures=good.signatures[:2])
    assert refused(engine, "a", Blocks([(data, short)]), Reason.CERTIFICATE)
    prevotes = table.certificate("abc", Kind.PREVOTE, 1, 0, good.digest)
    assert refused(engine, "a", Blocks([(data, prevotes)]), Reason.IMPOSSIBLE)
    other, _ = block_of(table, "a", 0, request(table, "b"))
    assert refused(engine, "a", Blocks([(other, good)]), Reason.BLOCK)
    assert engine.standing.height == 0
    assert engine.step("c", Blocks([(data, good)])) == ""
    assert engine.standing.height == 1


def test_requests_are_taken_once_and_only_from_who_signed_them() -> None:
    table = Table()
    good = request(table, "b", 1, b"pay")
    forged = msgspec.structs.replace(good, commands=[b"pay me"])
    assert refused(table["a"], "c", Ask(forged), Reason.SIGNATURE)
    assert refused(table["a"], "c", Ask(request(table, "e")), Reason.STRANGER)
    far = request(table, "b", 5000)
    assert refused(table["a"], "b", Ask(far), Reason.AHEAD)
    for _ in range(3):
        table["a"].step("c", Ask(good))
        table.settle()
    assert table.seats["d"].commands == [b"pay"]
    table["a"].step("c", Ask(good))
    table.tick(100)
    assert table.seats["d"].commands == [b"pay"]


def test_two_statements_are_evidence_and_decided_as_such() -> None:
    table = Table()
    table["d"].step("b", Vote(table.signed("b", Kind.PREVOTE, 1, 0, NIL)))
    said = table["d"].step("b", Vote(table.signed("b", Kind.PREVOTE, 1, 0, b"\1" * 32)))
    assert said.startswith(Reason.CONTRADICTION)
    table.tick(300)
    for seat in table.seats.values():
        if seat.name != "b":
            assert list(seat.engine.standing.accused) == ["b"]
    assert table["a"].status().accused["b"] == "two prevotes of height 1, view 0"
    assert "b" not in {table["a"].standing.proposer(view) for view in range(8)}


def test_a_read_waits_for_what_may_have_been_acknowledged() -> None:
    table = Table()
    table.absent = {"d"}
    table["a"].propose([b"one"])
    table.settle()
    table.absent = set()
    table["d"].read("r")
    table.settle()
    assert table.seats["d"].reads == [("r", table["a"].standing.position)]
    assert table["d"].standing.height == 1
    # a liar that says more than it can prove does not count
    table.absent = {"a", "b"}
    table["d"].read("again")
    table.settle()
    (number,) = table["d"]._readings
    assert refused(table["d"], "a", ReadAnswer(number, 99), Reason.CERTIFICATE)
    nothing = table.certificate("abc", Kind.PREVOTE, 2, 0, NIL)
    assert refused(table["d"], "a", ReadAnswer(number, 2, nothing), Reason.CERTIFICATE)
    assert refused(table["d"], "a", ReadAnswer(number + 1, 1), Reason.NOT_ASKED)
    assert len(table.seats["d"].reads) == 1


def test_a_change_of_members_takes_the_word_of_two() -> None:
    table = Table()
    with pytest.raises(ValueError, match="3 voters cannot outvote"):
        table["a"].change(remove=["d"])
    joins = Member("e", public_key("e"), True)
    wanted = table["a"].change(add=[joins])
    table.tick(150)
    assert table["b"].endorsed(wanted) == ("a",)
    assert table["b"].epoch.number == 1
    forged = msgspec.structs.replace(
        table["b"]._changes[wanted],
        endorsements=[
            *table["b"]._changes[wanted].endorsements,
            msgspec.structs.replace(table["b"]._changes[wanted].endorsements[0], signer="c"),
        ],
    )
    assert refused(table["b"], "a", Endorse(forged), Reason.SIGNATURE)
    table["c"].change(add=[joins])
    table.tick(50)
    for seat in table.seats.values():
        assert seat.engine.epoch.voters == ("a", "b", "c", "d", "e")
        assert (seat.engine.epoch.number, seat.engine.epoch.quorum) == (2, 4)


def test_a_voter_that_wants_everything_keeps_nobody_from_wanting_something() -> None:
    table = Table()
    for number in range(20):
        table["b"].change(add=[Member(f"n{number}", public_key("x"), False)])
    table.settle()
    assert len(table["a"]._changes) == 4
    joins = Member("e", public_key("e"), True)
    table["c"].change(add=[joins])
    table["d"].change(add=[joins])
    table.tick(50)
    assert table["a"].epoch.voters == ("a", "b", "c", "d", "e")
