"""The envelope: its id, its clock."""

from __future__ import annotations

import math
import uuid

import pytest
import trio
from msgspec import Raw

from flowcore.errors import UnknownMethod
from flowcore.requests import DEAF, Envelope, new_request_id


def test_request_ids_are_random_uuids() -> None:
    ids = [new_request_id() for _ in range(2000)]
    assert len(set(ids)) == 2000
    for one in ids[:300]:
        parsed = uuid.UUID(one)
        assert str(parsed) == one
        assert (parsed.version, parsed.variant) == (4, uuid.RFC_4122)


async def test_the_clock_stands_still_while_the_caller_is_asked() -> None:
    envelope = Envelope(agent="a", name="b", params={}, deadline=100.0)
    assert envelope.until == 100.0
    scope = trio.CancelScope(deadline=100.0)
    envelope.scope = scope
    assert envelope.until == 100.0
    envelope.stop_clock(10.0)
    envelope.stop_clock(12.0)
    assert envelope.until == scope.deadline == math.inf
    envelope.start_clock(15.0)
    assert envelope.until == math.inf
    envelope.start_clock(20.0)
    assert envelope.until == scope.deadline == envelope.deadline == 110.0


def test_the_clock_can_stand_still_before_any_work() -> None:
    envelope = Envelope(agent="a", name="b", params={}, deadline=100.0)
    envelope.stop_clock(0.0)
    assert envelope.until == math.inf
    envelope.start_clock(7.0)
    assert envelope.until == 107.0


def test_a_copy_has_begun_nothing() -> None:
    envelope = Envelope(agent="a", name="b", params={}, deadline=1.0)
    envelope.began = True
    assert not envelope.again(deadline=2.0).began


def test_arguments_are_decoded_when_asked_for() -> None:
    envelope = Envelope(agent="a", name="b", params={"arguments": Raw(b'{"x":1}')}, deadline=1.0)
    assert envelope.arguments == {"x": 1}
    assert Envelope(agent="a", name="b", params={}, deadline=1.0).arguments == {}


async def test_a_deaf_peer_is_told_and_asked_nothing() -> None:
    DEAF.notify("notifications/progress", Raw(b"{}"))
    with pytest.raises(UnknownMethod, match="cannot be asked 'roots/list'"):
        await DEAF.request("roots/list", Raw(b"{}"))
