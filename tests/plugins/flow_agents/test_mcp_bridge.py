"""One upstream for clients of both eras: a second connection where there can be one."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from flow_agents.mcp import bridge
from flowcore.errors import OutcomeUnknown
from support.upstreaming import RecordingPeer, liar, opened, stdio_server, text, tool, value

ANSWER = {"action": "accept", "content": {"name": "x"}}


def able() -> RecordingPeer:
    """A client that can be asked."""
    return RecordingPeer({"elicitation": {}}, ANSWER)


def asking(peer: RecordingPeer, *, modern: bool = False, **more: Any) -> Any:
    envelope = tool("ask", peer=peer, method="elicitation/create", **more)
    return envelope.again(modern=modern)


async def test_each_client_meets_the_upstream_in_its_own_era() -> None:
    async with opened(command=stdio_server("--era", "both")) as up:
        assert up.worker.first.modern
        assert up.worker.second is None
        # who shook hands is asked at once
        peer = able()
        pushed = await up.worker.call(asking(peer))
        assert json.loads(text(pushed)) == ANSWER
        assert peer.asked == [("elicitation/create", {"message": "?"})]
        assert not pushed.modern
        assert up.worker.second is not None
        assert not up.worker.second.modern
        # who did not gets a result that asks
        other = able()
        required = await up.worker.call(asking(other, modern=True))
        assert required.modern
        assert value(required)["resultType"] == "input_required"
        assert other.asked == []
        await up.worker.ping()


async def test_who_cannot_be_asked_needs_no_connection_of_its_own() -> None:
    async with opened(command=stdio_server("--era", "both")) as up:
        assert text(await up.worker.call(tool("echo", text="x"))) == "x"
        assert text(await up.worker.call(tool("echo", text="x", peer=RecordingPeer()))) == "x"
        assert up.worker.second is None


async def test_many_first_calls_share_one_connection() -> None:
    async with opened(command=stdio_server("--era", "both")) as up:
        peers = [able() for _ in range(10)]
        async with trio.open_nursery() as nursery:
            for peer in peers:
                nursery.start_soon(up.worker.call, tool("echo", peer=peer, text="x"))
        assert up.worker.second is not None
        assert up.port.lines == []


@pytest.mark.parametrize("era", ["modern", "handshake"])
async def test_an_upstream_of_one_era_has_one_connection(era: str) -> None:
    async with opened(command=stdio_server("--era", era)) as up:
        for _ in range(2):
            reply = await up.worker.call(asking(able()))
            assert reply.modern is (era == "modern")
            assert up.worker.second is None
        if era == "modern":
            assert len(up.port.lines) == 1  # it was tried once, and is told on
            assert "speaks 2026-07-28 only" in up.port.lines[0]


async def test_a_version_that_is_asked_for_is_the_only_one_spoken() -> None:
    async with opened(command=stdio_server("--era", "both"), protocol="2026-07-28") as up:
        assert (await up.worker.call(asking(able()))).modern
        assert up.worker.second is None


async def test_the_end_of_the_second_connection_leaves_the_first_alone() -> None:
    async with opened(command=stdio_server("--era", "both")) as up:
        with pytest.raises(OutcomeUnknown):
            await up.worker.call(tool("crash", peer=able()))
        await up.port.until(lambda: any("shake hands was lost" in line for line in up.port.lines))
        assert text(await up.call("echo", text="still here")) == "still here"
        # and the next call that needs one has another
        assert json.loads(text(await up.worker.call(asking(able())))) == ANSWER


async def test_a_caller_that_goes_away_while_it_opens_disturbs_nobody() -> None:
    async with opened(command=stdio_server("--era", "both")) as up:
        with trio.CancelScope() as scope:
            scope.cancel()
            await up.worker.call(asking(able()))
        assert json.loads(text(await up.worker.call(asking(able())))) == ANSWER


async def test_a_connection_that_is_used_no_more_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "_IDLE", 0.01)
    async with opened(command=stdio_server("--era", "both")) as up:
        for _ in range(3):
            assert json.loads(text(await up.worker.call(asking(able())))) == ANSWER
            while up.worker.second is not None:
                await trio.lowlevel.checkpoint()


async def test_where_a_handshake_fails_calls_go_on_without() -> None:
    """It fails for a reason that may pass: the first connection does the calls meanwhile."""
    async with opened(command=liar("HandshakeDies")) as up:
        for _ in range(2):
            assert text(await up.worker.call(tool("lie", peer=able()))) == "truth"
        assert any("cannot be opened" in line for line in up.port.lines)
        assert up.worker.second is None
