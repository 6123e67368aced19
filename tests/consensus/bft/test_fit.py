"""What others ask for is looked at: a command of a time that has not come, or none at all, is not decided."""

from __future__ import annotations

import math

import pytest

from flow_consensus.bft import Kind, block_digest, decode_block, encode_block
from flow_consensus.bft.blocks import Block, Request, request_statement
from flow_consensus.bft.core import Reason
from flow_consensus.bft.messages import Ask, Proposal
from flow_consensus.bft.settings import EngineSettings
from flowcore.state import Ahead
from support.bft.table import ABCD, Table

NOW = 1000.0


def ahead(command: bytes) -> float:
    """A command is its time, or it is none."""
    try:
        return float(command) - NOW
    except ValueError:
        return math.inf


def table(*names: str) -> Table:
    """Of whom these look at what others ask for."""
    made = Table()
    for name in names:
        made[name].check_by(ahead)
    return made


def request(made: Table, origin: str, *commands: bytes, boot: int = 9) -> Request:
    """One of a node that its engine has not made."""
    engine = made[origin]
    bare = Request(origin, boot, 1, [*commands], bytes(64))
    signature = engine._sign(request_statement(engine.standing.cluster, bare))
    return Request(origin, boot, 1, [*commands], signature)


def proposed(made: Table, leader: str, *requests: Request) -> Proposal:
    """What a leader would propose with these in it."""
    engine = made[leader]
    standing = engine.standing
    block = Block(
        standing.cluster,
        engine.epoch.number,
        engine.height,
        engine.view,
        leader,
        standing.digest,
        standing.position + 1,
        [*requests],
        [],
        [],
    )
    data = encode_block(block)
    assert decode_block(data) == block
    said = made.signed(leader, Kind.PROPOSAL, engine.height, engine.view, block_digest(data))
    return Proposal(said, data, None)


@pytest.mark.parametrize(
    ("command", "taken"),
    [(b"0", True), (b"1002", True), (b"1002.1", False), (b"inf", False), (b"\xff", False)],
)
def test_a_request_is_taken_if_its_time_is_near(command: bytes, taken: bool) -> None:
    made = table("a")
    ask = Ask(request(made, "d", b"999", command))
    said = made["a"].step("d", ask)
    assert made["a"].pool.has(ask.request) is taken
    assert (said == "") is taken
    assert made["a"].refused[Reason.UNFIT] == (not taken)


def test_a_time_that_is_no_number_is_nobodys_concern() -> None:
    """It is smaller than none, greater than none, and the state leaves its time as it is."""
    made = table("a")
    assert made["a"].step("d", Ask(request(made, "d", b"nan"))) == ""


@pytest.mark.parametrize(
    ("command", "voted"), [(b"1003.9", True), (b"1004.1", False), (b"none", False)]
)
def test_a_block_may_be_as_far_ahead_again(command: bytes, voted: bool) -> None:
    """What an honest leader took whose clock is two seconds ahead gets votes; more does not."""
    made = table(*ABCD)
    leader = made["a"].leader
    proposal = proposed(made, leader, request(made, "d", command))
    for name in ABCD:
        if name != leader:
            made[name].step(leader, proposal)
    made.tick(30)
    decided = [made.seats[name].commands for name in ABCD if name != leader]
    assert decided == [[command] if voted else []] * 3


def test_what_was_taken_as_a_request_is_voted_for_whatever_the_clock_says_by_then() -> None:
    made = table(*ABCD)
    leader = made["a"].leader
    early = request(made, "d", b"1001")
    others = [name for name in ABCD if name != leader]
    now = dict.fromkeys(others, NOW)

    def clock_of(name: str) -> Ahead:
        return lambda command: float(command) - now[name]

    for name in others:
        made[name].check_by(clock_of(name))
        if name != "d":
            assert made[name].step("d", Ask(early)) == ""
        now[name] -= 100.0  # the clock is set back
    now["d"] = NOW
    for name in others:
        made[name].step(leader, proposed(made, leader, early))
    made.tick(30)
    assert [made.seats[name].commands for name in others] == [[b"1001"]] * 3


def test_what_waits_is_looked_at_when_it_is_known_how_and_ones_own_is_not() -> None:
    made = Table()
    engine = made["b"]
    for origin, command in (("c", b"none"), ("d", b"1000")):
        assert engine.step(origin, Ask(request(made, origin, command))) == ""
    engine.propose([b"what others must judge"])
    engine.check_by(ahead)
    assert not engine.pool.has(request(made, "c", b"none"))
    assert engine.pool.has(request(made, "d", b"1000"))
    assert len(engine.pool) == 2


def test_a_liar_that_asks_for_an_hour_ahead_holds_nobody_up() -> None:
    made = table(*ABCD)
    liar = made["d"]
    hour = request(made, "d", b"4600", boot=liar.boot)
    for number in range(5):
        for name in "abc":
            made[name].step("d", Ask(hour))
        made["b"].propose([b"%d" % number])
        made.tick(2)
    assert made.seats["a"].commands == [b"0", b"1", b"2", b"3", b"4"]
    assert made["a"].view == 0
    assert made["a"].views_changed == 0


def test_how_far_ahead_must_be_more_than_nothing() -> None:
    with pytest.raises(ValueError, match="ahead to be more than 0 s, not 0"):
        EngineSettings(ahead=0)
