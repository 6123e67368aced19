"""A disk without room: the router and its index say that they cannot write, and when they can again."""

from __future__ import annotations

import errno
import http.client
import json
import logging
import pathlib
from collections.abc import Generator, Iterator
from typing import Any

import pytest
import trio

from flowcore import Flow, open_flow
from support.small_disk import mounted


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(params=["router.index", "router"])
def small(tmp_path: pathlib.Path, request: pytest.FixtureRequest) -> Generator[pathlib.Path]:
    """The folder of a component, as a file system of 1 MiB."""
    folder: pathlib.Path = tmp_path / "data" / request.param
    with mounted(folder, "1m"):
        yield folder


def fill(path: pathlib.Path) -> None:
    """Write until there is no room."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 512)
        except OSError as error:
            assert error.errno == errno.ENOSPC


def asked(url: str, path: str) -> tuple[int, dict[str, Any]]:
    """What the api edge answers."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


async def told(flow: Flow, name: str, status: str) -> dict[str, Any]:
    """What `/readyz` says of a component, as soon as that is how it is."""
    (url,) = flow.endpoints["api"]
    with trio.fail_after(60):
        while True:
            code, one = await trio.to_thread.run_sync(asked, url, f"/readyz/{name}")
            if one["status"] == status:
                assert code == 200, "what is degraded still works"
                return one
            await trio.sleep(0.01)


async def test_a_full_disk_is_told_and_that_there_is_room_again(
    tmp_path: pathlib.Path, small: pathlib.Path
) -> None:
    config = {
        "node": {"data_dir": str(tmp_path / "data"), "seed": 7},
        "router": {"save": "50ms", "index": "exact"},
        "edge": {"api": {"type": "api", "bind": "127.0.0.1:0"}},
    }
    ballast = small / "ballast"
    async with open_flow(config) as flow:
        await told(flow, small.name, "ok")
        fill(ballast)
        for number in range(20):
            arguments = {"text": f"entry {number} of the ledger", "key": f"e{number}"}
            await flow.call("memory.put", arguments)
        one = await told(flow, small.name, "degraded")
        assert "cannot be saved: No space left on device" in one["reason"]
        (url,) = flow.endpoints["api"]
        code, node = await trio.to_thread.run_sync(asked, url, "/readyz")
        assert (code, node["ready"]) == (200, True)
        assert small.name in [unwell["component"] for unwell in node["unwell"]]
        found = await flow.call("memory.search", {"query": "entry 7 of the ledger"})
        assert found.structured["found"][0]["key"] == "e7", "all is in memory"
        ballast.unlink()
        one = await told(flow, small.name, "ok")
        assert one["reason"] == ""
    async with open_flow(config) as flow:
        found = await flow.call("memory.search", {"query": "entry 7 of the ledger"})
        assert found.structured["found"][0]["key"] == "e7"
