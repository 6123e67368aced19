"""Who may operate the hard state over the api edge, and what is written down of it."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import trio

from flowcore import open_flow
from flowcore.http import open_client
from support import doorkeeper


async def test_members_are_changed_by_who_may_and_the_audit_log_says_whom(
    tmp_path: pathlib.Path,
) -> None:
    log = tmp_path / "audit.jsonl"
    config: dict[str, Any] = {
        "node": {"data_dir": str(tmp_path / "data")},
        "plugins": {"files": [doorkeeper.__file__]},
        "consensus": {"type": "raft"},
        "auth": {"badges": {"type": "badge"}},
        "guard": {
            "shelf": {"type": "shelf", "closed": ["members.add", "snapshot", "log"]},
            "audit": {"type": "audit", "file": str(log)},
        },
        "edge": {
            "api": {
                "type": "api",
                "bind": "127.0.0.1:0",
                "auth": ["badges"],
                "guards": ["audit", "shelf"],
            }
        },
    }
    async with open_flow(config) as flow, open_client() as client:
        url = flow.endpoints["api"][0]

        async def ask(badge: str, path: str, body: Any = None) -> int:
            headers = [
                (b"content-type", b"application/json"),
                (b"authorization", f"Bearer {badge}@{url}/".encode()),
            ]
            data = b"" if body is None else json.dumps(body).encode()
            method = "GET" if body is None else "POST"
            answer = await client.request(method, url + path, headers=headers, body=data)
            return answer.status

        assert await ask("ann:", "/state") == 200
        for path in ("/members/add", "/snapshot", "/log"):
            assert await ask("ann:", path, {"nodes": ["beta"]} if "add" in path else {}) == 403
        assert await ask("bob:closed:use", "/log", {}) == 200
        several = {"nodes": ["beta", "gamma"]}
        assert await ask("bob:closed:use", "/members/add", several) == 400  # nobody knows them
        assert await ask("bob:closed:use", "/members/add", {**several, "force": True}) == 200
        wrong: tuple[Any, ...] = (
            {},
            {"nodes": []},
            {"nodes": ["x"], "remove": ["y"]},
            {"nodes": 1},
            {"nodes": ["beta"], "force": "yes"},
        )
        for body in wrong:
            assert await ask("bob:closed:use", "/members/add", body) == 400
        assert await ask("bob:closed:use", "/members/banish", {"nodes": ["beta"]}) == 404
        assert flow.status()["state"]["consensus"]["learners"] == ["beta", "gamma"]
    text = await trio.Path(log).read_text()
    said = [line for line in text.splitlines() if "members.add" in line]
    assert len([one for one in said if "ann" in one]) == 1
    assert [one for one in said if "bob" in one and "beta gamma" in one], said
