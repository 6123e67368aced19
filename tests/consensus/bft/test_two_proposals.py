"""A leader tells one voter something else than the others: what these have agreed on is what counts."""

from __future__ import annotations

import msgspec
import pytest

from flow_consensus.bft import (
    EngineSettings,
    Kind,
    Message,
    block_digest,
    decode_block,
    encode_block,
)
from flow_consensus.bft.messages import Ask, Proposal, Vote
from support.bft.table import Table

SETTINGS = EngineSettings()


def deceived(*, relay: bool) -> Table:
    """`a` leads: it proposes one block to `b` and `c` and another one to `d`, prevotes for the first, and is
    silent from then on."""
    table = Table(settings=EngineSettings(relay=relay))
    heard: list[Message] = []

    def listens(sender: str, to: str, message: Message) -> bool:
        heard.append(message)
        return not (isinstance(message, Ask) and to == "a")

    table.drop = listens
    table["c"].propose([b"y"])
    table["b"].propose([b"x"])
    table.settle()
    proposal = next(one for one in heard if isinstance(one, Proposal))
    block = decode_block(proposal.block)
    asked = {one.request.origin: one.request for one in heard if isinstance(one, Ask)}
    (first,) = block.requests
    other = encode_block(
        msgspec.structs.replace(block, requests=[asked["b" if first.origin == "c" else "c"]])
    )
    signed = table.signed("a", Kind.PROPOSAL, 1, 0, block_digest(other))
    assert table["d"].step("a", Proposal(signed, other)) == ""
    for name in "bc":
        assert table[name].step("a", proposal) == ""
    prevote = Vote(table.signed("a", Kind.PREVOTE, 1, 0, proposal.signed.digest))
    for name in "bcd":
        table[name].step("a", prevote)
    table.drop = lambda sender, to, message: False
    table.absent = {"a"}
    return table


@pytest.mark.parametrize("relay", [True, False])
def test_who_was_told_something_else_gets_the_block_that_a_quorum_has_voted_for(
    relay: bool,
) -> None:
    table = deceived(relay=relay)
    ticks = 0
    while not all(table[name].standing.height for name in "bcd"):
        table.tick()
        ticks += 1
        assert ticks < SETTINGS.view_ticks, "the view was lost"
    decided = {table[name].standing.digest for name in "bcd"}
    assert len(decided) == 1
    assert {table[name].view for name in "bcd"} == {0}
    assert "a" in {*table["d"].evidence, *table["d"].standing.accused}


def test_a_second_proposal_without_a_quorum_changes_nothing() -> None:
    table = deceived(relay=False)
    before = table["d"].votes.ballots[0].proposal
    assert before is not None
    third = table.signed("a", Kind.PROPOSAL, 1, 0, b"\3" * 32)
    assert table["d"].step("a", Proposal(third, b"\x90")).startswith("a second statement")
    assert table["d"].votes.ballots[0].proposal is before
