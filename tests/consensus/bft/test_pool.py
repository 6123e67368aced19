"""What waits, and what a leader takes of it: nobody who waits is left out, however much is asked."""

from __future__ import annotations

import attrs

from flow_consensus.bft.blocks import Block, Request
from flow_consensus.bft.epochs import Epoch
from flow_consensus.bft.pool import Pool
from flow_consensus.bft.settings import EngineSettings
from flow_consensus.bft.standing import Standing

NAMES = ("alpha", "beta", "gamma", "delta")
LONG = 10_000
"""Ticks after which everything has waited too long."""


def standing() -> Standing:
    keys = {name: bytes([at]) * 32 for at, name in enumerate(NAMES)}
    return Standing.first(bytes(32), Epoch.first(keys, exclude=False, checkpoint=100))


def pool(settings: EngineSettings, size: int = 10) -> Pool:
    """With three requests of each node, of so many bytes."""
    made = Pool(settings)
    for number in (1, 2, 3):
        for name in NAMES:
            made.add(Request(name, 1, number, [bytes(size)], bytes(64)), now=number)
    return made


def block(requests: list[Request], at: Standing) -> Block:
    return Block(at.cluster, 1, 1, 0, "alpha", at.digest, 1, requests, [], [])


def test_a_full_block_has_a_request_of_each_node() -> None:
    """Or, where more is asked for than blocks take, no leader would get votes any more: seed 10371."""
    at, waiting = standing(), pool(EngineSettings(batch_entries=1))
    taken = waiting.take(at)
    assert sorted(one.origin for one in taken) == sorted(NAMES)
    assert all(one.number == 1 for one in taken)
    assert waiting.left_out(block(taken, at), at, LONG) == ""


def test_who_is_left_out_is_found_however_full_the_block_is() -> None:
    at, waiting = standing(), pool(EngineSettings(batch_entries=1))
    taken = [one for one in waiting.take(at) if one.origin != "gamma"]
    assert waiting.left_out(block(taken, at), at, LONG) == "gamma"
    assert waiting.left_out(block(taken, at), at, 10) == "", "it has not waited for long"


def test_what_waits_longest_goes_first_and_the_rest_by_turns() -> None:
    at = standing()
    assert [(one.origin, one.number) for one in pool(EngineSettings(batch_entries=6)).take(at)] == [
        *((name, 1) for name in sorted(NAMES)),
        ("alpha", 2),
        ("beta", 2),
    ]
    served = attrs.evolve(at, counters={"alpha": (1, 2)})
    first = pool(EngineSettings(batch_entries=1)).take(served)
    assert [(one.origin, one.number) for one in first][-1] == ("alpha", 3)


def test_large_requests_come_one_by_one() -> None:
    """A block has room for a batch of each node; what is beyond waits, and for a while nobody minds."""
    settings = EngineSettings(batch_bytes=100)
    at, waiting = standing(), pool(settings, size=300)
    taken = waiting.take(at)
    assert len(taken) == 1
    soon = 3 * settings.overdue_ticks
    assert waiting.left_out(block(taken, at), at, soon) == ""
    assert waiting.left_out(block(taken, at), at, LONG) != ""
