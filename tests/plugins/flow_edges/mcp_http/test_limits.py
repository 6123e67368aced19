"""Whoever is over a limit, at the MCP edge: refused whatever it asks, and before that costs much."""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from flowcore import Flow, open_flow
from flowcore.http import open_client
from flowcore.secrets import STATIC_PREFIX
from support.mcp_client import Answer, Raw

RATES = {"type": "rate_limit", "principal": {"rate": 0.001, "burst": 5}}
OVERLOADED = -31050


class Ann(Raw):
    """A client with a token."""

    async def post(
        self, body: bytes | object, headers: Mapping[str, str] | None = None, method: str = "POST"
    ) -> Answer:
        token = {"Authorization": f"Bearer {STATIC_PREFIX}ann"}
        return await super().post(body, {**token, **(headers or {})}, method)


@asynccontextmanager
async def limited(
    *guards: str, rates: Mapping[str, Any] = RATES, folder: pathlib.Path | None = None
) -> AsyncGenerator[tuple[Flow, Ann]]:
    """A flow whose MCP edge has these guards."""
    known: dict[str, Any] = {"rates": dict(rates)}
    if "log" in guards:
        known["log"] = {"type": "audit", "file": f"{folder}/audit.jsonl"}
    digest = hashlib.sha256(f"{STATIC_PREFIX}ann".encode()).hexdigest()
    config: dict[str, Any] = {
        "auth": {"people": {"type": "token", "tokens": [{"name": "ann", "sha256": digest}]}},
        "guard": known,
        "agent": {
            "talk": {
                "type": "python",
                "target": "support.talkative:Talkative",
                "names": "bare",
                "pool": {"min": 1, "max": 1, "concurrency": 10},
            }
        },
        "edge": {
            "mcp": {
                "type": "mcp",
                "bind": "127.0.0.1:0",
                "auth": ["people"],
                "guards": list(guards),
            }
        },
    }
    async with open_flow(config) as flow, open_client() as client:
        await flow.wait_settled()
        yield flow, Ann(flow.endpoints["mcp"][0], client)


def is_refused(answer: Answer) -> bool:
    if answer.status != 429:
        return False
    assert int(answer.headers[b"retry-after"]) >= 1
    assert answer.error["code"] == OVERLOADED
    assert answer.error["data"]["limit"] == "principal"
    assert answer.error["data"]["retryAfter"] > 0
    return True


@pytest.mark.parametrize(
    "method",
    ["tools/list", "resources/list", "resources/templates/list", "prompts/list", "server/discover"],
)
async def test_what_the_edge_answers_itself_counts_too(method: str) -> None:
    async with limited("rates") as (flow, ann):
        statuses = [(await ann.ask(method)).status for _ in range(8)]
        assert statuses == [200] * 5 + [429] * 3
        assert flow.status()["guards"]["rates"]["refused"]["principal"] == 3


async def test_a_handshake_and_pings_count_too() -> None:
    async with limited("rates") as (_, ann):
        assert (await ann.initialize()).status == 200
        statuses = [(await ann.ask_old("ping")).status for _ in range(6)]
        assert statuses == [200] * 4 + [429] * 2
        assert is_refused(await ann.post(ann.old("initialize", {})))
        assert is_refused(await ann.ask_old("no/such/method"))


async def test_a_completion_counts_once() -> None:
    async with limited("rates") as (flow, ann):
        params = {
            "ref": {"type": "ref/prompt", "name": "no-such-prompt"},
            "argument": {"name": "x", "value": "y"},
        }
        await ann.ask("completion/complete", params)
        assert flow.status()["guards"]["rates"]["allowed"] <= 1


async def test_what_is_over_the_limit_is_refused_before_it_is_looked_at() -> None:
    async with limited("rates") as (flow, ann):
        for _ in range(5):
            assert (await ann.call("echo", {"text": "x"})).text == "x"
        before = flow.requests.statistics().accepted
        assert is_refused(await ann.call("echo", {"text": "x"}))
        assert is_refused(await ann.call("no-such-tool"))
        assert is_refused(await ann.ask("no/such/method"))
        body, headers = ann.modern("tools/call", {"name": "echo", "arguments": {}})
        refused = await ann.post(body, {**headers, "Mcp-Name": "another"})
        assert is_refused(refused)
        assert refused.messages[0]["id"] == body["id"]
        assert flow.requests.statistics().accepted == before


async def test_a_long_body_of_who_is_over_the_limit_is_not_read() -> None:
    async with limited("rates") as (_, ann):
        long = msgspec.json.encode(ann.modern("tools/list")[0]) + b" " * 70_000
        headers = ann.modern("tools/list")[1]
        for _ in range(5):
            assert (await ann.post(long, headers)).status == 200
        assert is_refused(await ann.post(b"[" * 1_000_000, headers))
        assert (await ann.post(b"[" * 1000, headers)).status == 400


async def test_answers_and_cancellations_are_taken_from_who_is_over_the_limit() -> None:
    """Else it could not end what it has under way."""
    async with limited("rates") as (_, ann):
        await ann.initialize()
        while not is_refused(await ann.ask_old("ping")):
            pass
        cancel = {
            "jsonrpc": "2.0",
            "method": "notifications/cancelled",
            "params": {"requestId": 99},
        }
        assert (await ann.post(cancel, ann.headers())).status == 202


async def test_a_guard_that_sees_all_is_asked_first_and_each_refusal_is_written_down(
    tmp_path: pathlib.Path,
) -> None:
    async with limited("log", "rates", folder=tmp_path) as (_, ann):
        for _ in range(5):
            await ann.call("echo", {"text": "x"})
        for _ in range(3):
            assert is_refused(await ann.call("echo", {"text": "x"}))
    lines = [
        msgspec.json.decode(one) for one in (tmp_path / "audit.jsonl").read_bytes().splitlines()
    ]
    calls = [one for one in lines if one["what"] == "call"]
    assert [one["outcome"] for one in calls] == ["result"] * 5 + ["refused"] * 3
    assert {(one["principal"], one["agent"], one["name"]) for one in calls} == {
        ("ann", "talk", "echo")
    }
    assert len({one["arguments"] for one in calls}) == 1


async def test_all_principals_together_are_bounded_too() -> None:
    rates = {"type": "rate_limit", "total": {"rate": 0.001, "burst": 3}}
    async with limited("rates", rates=rates) as (_, ann):
        statuses = [(await ann.ask("tools/list")).status for _ in range(2)]
        statuses += [(await ann.call("echo", {"text": "x"})).status for _ in range(3)]
        assert statuses == [200, 200, 200, 429, 429]
