"""The official SDK's client against both edges, in both eras."""

from __future__ import annotations

import contextlib
import os
import pathlib
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest
import trio
from mcp.client.stdio import StdioServerParameters

import mcp
from mcp import types
from support.mcp_client import open_talkative
from support.needs import ROOT
from support.official import answer_name, answer_sample, use

pytestmark = [
    # the client's own HTTP library leaves async generators to the garbage collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning"),
]

Mode = Literal["auto", "legacy"]
VERSIONS: dict[Mode, str] = {"auto": "2026-07-28", "legacy": "2025-11-25"}

CONFIG = """
[agent.talk]
type = "python"
target = "support.talkative:Talkative"
names = "bare"
pool = { min = 1, max = 1, concurrency = 100 }
[edge.client]
type = "mcp_stdio"
"""


@asynccontextmanager
async def open_target(over: str, folder: pathlib.Path) -> AsyncGenerator[Any]:
    if over == "http":
        async with open_talkative() as (_, client):
            yield client.url
        return
    config = folder / "flow.toml"
    config.write_text(CONFIG)
    program = "from flowcore.cli.flowserve import main; main()"
    yield StdioServerParameters(
        command=sys.executable,
        args=["-c", program, "--config", str(config), "--log-level", "error"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
    )


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("over", ["http", "stdio"])
async def test_the_official_client_can_do_all_of_it(
    over: str, mode: Mode, tmp_path: pathlib.Path
) -> None:
    with trio.fail_after(60):
        async with open_target(over, tmp_path) as target:
            async with mcp.Client(
                target,
                mode=mode,
                elicitation_callback=answer_name,
                sampling_callback=answer_sample,
            ) as client:
                assert client.protocol_version == VERSIONS[mode]
                assert client.server_info is not None
                assert client.server_info.name == "flowcore"
                await use(client)


async def test_a_call_that_the_official_client_gives_up_is_cancelled() -> None:
    async with open_talkative() as (flow, raw):
        for mode in ("auto", "legacy"):
            async with mcp.Client(raw.url, mode=mode) as client:
                with trio.move_on_after(0.1):
                    await client.call_tool("hang", {})
            while flow.requests.tracker.running:
                await trio.lowlevel.checkpoint()
        assert flow.requests.statistics().cancelled == 2


class Cutter:
    """A way to a server that breaks once, after the first event that has a mark."""

    def __init__(self, port: int, mark: bytes) -> None:
        self._port = port
        self._mark = mark
        self.cuts = 0

    async def serve(self, client: trio.SocketStream) -> None:
        server = await trio.open_tcp_stream("127.0.0.1", self._port)
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(self._pass, client, server, nursery.cancel_scope)
            nursery.start_soon(self._pass, server, client, nursery.cancel_scope)

    async def _pass(
        self, here: trio.SocketStream, there: trio.SocketStream, scope: trio.CancelScope
    ) -> None:
        with contextlib.suppress(trio.BrokenResourceError):  # the other side went away first
            async for data in here:
                at = data.find(self._mark)
                if at >= 0 and not self.cuts:
                    self.cuts += 1
                    await there.send_all(data[: data.index(b"\n\n", at) + 2])
                    break
                await there.send_all(data)
        scope.cancel()


async def test_the_official_client_has_the_rest_of_a_stream_that_broke() -> None:
    replay = {"sessions": {"replay": {"retry": "10ms"}}}
    async with open_talkative(replay) as (flow, raw), trio.open_nursery() as nursery:
        cutter = Cutter(int(raw.url.rpartition(":")[2].partition("/")[0]), b'"progress":2,')
        listener = (await nursery.start(trio.serve_tcp, cutter.serve, 0))[0]
        port = listener.socket.getsockname()[1]
        async with mcp.Client(f"http://127.0.0.1:{port}/mcp", mode="legacy") as client:
            seen: list[float] = []

            async def progress(progress: float, total: float | None, message: str | None) -> None:
                seen.append(progress)

            result = await client.call_tool("steps", {"count": 5}, progress_callback=progress)
            assert isinstance(result.content[0], types.TextContent)
            assert result.content[0].text == "done"
            assert seen == [1, 2, 3, 4, 5]
            assert cutter.cuts == 1
            assert flow.requests.statistics().cancelled == 0
        nursery.cancel_scope.cancel()
