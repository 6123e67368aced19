"""Bad input over real sockets: each gets its specified error, never a 5xx, and disturbs nobody."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from flowcore.mcp import LARGE, encode_value
from support.mcp_client import CAPABILITIES, MODERN, VERSION, Raw, open_talkative

DEEP = 100_000
MODERN_HEADERS = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": "echo"}
META = {VERSION: MODERN, CAPABILITIES: {}}


def call(**changes: Any) -> dict[str, Any]:
    params = {"name": "echo", "arguments": {"text": "x"}, "_meta": META}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {**params, **changes}}


BODIES: list[tuple[bytes | object, int, int]] = [
    (b"", 400, -32700),
    (b"not json", 400, -32700),
    (b'{"jsonrpc":"2.0","id":1,"method":"tools/call"', 400, -32700),
    (b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":"\xff\xfe"}}', 400, -32700),
    (b"[" * DEEP + b"]" * DEEP, 400, -32600),
    (b'{"a":' * DEEP + b"1" + b"}" * DEEP, 400, -32700),
    (
        b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":%b%b}}' % (b"[" * 200, b"]" * 200),
        400,
        -32700,
    ),
    (b'{"jsonrpc":"2.0","id":%b,"method":"x"}' % (b"9" * DEEP), 400, -32600),
    ([call()], 400, -32600),
    ([], 400, -32600),
    ("text", 400, -32600),
    (17, 400, -32600),
    (None, 400, -32600),
    ({}, 400, -32600),
    ({"jsonrpc": "2.0", "id": None, "method": "x"}, 400, -32600),
    ({"jsonrpc": "1.0", "id": 1, "method": "x"}, 400, -32600),
    ({"jsonrpc": "2.0", "id": 1}, 400, -32600),
    ({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": []}, 400, -32602),
    ({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {}}, 400, -32602),
    (call(_meta=[]), 400, -32602),
    (call(_meta={VERSION: MODERN}), 400, -32602),
    (call(_meta={CAPABILITIES: {}}), 400, -32602),
    (call(_meta={VERSION: 5, CAPABILITIES: {}}), 400, -32602),
    (call(_meta={VERSION: MODERN, CAPABILITIES: []}), 400, -32602),
    (call(_meta={**META, "io.modelcontextprotocol/logLevel": "loud"}), 400, -32602),
    (call(_meta={VERSION: "1900-01-01", CAPABILITIES: {}}), 400, -32020),
    (call(name="other"), 400, -32020),
    (call(name=5), 400, -32602),
    (call(arguments="text"), 400, -32602),
    (call(_meta={**META, "progressToken": 1.5}), 400, -32602),
    (call(_meta={**META, "progressToken": "x" * LARGE}), 400, -32602),
    (call(arguments={"text": "\n" * 2_500_001}), 400, -32700),
    (call(arguments={"text": "x" * LARGE, "y" * LARGE: 1}), 400, -32700),
    (
        call(arguments={"text": ["x" * LARGE], "y": dict.fromkeys(map(str, range(50_000)))}),
        400,
        -32700,
    ),
    (call(_meta={**META, "progressToken": {}}), 400, -32602),
    (call(_meta={VERSION: MODERN, CAPABILITIES: {"elicitation": 7}}), 400, -32602),
    (call(requestState=5), 400, -32602),
]


@pytest.mark.parametrize(("body", "status", "code"), BODIES)
async def test_a_bad_body_gets_its_error(body: bytes | object, status: int, code: int) -> None:
    async with open_talkative() as (_, client):
        answer = await client.post(body, MODERN_HEADERS)
        assert (answer.status, answer.error["code"]) == (status, code)
        assert "Traceback" not in json.dumps(answer.messages)
        assert (await client.call("echo", {"text": "fine"})).text == "fine"


async def test_what_is_to_be_completed_is_short() -> None:
    long = "x" * LARGE
    ref, argument = {"type": "ref/prompt", "name": "p"}, {"name": "a", "value": "b"}
    async with open_talkative() as (_, client):
        for asked in (
            {"ref": {**ref, "name": long}, "argument": argument},
            {"ref": ref, "argument": {**argument, "value": long}},
        ):
            answer = await client.ask("completion/complete", asked)
            assert answer.error["code"] == -32602
            assert answer.error["message"].endswith("has more than 1048576 bytes")


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"MCP-Protocol-Version": ""}, 400, -32020),
        ({"Mcp-Method": ""}, 400, -32020),
        ({"Mcp-Name": ""}, 400, -32020),
        ({"Mcp-Method": "tools/list"}, 400, -32020),
        ({"Mcp-Name": "=?base64?ZWNobw=="}, 400, -32020),
        ({"Mcp-Name": "=?base64?####?="}, 400, -32020),
        ({"MCP-Protocol-Version": "2025-06-18"}, 400, -32020),
        ({"MCP-Protocol-Version": "2027-01-01"}, 400, -32020),
        ({"Content-Type": "text/plain"}, 415, -32600),
        ({"Content-Type": ""}, 415, -32600),
        ({"Accept": "application/json"}, 406, -32600),
        ({"Accept": "text/html"}, 406, -32600),
        ({"Origin": "https://evil.example"}, 403, -32600),
        ({"Origin": "null"}, 403, -32600),
    ],
)
async def test_bad_headers_get_their_error(headers: dict[str, str], status: int, code: int) -> None:
    async with open_talkative() as (_, client):
        answer = await client.post(call(), {**MODERN_HEADERS, **headers})
        assert (answer.status, answer.error["code"]) == (status, code)
        right = {**MODERN_HEADERS, "Mcp-Name": "=?base64?ZWNobw==?=", "Accept": "*/*"}
        right["Content-Type"] = "Application/JSON; charset=utf-8"
        assert (await client.post(call(), right)).text == "x"


async def test_a_name_beyond_ascii_is_mirrored_encoded() -> None:
    async with open_talkative() as (_, client):
        unknown = await client.call("Ünbekannt")
        assert (unknown.status, unknown.error["code"]) == (400, -32602)


async def send(client: Raw, request: bytes) -> bytes:
    """Send bytes on a connection of their own and read all that comes."""
    port = int(client.url.rpartition(":")[2].partition("/")[0])
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(request)
        data = b""
        while b"\r\n\r\n" not in data:
            data += await stream.receive_some()
        return data


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /mcp HTTP/1.1\r\nHost: evil.example\r\n", b"421"),
        (b"POST /mcp HTTP/1.1\r\nHost: localhost.evil.example\r\n", b"421"),
        (b"POST /mcp HTTP/1.1\r\nHost: 10.0.0.1\r\n", b"421"),
        (b"POST /mcp HTTP/1.1\r\nHost: \r\n", b"421"),
        (b"POST /mcp HTTP/1.1\r\nHost: a b\r\n", b"400"),
        (b"GET /mcp HTTP/1.1\r\nHost: localhost\r\n", b"405"),
        (b"PUT /mcp HTTP/1.1\r\nHost: localhost\r\n", b"405"),
        (b"DELETE /mcp HTTP/1.1\r\nHost: [::1]:80\r\nMcp-Session-Id: x\r\n", b"404"),
        (b"GET /mcp HTTP/1.1\r\nHost: localhost\r\nMcp-Session-Id: ../x\r\n", b"404"),
        (
            b"DELETE /mcp HTTP/1.1\r\nHost: localhost\r\nMcp-Session-Id: x\r\n"
            b"MCP-Protocol-Version: 2026-07-28\r\n",
            b"405",
        ),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\n", b"404"),
        (b"POST //mcp HTTP/1.1\r\nHost: localhost\r\n", b"404"),
        (b"POST /mcp/ HTTP/1.1\r\nHost: localhost\r\n", b"404"),
        (b"POST /%6dcp HTTP/1.1\r\nHost: localhost\r\n", b"404"),
        (b"POST /mcp?x=1 HTTP/1.1\r\nHost: localhost\r\n", b"415"),
    ],
)
async def test_what_does_not_belong_here_is_turned_away(head: bytes, status: bytes) -> None:
    async with open_talkative() as (_, client):
        answer = await send(client, head + b"Content-Length: 0\r\n\r\n")
        assert answer.split(b" ")[1] == status


async def test_headers_that_stand_twice_are_refused() -> None:
    async with open_talkative() as (_, client):
        body = json.dumps(call()).encode()
        head = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        usual = b"".join(f"{k}: {v}\r\n".encode() for k, v in MODERN_HEADERS.items())
        length = b"Content-Length: %d\r\n\r\n" % len(body)
        for name, value in MODERN_HEADERS.items():
            twice = f"{name}: {value}\r\n".encode()
            answer = await send(client, head + usual + twice + length + body)
            assert answer.split(b" ")[1] == b"400"
            assert b"-32020" in answer
        origin = b"Origin: http://localhost\r\n"
        assert (await send(client, head + usual + origin * 2 + length + body)).split(b" ")[
            1
        ] == b"403"


async def test_a_body_that_is_too_large_is_not_read() -> None:
    async with open_talkative({"http": {"body": "64KiB"}}) as (_, client):
        answer = await send(
            client,
            b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 6000000\r\n\r\n",
        )
        assert answer.split(b" ")[1] == b"413"
        assert (await client.call("echo", {"text": "fine"})).text == "fine"


@pytest.mark.parametrize(
    "body",
    [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}},
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": 5}},
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "initialize",
            "params": {"protocolVersion": "2025-11-25", "capabilities": []},
        },
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "nobody"}},
        {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"cursor": 5}},
        {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"cursor": "bm90aGluZw=="}},
        {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"cursor": "!"}},
        {"jsonrpc": "2.0", "id": 1, "method": "completion/complete", "params": {}},
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "completion/complete",
            "params": {"ref": 5, "argument": {}},
        },
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "completion/complete",
            "params": {"ref": {"type": "ref/other"}, "argument": {}},
        },
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "completion/complete",
            "params": {"ref": {"type": "ref/prompt", "name": "review"}},
        },
    ],
)
async def test_an_earlier_client_gets_its_error_with_status_200(body: object) -> None:
    async with open_talkative() as (_, client):
        answer = await client.post(body)
        assert (answer.status, answer.error["code"]) == (200, -32602)


async def test_an_unknown_resource_is_named_in_the_words_of_the_era() -> None:
    async with open_talkative() as (_, client):
        uri = {"uri": "test://nothing/here"}
        old = await client.ask_old("resources/read", uri)
        assert (old.error["code"], old.error["data"]) == (-32002, uri)
        new = await client.ask("resources/read", uri)
        assert (new.status, new.error["code"], new.error["data"]) == (400, -32602, uri)


# ---- whatever comes

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
METHODS = st.sampled_from(
    [
        *("tools/call", "tools/list", "resources/read", "prompts/get", "initialize", "ping"),
        *("completion/complete", "server/discover", "tasks/get", "tasks/update"),
        *("logging/setLevel", "resources/subscribe", "resources/templates/list"),
        "notifications/cancelled",
    ]
)
META_VALUES = st.fixed_dictionaries(
    {},
    optional={
        VERSION: st.sampled_from([MODERN, "2025-11-25", "x", 1]),
        CAPABILITIES: st.just({}) | JSON,
        "progressToken": JSON,
        "io.modelcontextprotocol/logLevel": st.sampled_from(["info", "loud"]) | JSON,
        "io.flowcore/priority": JSON,
        "io.flowcore/deadline": JSON,
        "io.flowcore/idempotency-key": JSON,
    },
)
PARAMS = (
    st.fixed_dictionaries(
        {},
        optional={
            "name": st.sampled_from(["echo", "add", "fail", "review", "steps"]) | JSON,
            "uri": st.sampled_from(["test://static", "test://items/1"]) | JSON,
            "arguments": st.dictionaries(st.sampled_from(["text", "a", "b", "count"]), JSON) | JSON,
            "cursor": JSON,
            "ref": JSON,
            "argument": JSON,
            "level": JSON,
            "taskId": JSON,
            "inputResponses": JSON,
            "requestState": JSON,
            "protocolVersion": JSON,
            "capabilities": JSON,
            "_meta": META_VALUES | JSON,
        },
    )
    | JSON
)
MESSAGES = (
    st.fixed_dictionaries(
        {"jsonrpc": st.just("2.0") | JSON, "method": METHODS | st.text()},
        optional={"id": st.integers() | st.text() | JSON, "params": PARAMS},
    )
    | st.fixed_dictionaries({"jsonrpc": st.just("2.0"), "id": JSON}, optional={"result": JSON})
    | JSON
)
BYTES = (
    MESSAGES.map(lambda value: json.dumps(value).encode())
    | st.lists(MESSAGES, max_size=3).map(lambda value: json.dumps(value).encode())
    | st.binary()
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "MCP-Protocol-Version": st.sampled_from([MODERN, "2025-11-25", "2025-03-26", "9"]),
        "Mcp-Method": METHODS,
        "Mcp-Name": st.sampled_from(["echo", "add", "test://static"]),
    },
)


def mirrored(body: bytes) -> dict[str, str]:
    """The headers that a body of 2026-07-28 should have, as far as it can have any."""
    try:
        message = json.loads(body)
        method, params = message["method"], message["params"]
        headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
        for key in ("name", "uri", "taskId"):
            if isinstance(params.get(key), str):
                headers["Mcp-Name"] = encode_value(params[key])
        return headers if method.isascii() and method.isprintable() else {}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


async def feed(count: int) -> None:
    """Made-up bodies to one edge: none may give a 5xx or break what is asked next."""
    examples: list[tuple[bytes, dict[str, str]]] = []

    @settings(
        max_examples=count,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(BYTES, st.none() | HEADERS)
    def collect(body: bytes, headers: dict[str, str] | None) -> None:
        examples.append((body, mirrored(body) if headers is None else headers))

    collect()
    async with open_talkative(deadline="2s", within=1800) as (_, client):
        for body, headers in examples:
            answer = await client.post(body, headers)
            assert answer.status < 500, (answer, body, headers)
            assert "Traceback" not in json.dumps(answer.messages)
        assert (await client.call("echo", {"text": "fine"})).text == "fine"


async def test_no_made_up_body_gives_a_server_error() -> None:
    await feed(300)


@pytest.mark.long
async def test_ten_thousand_made_up_bodies_give_no_server_error() -> None:
    await feed(10_000)
