"""What an upstream says without saying of which call: nobody hears what may be somebody else's."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from flow_agents.mcp.attribution import Owner, Trail, owner_of
from flowcore.envelope import ANONYMOUS, Envelope, Principal
from support.upstreaming import (
    Opened,
    RecordingPeer,
    opened,
    stdio_server,
    text,
    tool,
)

ERAS = ["handshake", "modern"]
AFFINITY = {"io.flowcore/affinity": "chosen"}


def anonymous(name: str, *, session: bytes | None, peer: RecordingPeer, **more: Any) -> Envelope:
    """A call of a session that nobody has authenticated."""
    envelope = tool(name, peer=peer, **more)
    envelope.principal = ANONYMOUS
    envelope.affinity = session
    return envelope


# ---- who owns a call


def test_a_principal_owns_its_calls_and_a_session_those_of_nobody_in_particular() -> None:
    peer = RecordingPeer()
    alice, again = tool("x", principal="alice"), tool("y", principal="alice")
    assert owner_of(alice) == owner_of(again) != owner_of(tool("x", principal="bob"))
    again.principal = Principal(name="alice", scheme="other")
    assert owner_of(alice) != owner_of(again)
    one = anonymous("x", session=b"1", peer=peer)
    assert owner_of(one) == owner_of(anonymous("y", session=b"1", peer=peer))
    assert owner_of(one) != owner_of(anonymous("x", session=b"2", peer=peer))
    alone = [anonymous("x", session=None, peer=peer) for _ in range(2)]
    assert owner_of(alone[0]) != owner_of(alone[1])
    # an affinity that a client chose is no session: another could choose the same
    chosen = [anonymous("x", session=b"chosen", peer=peer, meta=AFFINITY) for _ in range(2)]
    assert owner_of(chosen[0]) != owner_of(chosen[1])


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 5)), max_size=20), st.integers(0, 40)
)
def test_a_trail_knows_whether_several_ended_lately(ended: list[tuple[str, int]], ago: int) -> None:
    trail, now = Trail(), 0.0
    history: list[tuple[Owner, float]] = []
    for name, later in ended:
        now += later
        trail.note((name,), now)
        history.append(((name,), now))
    lately = {owner for owner, at in history if at >= now - ago}
    found = trail.since(now - ago)
    assert found <= lately
    assert len(found) == min(2, len(lately))


# ---- log messages


async def hanging(up: Opened, nursery: trio.Nursery, peer: RecordingPeer, call: Envelope) -> None:
    """Have a call under way that never ends, and has said so to its caller, if it alone is there."""
    told = len(peer.told)
    nursery.start_soon(up.worker.call, call)
    await peer.until(lambda: len(peer.told) > told)


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", ["principals", "sessions", "neither"])
async def test_a_log_message_that_may_be_anothers_is_told_to_nobody(era: str, kind: str) -> None:
    first, second = RecordingPeer(), RecordingPeer()
    if kind == "principals":
        waits, logs = (
            tool("hang", peer=first, principal="alice"),
            tool("log", peer=second, principal="bob"),
        )
    else:
        sessions = (b"1", b"2") if kind == "sessions" else (None, None)
        waits = anonymous("hang", session=sessions[0], peer=first)
        logs = anonymous("log", session=sessions[1], peer=second)
    async with opened(command=stdio_server("--era", era)) as up:
        async with trio.open_nursery() as nursery:
            await hanging(up, nursery, first, waits)
            told = list(first.told)
            assert text(await up.worker.call(logs)) == "logged"
            nursery.cancel_scope.cancel()
        await up.worker.ping()  # all that came before has been heard
        assert first.told == told
        assert second.told == []
        assert up.port.notifications == []


async def test_calls_of_one_owner_hear_of_each_other() -> None:
    first, second = RecordingPeer(), RecordingPeer()
    async with opened(command=stdio_server()) as up, trio.open_nursery() as nursery:
        await hanging(up, nursery, first, tool("hang", peer=first, principal="alice"))
        await up.worker.call(tool("log", peer=second, principal="alice"))
        assert second.told[-1][1]["data"] == "hello"
        nursery.cancel_scope.cancel()


async def test_a_call_that_was_given_up_may_still_be_what_is_spoken_of() -> None:
    first, second = RecordingPeer(), RecordingPeer({"elicitation": {}}, {"action": "accept"})
    async with opened(command=stdio_server()) as up:
        async with trio.open_nursery() as nursery:
            await hanging(up, nursery, first, tool("hang", peer=first, principal="alice"))
            nursery.cancel_scope.cancel()
        for _ in range(2):
            await up.worker.call(tool("log", peer=second, principal="bob"))
        asks = tool("ask", peer=second, principal="bob", method="elicitation/create")
        refused = json.loads(text(await up.worker.call(asks)))
        assert refused["error"]["code"] == -32600
        assert second.told == []
        assert second.asked == []
    async with opened(command=stdio_server(), linger=0) as up:
        async with trio.open_nursery() as nursery:
            await hanging(up, nursery, first, tool("hang", peer=first, principal="alice"))
            nursery.cancel_scope.cancel()
        asks = tool("ask", peer=second, principal="bob", method="elicitation/create")
        assert json.loads(text(await up.worker.call(asks))) == {"action": "accept"}


async def test_what_is_logged_after_an_answer_is_not_told_to_who_calls_next() -> None:
    first, second = RecordingPeer(), RecordingPeer()
    async with opened(command=stdio_server()) as up:
        await up.worker.call(tool("log_later", peer=first, principal="alice", text="of alice"))
        assert text(await up.worker.call(tool("release", peer=second, principal="bob"))) == "ok"
        await up.worker.ping()
        assert second.told == []
        assert up.port.notifications == []


@pytest.mark.parametrize("served", [(), ("alice",), ("alice", "bob")])
async def test_what_is_logged_in_a_silence_is_for_whom_the_connection_worked(
    served: tuple[str, ...],
) -> None:
    async with opened(command=stdio_server("--log-on-ping")) as up:
        for name in served:
            await up.worker.call(tool("echo", principal=name))
        await up.worker.ping()
        await up.worker.ping()
        names = [None if one is None else one.name for one in up.port.audiences]
    if served == ("alice", "bob"):
        assert names == []
    else:
        assert set(names) == ({None} if not served else {"alice"})


async def test_everyone_is_told_where_that_is_wished() -> None:
    first, second = RecordingPeer(), RecordingPeer()
    async with opened(command=stdio_server(), logs="everyone") as up:
        async with trio.open_nursery() as nursery:
            await hanging(up, nursery, first, tool("hang", peer=first, principal="alice"))
            await up.worker.call(tool("log", peer=second, principal="bob"))
            nursery.cancel_scope.cancel()
        assert [params["data"] for _, params in up.port.notifications] == ["hello"]
        assert up.port.audiences == [None]
        assert second.told == []


# ---- questions


@pytest.mark.parametrize("able", ["both", "the other"])
async def test_a_question_that_may_be_anothers_is_put_to_nobody(able: str) -> None:
    """Not even where only one of them could be asked: the question may be of the one that cannot."""
    can: dict[str, Any] = {"elicitation": {}}
    first = RecordingPeer(can, {"action": "accept"})
    second = RecordingPeer(can if able == "both" else {}, {"action": "accept"})
    async with opened(command=stdio_server()) as up:
        async with trio.open_nursery() as nursery:
            await hanging(up, nursery, first, tool("hang", peer=first, principal="alice"))
            asks = tool("ask", peer=second, principal="bob", method="elicitation/create")
            assert json.loads(text(await up.worker.call(asks)))["error"]["code"] == -32600
            nursery.cancel_scope.cancel()
    assert first.asked == second.asked == []


async def test_progress_is_of_the_call_whose_token_it_has() -> None:
    first, second = RecordingPeer(), RecordingPeer()
    meta = {"progressToken": "mine"}
    async with opened(command=stdio_server()) as up, trio.open_nursery() as nursery:
        await hanging(up, nursery, first, tool("hang", peer=first, principal="a", meta=meta))
        await up.worker.call(tool("progress", peer=second, principal="b", meta=meta))
        assert len(second.told) == 3
        assert len(first.told) == 1
        nursery.cancel_scope.cancel()
