"""The guide for plugin authors: each file on the page is written out as it stands, and runs."""

from __future__ import annotations

import pathlib
import re
import urllib.error
import urllib.request
from functools import partial
from typing import Any

import pytest
import trio

from flowcore import open_flow
from flowcore.assembly import Status
from flowcore.errors import PermissionDenied
from flowcore.flow import Flow
from support.node import ROOT

PAGE = (ROOT / "docs" / "plugins.md").read_text()


@pytest.fixture
def config(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The folder that a reader of the page ends up with."""
    for name, text in re.findall(r"```python\n# (\w+\.py): .*\n((?:.*\n)*?)```", PAGE):
        (tmp_path / name).write_text(text)
    tables = re.findall(r"```toml\n# flow\.toml\n((?:.*\n)*?)```", PAGE)
    path = tmp_path / "flow.toml"
    path.write_text("\n".join(tables))
    monkeypatch.setenv("FLOW_KEY", "a shared key")
    return path


def status_of(url: str, **headers: str) -> int:
    request = urllib.request.Request(f"{url}/status", headers={"X-Key": "", **headers})
    if not headers:
        request.remove_header("X-key")
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


async def wait_for_answer(flow: Flow) -> None:
    """Until the edge that calls by the clock has had an answer."""
    async with flow.events() as events:
        while not any(one.principal == "clock" for one in flow.requests.tracker.entries()):
            await events.receive()


async def test_every_file_of_the_guide_works(config: pathlib.Path) -> None:
    async with open_flow(config, overrides=["edge.api.bind=127.0.0.1:0"]) as flow:
        assert flow.plugins.registry.broken == []
        assert (await flow.call("crier.shout", {"text": "hear"})).text == "HEAR!!!"
        assert (
            type(flow.plan.find("agent.second.balancer").selection.config).__name__
            == "FullestConfig"
        )
        with pytest.raises(PermissionDenied, match=r"second\.shout may not be called now"):
            await flow.call("second.shout", {"text": "x"})
        assert str(flow.router.embedder.identity) == "letters 1.500 (64 dimensions)"
        stored = await flow.memory.put("notes", "letters say little")
        assert [one.key for one, _ in await flow.memory.search("notes", "letters")] == [stored.key]
        await wait_for_answer(flow)
        statuses = {one.component: one.status for one in flow.components()}
        assert statuses["edge.clock"] is Status.OK
        assert flow.endpoints["clock"] == ("crier.shout every 0.05 s",)
        assert "counts" in flow.telemetry.exporters
        (url,) = flow.endpoints["api"]
        ask = partial(trio.to_thread.run_sync, partial(status_of, url))
        assert await ask() == 401
        assert await trio.to_thread.run_sync(lambda: status_of(url, **{"X-Key": "wrong"})) == 401
        assert (
            await trio.to_thread.run_sync(lambda: status_of(url, **{"X-Key": "a shared key"}))
            == 200
        )


def its_tests() -> list[str]:
    return re.findall(r"^async def (test_\w+)\(\) -> None:", PAGE, re.MULTILINE)


@pytest.mark.parametrize("name", its_tests())
async def test_the_tests_that_the_guide_writes_pass(config: pathlib.Path, name: str) -> None:
    space: dict[str, Any] = {"__file__": str(config.parent / "test_plugins.py")}
    exec(compile((config.parent / "test_plugins.py").read_text(), "test_plugins.py", "exec"), space)
    await space[name]()


def test_the_guide_names_every_kind_and_hook() -> None:
    from flowcore.assembly.kinds import KINDS

    for kind in KINDS:
        assert f"| `{kind}` |" in PAGE
    assert "### `flow_register(registry)`" in PAGE
