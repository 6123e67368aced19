"""`POST /call`: what is no call is refused, with what was expected."""

from __future__ import annotations

import json

import pytest

from flowcore import open_flow
from flowcore.http import open_client
from support.node import ROOT

CONFIG = {
    "agent": {"it": {"type": "python", "target": f"{ROOT}/tests/support/agents.py"}},
    "edge": {"api": {"type": "api", "bind": "127.0.0.1:0"}},
}
WRONG = (
    (b"", "missing required field `tool`"),
    (b"[]", "Expected `object`"),
    (b'{"tool": "it.echo"', "truncated"),
    (b'{"tool": 1}', "Expected `str`"),
    (b'{"tool": "it.echo", "arguments": []}', "at `$.arguments`"),
    (b'{"tool": "it.echo", "arguments": "{"}', "at `$.arguments`"),
    (b'{"tool": "it.echo", "arguments": null}', "at `$.arguments`"),
    (b'{"tool": "it.echo", "arguments": {"text": "x"', "truncated"),
    (b'{"tool": "it.echo", "arguments": {"text": x}}', "invalid"),
    (b'{"tool": "it.echo", "argument": {}}', "unknown field `argument`"),
    (b'{"tool": "it.echo", "deadline": -1}', "more than 0 seconds"),
    (b'{"tool": "it.echo", "priority": "urgent"}', "Invalid enum value 'urgent'"),
)


async def ask(body: bytes) -> tuple[int, dict[str, object]]:
    async with open_flow(CONFIG) as flow, open_client() as client:
        await flow.wait_settled()
        (url,) = flow.endpoints["api"]
        headers = [(b"content-type", b"application/json")]
        answer = await client.request("POST", f"{url}/call", headers=headers, body=body)
        return answer.status, json.loads(answer.body)


@pytest.mark.parametrize(("body", "why"), WRONG)
async def test_what_is_no_call_is_refused(body: bytes, why: str) -> None:
    status, told = await ask(body)
    assert status == 400
    assert why in json.dumps(told)


@pytest.mark.parametrize("arguments", ['{"text": "x"}', ' \n { "text" : "x" } '])
async def test_what_is_one_is_done(arguments: str) -> None:
    status, told = await ask(f'{{"tool": "it.echo", "arguments": {arguments}}}'.encode())
    assert status == 200
    assert told["result"]["content"][0]["text"] == "x"  # type: ignore[index]
