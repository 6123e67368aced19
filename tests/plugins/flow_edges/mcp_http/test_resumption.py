"""Streams of sessions that break off and go on (2025-11-25, basic/transports, resumability)."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from support.mcp_client import Messages, Raw, open_talkative

STEPS = {"name": "steps", "arguments": {"count": 3}, "_meta": {"progressToken": "t"}}
BEGIN = {"name": "begin", "arguments": {}, "_meta": {"progressToken": 7}}
REPLAY = {"sessions": {"replay": {"within": "0s"}}}


def steps(messages: list[dict[str, Any]]) -> list[Any]:
    return [one["params"]["progress"] for one in messages if "progress" in one.get("params", {})]


async def everything(stream: Messages) -> bytes:
    """All bytes of a stream."""
    parts = []
    while data := await stream.receive():
        parts.append(data)
    return b"".join(parts)


async def resumed(client: Raw, last_id: str) -> tuple[int, list[dict[str, Any]]]:
    """What comes on a stream from the event after this one on, until its end."""
    headers = {**client.headers(), "Accept": "text/event-stream", "Last-Event-ID": last_id}
    answer = await client.post(b"", headers, "GET")
    return answer.status, answer.messages


async def test_a_stream_begins_with_an_id_to_come_back_with() -> None:
    async with open_talkative() as (_, client):
        await client.initialize("2025-11-25")
        async with client.stream(client.old("tools/call", STEPS), client.headers()) as stream:
            begun = (await everything(stream)).split(b"\n\n")[0]
            assert begun.split(b"\n") == [b"id: 1-0", b"retry: 1000", b"data: "]


@pytest.mark.parametrize("version", ["2025-06-18", "2025-03-26"])
async def test_clients_of_earlier_versions_get_no_event_without_data(version: str) -> None:
    async with open_talkative() as (_, client):
        await client.initialize(version)
        async with client.stream(client.old("tools/call", STEPS), client.headers()) as stream:
            events = (await everything(stream)).split(b"\n\n")
            assert events[0] == b": alive"
            assert events[1].startswith(b'id: 1-1\ndata: {"jsonrpc"')
            assert b"data: " not in [line for event in events for line in event.split(b"\n")]


async def test_what_was_missed_of_a_call_is_sent_again_up_to_its_answer() -> None:
    async with open_talkative() as (_, client):
        await client.initialize()
        call = client.old("tools/call", STEPS)
        whole = await client.post(call, client.headers())
        assert steps(whole.messages) == [1, 2, 3]
        for seen in range(len(whole.messages) + 1):
            status, again = await resumed(client, f"1-{seen}")
            assert (status, again) == (200, whole.messages[seen:])


async def test_a_call_goes_on_without_its_connection_and_is_answered_on_the_next() -> None:
    async with open_talkative() as (flow, client):
        await client.initialize(capabilities={"elicitation": {}})
        call = client.old("tools/call", {"name": "greet_elicited", "arguments": {}})
        async with client.stream(call, client.headers()) as stream:
            question = await stream.next()
            last = stream.last_id
        headers = {**client.headers(), "Accept": "text/event-stream", "Last-Event-ID": last}
        async with client.stream(None, headers, "GET") as stream:
            answer = {"action": "accept", "content": {"name": "Ann"}}
            reply = {"jsonrpc": "2.0", "id": question["id"], "result": answer}
            assert (await client.post(reply, client.headers())).status == 202
            answered = await stream.next()
            assert answered["id"] == call["id"]
            assert answered["result"]["content"][0]["text"] == "hello, Ann"
            with pytest.raises(EOFError):
                await stream.next()
        assert flow.requests.statistics().cancelled == 0


async def test_a_call_whose_client_does_not_come_back_is_cancelled() -> None:
    async with open_talkative(REPLAY) as (flow, client):
        await client.initialize()
        async with client.stream(client.old("tools/call", BEGIN), client.headers()) as stream:
            await stream.next()
        while flow.requests.tracker.running:
            await trio.lowlevel.checkpoint()
        assert flow.requests.statistics().cancelled == 1


async def test_a_connection_that_takes_over_ends_the_one_before() -> None:
    async with open_talkative() as (flow, client):
        await client.initialize()
        async with client.stream(client.old("tools/call", BEGIN), client.headers()) as first:
            message = await first.next()
            headers = {**client.headers(), "Accept": "text/event-stream", "Last-Event-ID": "1-0"}
            async with client.stream(None, headers, "GET") as second:
                assert await second.next() == message
                with pytest.raises(EOFError):
                    await first.next()
                assert flow.requests.tracker.running == 1
                await client.post(b"", client.headers(), "DELETE")
                with pytest.raises(EOFError):
                    await second.next()
        while flow.requests.tracker.running:
            await trio.lowlevel.checkpoint()


async def test_the_sessions_own_stream_keeps_what_comes_while_nobody_reads_it() -> None:
    async with open_talkative() as (_, client):
        await client.initialize()
        get = {**client.headers(), "Accept": "text/event-stream"}
        async with client.stream(None, get, "GET") as stream:
            await client.call_old("say", {"text": "one", "level": "error"})
            assert (await stream.next())["params"]["data"] == "one"
            last = stream.last_id
        await gone(client, get)
        await client.call_old("say", {"text": "two", "level": "error"})
        async with client.stream(None, {**get, "Last-Event-ID": last}, "GET") as stream:
            assert (await stream.next())["params"]["data"] == "two"
            assert stream.last_id == "0-2"
        async with client.stream(None, {**get, "Last-Event-ID": "0-0"}, "GET") as stream:
            assert [(await stream.next())["params"]["data"] for _ in range(2)] == ["one", "two"]


async def gone(client: Raw, get: dict[str, str]) -> None:
    """Wait until the server has seen that the session's own stream broke."""
    while True:
        async with client.stream(None, get, "GET") as stream:
            if stream.status == 200:
                return


@pytest.mark.parametrize("last", ["1-99", "2-0", "0-0", "nonsense", "1-", "-1", "1-x", "1-\u0661"])
async def test_what_cannot_be_resumed_is_refused(last: str) -> None:
    async with open_talkative() as (_, client):
        await client.initialize()
        await client.post(client.old("tools/call", STEPS), client.headers())
        latin = last.encode().decode("latin-1")
        assert (await resumed(client, latin))[0] == 400
        assert (await client.ask_old("ping")).result == {}


async def test_streams_are_not_resumed_in_another_session_nor_where_it_is_turned_off() -> None:
    async with open_talkative() as (_, client):
        await client.initialize()
        await client.post(client.old("tools/call", STEPS), client.headers())
        await client.initialize()
        assert (await resumed(client, "1-0"))[0] == 400
    async with open_talkative({"sessions": {"replay": {"messages": 0}}}) as (_, client):
        await client.initialize()
        await client.post(client.old("tools/call", STEPS), client.headers())
        assert (await resumed(client, "1-0"))[0] == 400


async def test_a_quiet_call_becomes_a_stream_that_shows_signs_of_life() -> None:
    async with open_talkative({"keep_alive": "50ms"}) as (_, client):
        await client.initialize(capabilities={"roots": {}})
        call = client.old("tools/call", {"name": "hang", "arguments": {}})
        async with client.stream(call, client.headers()) as stream:
            assert b"id: 1-0" in await stream.receive()
            assert await stream.receive() == b": alive\n\n"
        body, headers = client.modern(
            "tools/call", {"name": "hang", "arguments": {}}, capabilities={"roots": {}}
        )
        async with client.stream(body, headers) as stream:
            assert await stream.receive() == b": alive\n\n"
