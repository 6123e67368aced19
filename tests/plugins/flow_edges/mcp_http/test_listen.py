"""`subscriptions/listen` over real sockets."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from support.mcp_client import Raw, open_talkative

ID = "io.modelcontextprotocol/subscriptionId"
ALL = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}


async def test_what_was_asked_for_comes_and_nothing_else() -> None:
    async with open_talkative() as (_, client):
        uris = ["test://static", "test://items/1", "other://unknown"]
        wanted = {"notifications": {"toolsListChanged": True, "resourceSubscriptions": uris}}
        body, headers = client.modern("subscriptions/listen", wanted)
        async with client.stream(body, headers) as stream:
            first = await stream.next()
            assert first["method"] == "notifications/subscriptions/acknowledged"
            assert first["params"]["_meta"] == {ID: body["id"]}
            assert first["params"]["notifications"] == {
                "toolsListChanged": True,
                "resourceSubscriptions": ["test://items/1", "test://static"],
            }
            await client.call("change", {"uri": "test://other"})
            await client.call("change", {"uri": "test://static"})
            note = await stream.next()
            assert note["method"] == "notifications/resources/updated"
            assert note["params"] == {"uri": "test://static", "_meta": {ID: body["id"]}}
            await client.call("grow")
            note = await stream.next()
            assert note["method"] == "notifications/tools/list_changed"
            assert note["params"] == {"_meta": {ID: body["id"]}}


async def test_an_agent_that_goes_and_comes_back_changes_the_list_both_times() -> None:
    async with open_talkative() as (flow, client):
        wanted = {"notifications": ALL}
        body, headers = client.modern("subscriptions/listen", wanted)
        async with client.stream(body, headers) as stream:
            assert (await stream.next())["params"]["notifications"] == ALL
            flow.agent("talk").restart()
            seen = [(await stream.next())["method"] for _ in range(3)]
            assert sorted(seen) == [
                "notifications/prompts/list_changed",
                "notifications/resources/list_changed",
                "notifications/tools/list_changed",
            ]


async def test_a_stream_ends_with_a_result_when_the_edge_closes() -> None:
    send, receive = trio.open_memory_channel[dict[str, Any]](10)
    ready = trio.Event()

    async def listen(client: Raw) -> None:
        body, headers = client.modern("subscriptions/listen", {"notifications": {}})
        async with client.stream(body, headers) as stream, send:
            while True:
                message = await stream.next()
                ready.set()
                await send.send(message)
                if "result" in message:
                    assert message["id"] == body["id"]
                    return

    async with trio.open_nursery() as nursery:
        async with open_talkative() as (_, client):
            nursery.start_soon(listen, client)
            await ready.wait()
        messages = [message async for message in receive]
    assert messages[-1]["result"]["resultType"] == "complete"
    assert ID in messages[-1]["result"]["_meta"]


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({}, -32602),
        ({"notifications": []}, -32602),
        ({"notifications": {"toolsListChanged": "yes"}}, -32602),
        ({"notifications": {"resourceSubscriptions": [1]}}, -32602),
        ({"notifications": {"resourceSubscriptions": ["a:b"] * 3}}, -31050),
    ],
)
async def test_a_filter_that_is_not_right_is_refused(params: dict[str, Any], code: int) -> None:
    async with open_talkative({"limits": {"subscriptions": 2}}) as (_, client):
        answer = await client.ask("subscriptions/listen", params)
        assert answer.error["code"] == code


async def test_streams_are_bounded() -> None:
    async with open_talkative({"limits": {"streams": 1}}) as (_, client):
        body, headers = client.modern("subscriptions/listen", {"notifications": {}})
        async with client.stream(body, headers) as stream:
            await stream.next()
            refused = await client.ask("subscriptions/listen", {"notifications": {}})
            assert refused.error["code"] == -31050
            await client.initialize()
            assert (await client.post(b"", client.headers(), "GET")).status == 429


async def test_a_quiet_stream_shows_that_it_is_alive() -> None:
    async with open_talkative({"keep_alive": "10ms"}) as (_, client):
        body, headers = client.modern("subscriptions/listen", {"notifications": {}})
        async with client.stream(body, headers) as stream:
            data = b""
            while b": alive" not in data:
                data += await stream.receive()
