"""Texts of megabytes: refused before anybody reads them, and what is read of them is read in a thread."""

from __future__ import annotations

import http.client
import json
import logging
import pathlib
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import trio

from flow_edges.api import work
from flow_edges.api.answers import read_body
from flow_edges.mcp import endpoint
from flowcore import open_flow
from flowcore.errors import TooLarge
from flowcore.flow.builtin import arguments_taken
from flowcore.mcp import decode
from flowcore.routing import MemorySettings

HUGE = 15 * 2**20
TEXTS = {"letters": "a word " * (HUGE // 7), "wide": "ä€ " * (HUGE // 6)}
TOLD = ("flow.find_tools", "flow.route", "flow.ask", "flow.feedback", "memory.put", "memory.search")


def configured(folder: pathlib.Path) -> dict[str, Any]:
    return {
        "node": {"data_dir": str(folder / "data"), "seed": 7},
        "router": {},
        "edge": {
            "api": {"type": "api", "bind": "127.0.0.1:0"},
            "mcp": {"type": "mcp", "bind": "127.0.0.1:0"},
        },
    }


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


def arguments(tool: str, text: str) -> dict[str, Any]:
    name = "query" if tool in ("flow.find_tools", "memory.search") else "text"
    return {name: text, **({"expert": "a.b"} if tool == "flow.feedback" else {})}


def asked(url: str, body: Any) -> str:
    """What an edge answers to a body of JSON."""
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host)
    headers = {
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2025-11-25",
    }
    try:
        data = json.dumps(body, ensure_ascii=False).encode()
        connection.request("POST", f"/{path or 'call'}", data, headers)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("edge", ["mcp", "api"])
@pytest.mark.parametrize("kind", TEXTS)
async def test_they_are_refused_unread_at_both_edges(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, kind: str, edge: str
) -> None:
    readers: list[threading.Thread] = []

    def watched(read: Any) -> Any:
        def reading(data: Any, *more: Any, **how: Any) -> Any:
            if memoryview(data).nbytes >= HUGE:
                readers.append(threading.current_thread())
            return read(data, *more, **how)

        return reading

    monkeypatch.setattr(endpoint, "decode", watched(decode))
    monkeypatch.setattr(work, "read_body", watched(read_body))
    async with open_flow(configured(tmp_path)) as flow:
        await flow.wait_settled()
        for name in TOLD:
            call = {"name": name, "arguments": arguments(name, TEXTS[kind])}
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
            if edge == "api":
                body = {"tool": name, "arguments": call["arguments"]}
            said = await trio.to_thread.run_sync(asked, flow.endpoints[edge][0], body)
            assert f"the arguments of '{name.partition('.')[2]}' have" in said
            assert "more than the" in said
        assert len(readers) == len(TOLD)
        assert threading.main_thread() not in readers


@pytest.mark.parametrize("kind", TEXTS)
async def test_in_a_program_they_are_refused_before_they_are_looked_at(
    tmp_path: pathlib.Path, kind: str
) -> None:
    text = TEXTS[kind]
    async with open_flow(configured(tmp_path)) as flow:
        await flow.wait_settled()
        before = flow.router.embedder.status()["texts"]
        for refused in (
            lambda: flow.route(text),
            lambda: flow.find_tools(text),
            lambda: flow.ask(text),
            lambda: flow.router.teach(text, "a.b"),
            lambda: flow.memory.put("n", text),
            lambda: flow.memory.search("n", text),
        ):
            with pytest.raises(TooLarge, match="more than the"):
                await refused()
        assert flow.router.embedder.status()["texts"] == before


async def test_whatever_is_no_larger_than_it_may_be_is_taken_however_it_is_written(
    tmp_path: pathlib.Path,
) -> None:
    settings = MemorySettings()
    text = "\x01" * (settings.text - 2) + " a"
    written = msgspec.json.encode(
        {"text": text, "key": "k", "value": "\x01" * (settings.value // 6 - 1)}
    )
    assert settings.text * 6 < len(written) < arguments_taken(settings)
    async with open_flow(configured(tmp_path)) as flow:
        await flow.wait_settled()
        made = await flow.call("memory.put", msgspec.json.decode(written))
        assert made.structured["key"] == "k"
        got = (await flow.call("memory.get", {"key": "k"})).structured
        assert got["text"] == text
