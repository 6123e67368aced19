"""The api edge behind authentication: who may see and steer."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from flowcore import open_flow
from flowcore.http import Client, ClientResponse, open_client
from support import doorkeeper

ROUTES = [
    ("GET", "/status"),
    ("GET", "/agents"),
    ("GET", "/agents/talk"),
    ("POST", "/agents/talk/pause"),
    ("GET", "/state"),
    ("POST", "/members/add"),
    ("POST", "/log"),
    ("POST", "/snapshot"),
    ("GET", "/tasks"),
    ("GET", "/tools"),
    ("POST", "/call"),
]


class Api:
    def __init__(self, url: str, client: Client) -> None:
        self.url = url
        self._client = client

    async def ask(
        self, method: str, path: str, badge: str | None = None, body: Any = None
    ) -> ClientResponse:
        headers = [(b"content-type", b"application/json")]
        if badge is not None:
            headers.append((b"authorization", f"Bearer {badge}@{self.url}/".encode()))
        data = b"" if body is None else json.dumps(body).encode()
        return await self._client.request(method, self.url + path, headers=headers, body=data)


@asynccontextmanager
async def open_api(*closed: str) -> AsyncGenerator[Api]:
    config = {
        "plugins": {"files": [doorkeeper.__file__]},
        "auth": {"badges": {"type": "badge"}},
        "guard": {"shelf": {"type": "shelf", "closed": list(closed)}},
        "agent": {"talk": {"type": "python", "target": "support.talkative:Talkative"}},
        "edge": {
            "api": {
                "type": "api",
                "bind": "127.0.0.1:0",
                "auth": ["badges"],
                "guards": ["shelf"],
            }
        },
    }
    async with open_flow(config) as flow, open_client() as client:
        await flow.wait_settled()
        with trio.fail_after(60):
            yield Api(flow.endpoints["api"][0], client)


@pytest.mark.parametrize("path", ["{}", "{}/", "/{}", "{}?token=ann:@x"])
async def test_nothing_but_health_is_told_to_whom_nobody_knows(path: str) -> None:
    async with open_api() as api:
        for method, route in ROUTES:
            answer = await api.ask(method, path.format(route))
            assert answer.status in (401, 404)
            if answer.status == 401:
                assert answer.headers[b"www-authenticate"] == b"Bearer"
        assert (await api.ask("GET", "/livez")).status == 200
        ready = await api.ask("GET", "/readyz")
        assert json.loads(ready.body) == {"ready": True, "draining": False}


async def test_who_is_known_may_do_what_the_guards_let_pass() -> None:
    async with open_api("agents.pause", "echo") as api:
        assert (await api.ask("GET", "/status", "ann:")).status == 200
        assert (await api.ask("POST", "/agents/talk/pause", "ann:")).status == 403
        assert (await api.ask("POST", "/agents/talk/pause", "ann:closed:use")).status == 200
        assert (await api.ask("POST", "/agents/talk/resume", "ann:")).status == 200
        call = {"tool": "talk.echo", "arguments": {"text": "x"}}
        assert (await api.ask("POST", "/call", "ann:", call)).status == 403
        assert (await api.ask("POST", "/call", "ann:closed:use", call)).status == 200
        for badge, has in (("ann:", False), ("ann:closed:use", True)):
            tools = json.loads((await api.ask("GET", "/tools", badge)).body)["tools"]
            assert ("talk.echo" in [tool["name"] for tool in tools]) is has
