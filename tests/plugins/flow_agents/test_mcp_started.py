"""A server that is started here and then spoken to over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from flow_agents.mcp.settings import McpSettings
from flowcore.errors import CallError, UpstreamFailure
from support.ports import free_port
from support.upstreaming import (
    UPSTREAMS,
    RecordingPort,
    failure,
    losing,
    open_mcp_source,
    opened,
    text,
    tool,
)


def started(*options: str) -> dict[str, Any]:
    """Settings of such a server on a free port."""
    port = free_port()
    command = ("python", str(UPSTREAMS / "http_program.py"), str(port), *options)
    return {"command": command, "url": f"http://127.0.0.1:{port}/mcp"}


async def test_it_is_waited_for_and_used_and_what_it_prints_is_kept() -> None:
    async with opened(**started()) as up:
        assert text(await up.call("echo", text="x")) == "x"
        await up.port.until(lambda: "serving" in up.port.lines)


async def test_its_end_is_the_end_of_the_worker() -> None:
    async with losing(**started("exit")) as up:
        with pytest.raises(CallError):
            while True:
                await up.call("echo")
        error = await up.lost()
        assert isinstance(error, UpstreamFailure)
        assert str(error) == "the upstream's process exited with code 4"


async def test_a_line_without_end_is_not_read() -> None:
    async with losing(**started("shout")) as up:
        await up.call("echo")
        assert "printed a line of more than 65,536 bytes" in str(await up.lost())


async def test_what_does_not_start_says_why() -> None:
    settings = started()
    port = RecordingPort()
    settings["command"] = ("python", "-c", "import sys; sys.exit('no such luck')")
    error = await failure(port, **settings)
    assert str(error) == "the upstream's process exited with code 1"
    assert port.lines == ["no such luck"]


PORTED: dict[str, Any] = {
    "command": ("python", str(UPSTREAMS / "http_program.py"), "{port}"),
    "url": "http://127.0.0.1:{port}/mcp",
}


async def test_each_worker_may_have_a_port_of_its_own() -> None:
    async with (
        open_mcp_source(**PORTED) as source,
        source.open_worker(RecordingPort()) as first,
        source.open_worker(RecordingPort()) as second,
    ):
        for worker in (first, second):
            assert text(await worker.call(tool("echo", text="x"))) == "x"


def test_a_port_in_the_url_must_be_given_to_the_command() -> None:
    with pytest.raises(ValueError, match=r"expected \{port\} in `command` or `env`"):
        McpSettings(command=("x",), url=PORTED["url"])
