"""Agents of type `mcp` in a whole flow: they fail alone, say why, and come back."""

from __future__ import annotations

import contextlib
import pathlib
from typing import Any

import pytest

import flowcore
from flowcore import ConfigError
from flowcore.agents import CatalogChanged, State
from flowcore.errors import AgentUnavailable, CallError, OutcomeUnknown, UnknownTarget
from support.upstreaming import liar, stdio_server
from support.upstreams.http_server import HttpUpstream, serving


def up(*options: str, **more: Any) -> dict[str, Any]:
    return {"type": "mcp", "command": list(stdio_server(*options)), **more}


async def test_a_crash_is_met_with_a_restart_and_disturbs_no_other() -> None:
    agents = {"one": up(), "two": up("--era", "modern")}
    async with flowcore.open_flow({"agent": agents}) as flow:
        await flow.wait_settled()
        with pytest.raises(OutcomeUnknown):
            await flow.call("one.crash")
        assert (await flow.call("two.echo", {"text": "untouched"})).text == "untouched"
        assert (await flow.call("one.echo", {"text": "back"}, deadline=20)).text == "back"
        assert any("about to crash" in line for line in flow.agent("one").status()["stderr"])


async def test_what_cannot_start_is_failed_with_its_reason_and_last_words() -> None:
    agents = {
        "gone": {"type": "mcp", "command": list(liar("Gone"))},
        "missing": {"type": "mcp", "command": ["no-such-program-anywhere"]},
        "fine": up(),
    }
    async with flowcore.open_flow({"agent": agents}) as flow:
        await flow.wait_settled()
        gone = flow.agent("gone").status()
        assert gone["state"] == "failed"
        assert "exited with code 7" in gone["reason"]
        assert gone["stderr"] == ["gone/1: no configuration found"]
        assert "was not found" in flow.agent("missing").reason
        assert (await flow.call("fine.echo", {"text": "x"})).text == "x"
        with pytest.raises((AgentUnavailable, UnknownTarget)):
            await flow.call("gone.lie")


async def test_an_upstream_that_never_answers_is_failed_in_time() -> None:
    pool = {"start_timeout": "200ms"}
    agent = {"type": "mcp", "command": list(liar("Mute")), "probe_timeout": "20ms", "pool": pool}
    async with flowcore.open_flow({"agent": {"mute": agent}}) as flow:
        await flow.wait_settled()
        assert flow.agent("mute").state is State.FAILED
        assert "not ready within 0.2 s" in flow.agent("mute").reason


async def test_an_upstream_that_hangs_is_noticed_and_replaced() -> None:
    heartbeat = {"interval": "200ms", "misses": 2}
    agent = {"type": "mcp", "command": list(liar("Hanging")), "heartbeat": heartbeat}
    async with flowcore.open_flow({"agent": {"hang": agent}}) as flow:
        await flow.wait_settled()
        assert (await flow.call("hang.lie")).text == "truth"
        answered = False
        while not answered:
            with contextlib.suppress(CallError):
                answered = (await flow.call("hang.lie", deadline=0.5)).text == "truth"


async def test_changed_lists_are_events_of_the_flow() -> None:
    async with flowcore.open_flow({"agent": {"one": up()}}) as flow:
        await flow.wait_settled()
        async with flow.events() as events:
            await flow.call("one.grow")
            async for event in events:
                if isinstance(event, CatalogChanged):
                    assert event.tools
                    assert not event.resources
                    break
        assert any(entry.name == "one.new-20" for entry in flow.directory.listing("tools").entries)


async def test_an_upstream_over_http_is_an_agent_like_any_other() -> None:
    server = HttpUpstream(modern=True)
    async with serving(server):
        agent = {"type": "mcp", "url": server.url}
        async with flowcore.open_flow({"agent": {"web": agent}}) as flow:
            await flow.wait_settled()
            assert (await flow.call("web.echo", {"text": "x"})).text == "x"
            assert (await flow.read_resource("file:///a")).raw


async def test_a_secret_reaches_the_program_and_no_other_eye(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UP_TOKEN", "canary-4711")
    agent = up(env={"TOKEN": {"env": "UP_TOKEN"}}, cwd=str(tmp_path))
    async with flowcore.open_flow({"agent": {"one": agent}}) as flow:
        await flow.wait_settled()
        assert "canary" not in repr(flow.config)
        assert "canary" not in repr(flow.status())


WRONG = [
    ({}, "expected `command`, `url` or both"),
    ({"command": ["x"], "headers": {"X-A": "b"}}, "expected `headers` only beside `url`"),
    ({"url": "http://h/", "env": {"A": "b"}}, "expected `env` and `cwd` only beside `command`"),
    ({"url": "ftp://h/"}, "expected an absolute http or https URL"),
    ({"url": "http://u:p@h/"}, "expected a URL without user and password"),
    ({"url": "http://h/", "headers": {"a b": "c"}}, "expected the name of a header, not 'a b'"),
    ({"url": "http://h/", "headers": {"Host": "c"}}, "'Host' is written by the protocol itself"),
    ({"url": "http://h/", "headers": {"Mcp-Param-X": "c"}}, "written by the protocol itself"),
    ({"url": "http://h/", "headers": {"Authorization": "Bearer x"}}, "'Authorization' as a secret"),
    ({"url": "http://h/", "headers": {"X-A": "grüße"}}, "expected visible ASCII as the value"),
    ({"command": ["x"], "roots": ["/srv"]}, "expected roots as file:// URIs, not '/srv'"),
    ({"command": ["x"], "protocol": "2020-01-01"}, "unknown value '2020-01-01'"),
    ({"command": ["x"], "questions": ["secrets"]}, "unknown value 'secrets'"),
]


@pytest.mark.parametrize(("settings", "says"), WRONG, ids=range(len(WRONG)))
async def test_wrong_settings_are_told_before_anything_starts(
    settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        async with flowcore.open_flow({"agent": {"one": {"type": "mcp", **settings}}}):
            raise AssertionError("it was opened")
    assert says in str(caught.value)
