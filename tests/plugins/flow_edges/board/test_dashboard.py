"""The dashboard as a server: whom it answers, what its stream tells, and what comes of who never reads."""

from __future__ import annotations

import contextlib
import json
import pathlib
import resource
import socket
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio

from flow_edges.dashboard.shelf import FOLDER, POLICY
from flowcore import Flow, open_flow
from flowcore.http import Client, ClientResponse, SseDecoder, open_client
from support import doorkeeper
from support.flows import nodes
from support.node import ROOT, free_ports, serving

OWN = (b"x-flow-dashboard", b"1")
AGENTS = {"type": "python", "target": f"{ROOT}/tests/support/agents.py"}


@attrs.frozen
class Board:
    """A dashboard that is asked."""

    flow: Flow
    client: Client
    url: str

    async def ask(
        self, path: str, body: Any = None, *, headers: Any = (OWN,), method: str = ""
    ) -> ClientResponse:
        method = method or ("GET" if body is None else "POST")
        data = b"" if body is None else json.dumps(body).encode()
        more = [(b"content-type", b"application/json")] if body is not None else []
        return await self.client.request(
            method, self.url + path, headers=[*headers, *more], body=data
        )

    @asynccontextmanager
    async def live(self, *headers: Any) -> AsyncGenerator[Live]:
        """The stream of events."""
        async with self.client.stream("GET", self.url + "/live", headers=[OWN, *headers]) as answer:
            assert answer.status == 200, await answer.read(10_000)
            yield Live(answer, SseDecoder())


@attrs.define(eq=False)
class Live:
    answer: Any
    decoder: SseDecoder
    events: list[tuple[str, Any]] = attrs.field(factory=list)

    async def next(self, name: str) -> Any:
        """The next event of a topic; None at the end of the stream."""
        while True:
            for place, (event, data) in enumerate(self.events):
                if event == name:
                    del self.events[place]
                    return data
            piece = await self.answer.receive()
            if not piece:
                return None
            self.events += [(one.event, json.loads(one.data)) for one in self.decoder.feed(piece)]


def config(**dashboard: Any) -> dict[str, Any]:
    return {
        "agent": {"echo": AGENTS},
        "edge": {
            "board": {"type": "dashboard", "bind": "127.0.0.1:0", "every": "100ms", **dashboard}
        },
    }


@asynccontextmanager
async def open_board(made: dict[str, Any] | None = None) -> AsyncGenerator[Board]:
    async with open_flow(made or config()) as flow, open_client() as client:
        await flow.wait_settled()
        with trio.fail_after(60):
            yield Board(flow, client, flow.endpoints["board"][0].rstrip("/"))


async def test_every_page_is_served_with_the_policy_and_other_paths_are_not() -> None:
    async with open_board() as board:
        names = ["", *(path.name for path in FOLDER.iterdir())]
        for name in names:
            answer = await board.ask(f"/{name}", headers=())
            assert answer.status == 200
            assert answer.headers[b"content-security-policy"] == POLICY.encode()
            assert b"unsafe" not in answer.headers[b"content-security-policy"]
            again = await board.ask(
                f"/{name}", headers=[(b"if-none-match", answer.headers[b"etag"])]
            )
            assert (again.status, again.body) == (304, b"")
            assert (await board.ask(f"/{name}", {}, method="POST")).status == 405
        for path in ("/nothing", "/api", "/live/", "/index", "/../settings.py", "//", "/session/x"):
            assert (await board.ask(path)).status == 404
        assert (await board.ask("/api/nothing")).status == 404
        assert (await board.ask("/api/agents/echo")).status == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [("/session", None), ("/live", None), ("/api/drain", {}), ("/api/status", None)],
)
async def test_other_sites_pages_get_nothing(path: str, body: Any) -> None:
    async with open_board() as board:
        foreign = (b"origin", b"http://evil.example")
        own = (b"origin", board.url.encode())
        assert (await board.ask(path, body, headers=())).status == 403
        assert (await board.ask(path, body, headers=(OWN, foreign))).status == 403
        assert (await board.ask(path, body, headers=(OWN, (b"origin", b"null")))).status == 403
        crossing = (b"sec-fetch-site", b"cross-site")
        assert (await board.ask(path, body, headers=(OWN, crossing))).status == 403
        asked_first = await board.ask(path, method="OPTIONS", headers=(foreign,))
        assert asked_first.status == 403
        assert b"access-control-allow-origin" not in asked_first.headers
        assert not board.flow.draining.is_set()
        if path == "/live":
            async with board.live(own):
                pass
        else:
            assert (await board.ask(path, body, headers=(OWN, own))).status == 200


async def test_another_name_than_its_own_is_refused() -> None:
    async with open_board() as board:
        port = int(board.url.rpartition(":")[2])
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(
            b"GET /session HTTP/1.1\r\nHost: evil.example\r\nx-flow-dashboard: 1\r\n\r\n"
        )
        assert b" 421 " in await stream.receive_some(1000)
        await stream.aclose()


async def test_the_stream_tells_all_and_then_what_changes() -> None:
    async with open_board() as board, board.live() as live:
        first = await live.next("agents")
        assert {one["key"] for one in first["rows"]} >= {"echo", "flow"}
        said = json.loads((await board.ask("/api/agents/echo")).body)
        (echo,) = [one for one in first["rows"] if one["key"] == "echo"]
        shared = echo.keys() & said.keys() - {"since"}
        assert {name: echo[name] for name in shared} == {name: said[name] for name in shared}
        await board.flow.call("echo.echo", {"text": "x"})
        news = await live.next("agents")
        assert [(one["key"], one["calls"]) for one in news["rows"]] == [("echo", 1)]
        board.flow.agent("echo").pause()
        while news["rows"][0]["state"] != "paused":
            news = await live.next("agents")
        assert [one["key"] for one in news["rows"]] == ["echo"]
        async with board.live() as second:  # who comes later is told all, too
            rows = {one["key"]: one for one in (await second.next("agents"))["rows"]}
            assert rows["echo"]["state"] == "paused"
            (line,) = [
                one for one in (await second.next("happened"))["lines"] if one["new"] == "paused"
            ]
            assert line["about"] == "echo"


async def test_requests_are_told_as_they_begin_and_end() -> None:
    async with open_board() as board, board.live() as live:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(board.flow.call, "echo.wait", {"seconds": 0.5})
            running: list[Any] = []
            while not running:
                running = (await live.next("requests"))["running"]
            assert (running[0]["name"], running[0]["state"]) == ("wait", "running")
            ended: list[Any] = []
            while not ended:
                ended = (await live.next("requests"))["ended"]
            assert [one["id"] for one in ended] == [running[0]["id"]]
            assert ended[0]["state"] == "result"


async def test_nothing_is_looked_at_while_nobody_watches() -> None:
    async with open_board() as board:
        looked = 0
        real = board.flow.overview

        def counted() -> dict[str, Any]:
            nonlocal looked
            looked += 1
            return real()

        board.flow.overview = counted  # type: ignore[method-assign]
        async with board.live() as live:
            await live.next("node")
            await live.next("node")
        assert looked >= 2
        while json.loads((await board.ask("/session")).body)["streams"]["open"]:
            await trio.lowlevel.checkpoint()
        with trio.move_on_after(0.35):  # one more look may be under way
            await trio.sleep_forever()
        before = looked
        with trio.move_on_after(0.5):
            await trio.sleep_forever()
        assert looked == before


async def test_more_browsers_than_may_watch_are_told_so() -> None:
    async with open_board(config(streams=2)) as board:
        async with board.live(), board.live():
            answer = await board.ask("/live")
            assert answer.status == 429
            assert "2 browsers watch already" in json.loads(answer.body)["error"]["message"]
            assert answer.headers[b"retry-after"] == b"5"
            counts = json.loads((await board.ask("/session")).body)["streams"]
            assert (counts["open"], counts["refused"]) == (2, 1)
        while json.loads((await board.ask("/session")).body)["streams"]["open"]:
            await trio.lowlevel.checkpoint()
        async with board.live() as live:
            assert await live.next("node")


async def test_a_browser_that_never_reads_is_let_go_and_others_see_on() -> None:
    made = config(queue=4)
    # each look tells of a row that has changed, and is large
    made["agent"]["echo"] = {**AGENTS, "description": "x" * 60_000}
    async with open_board(made) as board, board.live() as reading:
        port = int(board.url.rpartition(":")[2])
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", port))
        deaf.sendall(b"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\nx-flow-dashboard: 1\r\n\r\n")
        with deaf:
            dropped = 0
            while not dropped:
                await board.flow.call("echo.echo", {"text": "x"})
                assert await reading.next("agents")
                counts = json.loads((await board.ask("/session")).body)["streams"]
                dropped = counts["dropped"]
            while json.loads((await board.ask("/session")).body)["streams"]["open"] > 1:
                await trio.lowlevel.checkpoint()
        await board.flow.call("echo.echo", {"text": "x"})
        assert await reading.next("agents")


async def test_who_asks_is_asked_and_sees_what_they_may() -> None:
    made = config(auth=["badges"], guards=["shelf"])
    made["plugins"] = {"files": [doorkeeper.__file__]}
    made["auth"] = {"badges": {"type": "badge"}}
    made["guard"] = {"shelf": {"type": "shelf", "closed": ["tasks", "drain", "agents.restart"]}}
    async with open_board(made) as board:

        def badge(scopes: str) -> tuple[bytes, bytes]:
            return b"authorization", f"Bearer ann:{scopes}@{board.url}/".encode()

        for path in ("/session", "/live", "/api/status"):
            answer = await board.ask(path)
            assert answer.status == 401
            assert answer.headers[b"www-authenticate"] == b"Bearer"
        less = json.loads((await board.ask("/session", headers=(OWN, badge("")))).body)
        more = json.loads((await board.ask("/session", headers=(OWN, badge("closed:use")))).body)
        assert less["principal"] == {"name": "ann", "scheme": "badge"}
        assert set(more["may"]) - set(less["may"]) == {"tasks", "drain", "agents.restart"}
        for path in ("/api/drain", "/api/agents/echo/restart"):
            assert (await board.ask(path, {}, headers=(OWN, badge("")))).status == 403
        async with board.live(badge("")) as live:
            await board.flow.call("echo.echo", {"text": "x"})
            await live.next("node")
            await live.next("node")
            assert "requests" not in [name for name, _ in live.events]


async def test_who_may_not_watch_any_more_is_let_go() -> None:
    made = config(auth=["badges"], recheck="1s")
    made["plugins"] = {"files": [doorkeeper.__file__]}
    made["auth"] = {"badges": {"type": "badge"}}
    made["storage"] = {"type": "memory"}
    made["state"] = {}
    async with open_board(made) as board:
        badge = (b"authorization", f"Bearer ann:@{board.url}/".encode())
        async with board.live(badge) as live:
            assert await live.next("node")
            await board.flow.revoke(["badge:principal:ann"])
            while await live.next("node") is not None:
                pass
        assert (await board.ask("/live", headers=(OWN, badge))).status == 401


async def test_a_drain_refuses_new_work_and_says_so() -> None:
    async with open_board() as board:
        answer = await board.ask("/api/drain", {})
        assert json.loads(answer.body) == {"draining": True, "running": 0}
        assert board.flow.retired.is_set()
        refused = await board.ask("/api/call", {"tool": "echo.echo", "arguments": {"text": "x"}})
        assert refused.status == 503
        assert not board.flow.ready


async def test_the_swarm_is_told_with_all_its_links(tmp_path: Any) -> None:
    names = ("alpha", "beta", "gamma", "delta")
    async with nodes(tmp_path, *names, topology="star") as flows:
        with trio.fail_after(20):
            while len(flows["delta"].swarm.overlay.drawn()) != 3:
                await trio.lowlevel.checkpoint()
        graph = flows["delta"].status()["swarm"]["graph"]
        assert len({hub for pair in graph for hub in pair}) == 4
        assert all(one < other for one, other in graph)
        hubs = set.intersection(*(set(pair) for pair in graph))
        assert len(hubs) == 1


@pytest.mark.long
@pytest.mark.parametrize(
    ("edge", "path", "room"), [("dashboard", "/live", 32), ("api", "/events?activity=1", 100)]
)
def test_ten_thousand_that_want_to_watch_are_told_and_nothing_else_waits(
    tmp_path: pathlib.Path, edge: str, path: str, room: int
) -> None:
    """All at once, none of them reading; meanwhile a call by the api edge is answered as ever."""
    wanted = 10_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, wanted + 500), hard))
    config_ = tmp_path / "flow.toml"
    config_.write_text(
        f'[agent.echo]\ntype = "python"\ntarget = "{ROOT}/tests/support/agents.py"\n'
        '[edge.dashboard]\ntype = "dashboard"\n[edge.api]\ntype = "api"\n'
    )
    ask = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nx-flow-dashboard: 1\r\n\r\n".encode()
    crowd: list[socket.socket] = []
    try:
        with serving(config_, *free_ports("dashboard", "api")) as node:
            (line,) = [one for one in node.said if one.split()[:1] == [edge]]
            port = int(line.rstrip("/").rpartition(":")[2])
            for number in range(wanted):
                one = socket.create_connection(("127.0.0.1", port), 20)
                crowd.append(one)
                with contextlib.suppress(ConnectionError):  # it was turned away already
                    one.sendall(ask)
                if number % 1000 == 0:
                    assert node.ctl("call", "echo.echo", "text=x").stdout == "x\n"
            told: Counter[bytes] = Counter()
            for one in crowd:
                with contextlib.suppress(ConnectionError):
                    told[one.recv(12)[9:12]] += 1
            assert told[b"200"] == room
            assert told.keys() <= {b"200", b"429", b"503", b""}
            assert node.ctl("call", "echo.echo", "text=x").stdout == "x\n"
            memory = pathlib.Path(f"/proc/{node.process.pid}/status").read_text()
            resident = int(memory.partition("VmRSS:")[2].split()[0])
            assert resident < 200_000  # kB, of which an idle node has 60,000
    finally:
        for one in crowd:
            one.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
