"""Upstreams over HTTP that say one valid thing after the other and never answer."""

from __future__ import annotations

import itertools
import resource
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
import trio

from flow_agents.mcp.calls import Call
from flow_agents.mcp.events import EventStream
from flowcore import open_flow
from flowcore.agents import State
from flowcore.envelope import DEAF, Peer
from flowcore.errors import AgentUnavailable, DeadlineExceeded, UpstreamFailure
from flowcore.http import Request, Send, Stream, encode_event
from flowcore.mcp import Message
from flowcore.native import tool
from support.upstreaming import RecordingPeer
from support.upstreams.http_server import EVENTS, Answer, HttpUpstream, encoded, serving

Event = Callable[[Any, int], dict[str, Any]]


def progress(call: Any, step: int) -> dict[str, Any]:
    params = {"progressToken": call, "progress": step, "message": "on its way"}
    return {"method": "notifications/progress", "params": params}


def log(call: Any, step: int) -> dict[str, Any]:
    return {"method": "notifications/message", "params": {"level": "info", "data": "x" * 500}}


def stray(call: Any, step: int) -> dict[str, Any]:
    return {"id": f"nobody-{step}", "result": {}}


def question(call: Any, step: int) -> dict[str, Any]:
    return {"id": f"q{step}", "method": "elicitation/create", "params": {"message": "and?"}}


def change(call: Any, step: int) -> dict[str, Any]:
    return {"method": "notifications/tools/list_changed"}


class Endless(HttpUpstream):
    """Every call of `headers` is answered by events without end."""

    def __init__(self, event: Event | None, *, modern: bool) -> None:
        super().__init__(modern=modern)
        self.extra_tools = [{"name": "headers", "inputSchema": {"type": "object"}}]
        self.event = event
        self.sent = 0

    async def call(self, request: Request, number: Any, params: dict[str, Any]) -> Answer:
        if params["name"] != "headers":
            return await super().call(request, number, params)
        return Stream(200, EVENTS, lambda send: self.flood(number, send))

    async def flood(self, number: Any, send: Send) -> None:
        try:
            for step in itertools.count():
                event = self.event
                some = (
                    b": nothing\n\n" * 100
                    if event is None
                    else b"".join(
                        encode_event(encoded(event(number, 100 * step + one))) for one in range(100)
                    )
                )
                await send(some)
                self.sent += len(some)
        finally:
            self.disconnected.append("flood")
            self.happened()


@tool
async def echo(text: str) -> str:
    """Say it again."""
    return text


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 64 << 10  # KiB: nothing is kept of what comes


def config(url: str) -> dict[str, Any]:
    pool = {"min": 1, "max": 1, "concurrency": 10}
    other = {"type": "python", "target": f"{__name__}:echo"}
    return {"agent": {"up": {"type": "mcp", "url": url, "pool": pool}, "other": other}}


@pytest.mark.parametrize("modern", [True, False], ids=["2026-07-28", "2025-11-25"])
@pytest.mark.parametrize("event", [None, progress, log, stray, question, change])
async def test_a_call_that_is_told_without_end_fails_at_its_deadline_alone(
    event: Event | None, modern: bool
) -> None:
    server = Endless(event, modern=modern)
    peer: Peer = RecordingPeer({"elicitation": {}}, {"action": "cancel"}) if event else DEAF
    ended = 0

    async def flooded() -> None:
        nonlocal ended
        with pytest.raises(DeadlineExceeded) as caught:
            await flow.call("up.headers", {}, deadline=0.5, peer=peer)
        assert caught.value.began
        ended += 1

    async with serving(server), open_flow(config(server.url)) as flow:
        await flow.wait_settled()
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(flooded)
            served = 0
            while ended < 3:
                assert (await flow.call("other.echo", {"text": "here"})).text == "here"
                served += 1
                await trio.lowlevel.checkpoint()  # what this process does itself takes none
        assert served
        assert server.sent > 10_000
        await server.until(lambda: len(server.disconnected) == 3)
        assert (await flow.call("up.echo", {"text": "as before"})).text == "as before"
        assert flow.agents["up"].statistics().expired == 3


async def test_a_list_without_end_is_an_agent_that_does_not_start_alone() -> None:
    server = Endless(progress, modern=True)

    async def lists(request: Request, number: Any, method: str, params: dict[str, Any]) -> Answer:
        if method == "tools/list":
            return Stream(200, EVENTS, lambda send: server.flood(number, send))
        return await HttpUpstream.answer(server, request, number, method, params)

    server.answer = lists  # type: ignore[method-assign]
    async with serving(server):
        settings = config(server.url)
        settings["agent"]["up"]["pool"]["start_timeout"] = "500ms"
        async with open_flow(settings) as flow:
            await flow.agents["up"].wait_until(State.FAILED)
            with pytest.raises(AgentUnavailable, match="agent 'up' is failed: .*within 0.5 s"):
                await flow.call("up.echo", {"text": "?"})
            assert (await flow.call("other.echo", {"text": "here"})).text == "here"


async def test_a_result_without_end_is_cut_at_the_largest_message() -> None:
    server = Endless(None, modern=True)

    async def flood(number: Any, send: Send) -> None:
        await send(b'data: {"jsonrpc":"2.0","id":1,"result":{"content":"')
        while True:
            await send(b"x" * 65536)

    server.flood = flood  # type: ignore[method-assign]
    async with serving(server):
        settings = config(server.url)
        settings["agent"]["up"]["message"] = "1MiB"
        async with open_flow(settings) as flow:
            await flow.wait_settled()
            with pytest.raises(UpstreamFailure, match="says too much at once"):
                await flow.call("up.headers", {})
            assert (await flow.call("up.echo", {"text": "as before"})).text == "as before"


class Flood:
    """An answer that comes at once."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return self.pieces.pop(0) if self.pieces else b""


class Ears:
    """Counts what it hears."""

    heard = 0

    def hear(self, message: Message, call: Call | None) -> None:
        self.heard += 1


@pytest.mark.parametrize("line_end", [b"\n", b"\r", b"\r\n"])
async def test_a_flood_of_small_events_leaves_others_their_turn(line_end: bytes) -> None:
    ears, turns = Ears(), list[int]()
    notice = b'data: {"jsonrpc":"2.0","method":"x"}' + line_end * 2
    comments = b":" + line_end
    stream = EventStream(ears, None, 1 << 20)  # type: ignore[arg-type]

    async def other() -> None:
        while True:
            turns.append(ears.heard)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        flood = Flood(notice * 1000, comments * 30_000, notice * 1000)
        assert await stream.hear(flood) is None  # type: ignore[arg-type]
        nursery.cancel_scope.cancel()
    assert ears.heard == 2000
    assert max(after - before for before, after in pairwise(turns)) <= 150
    assert len(turns) > 50  # also among the comments, of which nothing is heard
