"""An upstream on stdio, a real process: both eras, everything passed through."""

from __future__ import annotations

import json

import pytest
import trio

from flow_agents.mcp.calls import CallStatistics
from flowcore.errors import (
    AgentUnavailable,
    CallError,
    OutcomeUnknown,
    UpstreamError,
    UpstreamFailure,
)
from support.upstreaming import (
    RecordingPeer,
    envelope,
    losing,
    opened,
    stdio_server,
    text,
    tool,
    value,
)

ERAS = ["handshake", "modern"]


@pytest.mark.parametrize("era", ERAS)
async def test_what_is_offered_is_announced_byte_for_byte(era: str) -> None:
    async with opened(command=stdio_server("--era", era)) as up:
        catalog = up.port.catalogs[0]
        echo = catalog.tools[0]
        assert echo.name == "echo"
        assert (
            bytes(echo.definition)
            == (
                '{"name": "echo", "description": "does echo", "inputSchema": {"type": "object", '
                '"properties": {"text": {"type": "string"}}}, "x-unknown": {"kept": [1, 2.5, "é"]}, '
                '"annotations": {"readOnlyHint": true, "idempotentHint": true}}'
            ).encode()
        )
        assert echo.read_only
        assert echo.idempotent
        assert not catalog.tools[1].read_only
        assert len(catalog.tools) == 20
        assert [one.uri for one in catalog.resources] == ["file:///a"]
        assert [one.uri_template for one in catalog.templates] == ["file:///{x}"]
        assert [one.name for one in catalog.prompts] == ["greet"]
        assert catalog.completions
        assert catalog.subscriptions
        assert catalog.logging
        assert catalog.instructions == "be kind"


@pytest.mark.parametrize("era", ERAS)
async def test_every_kind_of_request_is_answered(era: str) -> None:
    async with opened(command=stdio_server("--era", era)) as up:
        reply = await up.call("echo", text="grüße\n")
        assert text(reply) == "grüße\n"
        assert reply.modern is (era == "modern")
        read = await up.worker.call(envelope("resources/read", "file:///a", {"uri": "file:///a"}))
        assert value(read)["contents"][0]["text"] == "content"
        prompt = await up.worker.call(envelope("prompts/get", "greet", {"name": "greet"}))
        assert value(prompt)["messages"][0]["role"] == "user"
        completion = await up.worker.call(
            envelope(
                "completion/complete",
                "greet",
                {
                    "ref": {"type": "ref/prompt", "name": "greet"},
                    "argument": {"name": "who", "value": ""},
                },
            )
        )
        assert value(completion)["completion"]["values"] == ["one", "two"]


async def test_the_meta_of_a_call_goes_on_but_for_what_is_of_the_hop() -> None:
    meta = {
        "traceparent": "00-1-2-03",
        "io.modelcontextprotocol/protocolVersion": "2025-11-25",
        "io.modelcontextprotocol/clientInfo": {"name": "other", "version": "1"},
        "com.example/own": [1],
    }
    async with opened(command=stdio_server()) as up:
        reply = await up.worker.call(tool("meta", meta=meta, more={"unknown": 1}))
        sent = value(reply)["structuredContent"]
        assert sent["meta"] == {"traceparent": "00-1-2-03", "com.example/own": [1]}
        assert sent["params"] == ["_meta", "arguments", "name", "unknown"]
        assert value(await up.call("meta"))["structuredContent"]["meta"] == {}


async def test_a_modern_upstream_is_told_what_the_caller_can_do() -> None:
    peer = RecordingPeer(
        {
            "elicitation": {"form": {}},
            "sampling": {},
            "tasks": {"list": {}},
            "extensions": {
                "io.modelcontextprotocol/tasks": {},
                "io.modelcontextprotocol/ui": {"mimeTypes": ["text/html"]},
            },
        }
    )
    meta = {"io.modelcontextprotocol/logLevel": "error", "traceparent": "00-1-2-03"}
    async with opened(command=stdio_server("--era", "modern"), questions=("elicitation",)) as up:
        sent = value(await up.worker.call(tool("meta", meta=meta, peer=peer)))["structuredContent"]
        assert sent["meta"].pop("io.modelcontextprotocol/clientInfo")["name"] == "flowcore"
        assert sent["meta"] == {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {
                "elicitation": {"form": {}},
                "extensions": {"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html"]}},
            },
            "io.modelcontextprotocol/logLevel": "error",
            "traceparent": "00-1-2-03",
        }
        sent = value(await up.call("meta"))["structuredContent"]
        assert sent["meta"]["io.modelcontextprotocol/clientCapabilities"] == {}


@pytest.mark.parametrize("era", ERAS)
async def test_calls_are_answered_in_any_order(era: str) -> None:
    answers: dict[int, str] = {}

    async with opened(command=stdio_server("--era", era)) as up:

        async def call(number: int) -> None:
            answers[number] = text(await up.call("echo", text=str(number)))

        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(call, number)
    assert answers == {number: str(number) for number in range(100)}


@pytest.mark.parametrize("era", ERAS)
async def test_an_error_of_the_upstream_is_passed_on_as_it_is(era: str) -> None:
    async with opened(command=stdio_server("--era", era)) as up:
        with pytest.raises(UpstreamError) as caught:
            await up.call("fail")
        assert caught.value.wire() == {
            "code": -32042,
            "message": "not today",
            "data": {"why": [1, None, "x"]},
        }


@pytest.mark.parametrize("era", ERAS)
async def test_progress_reaches_the_caller_who_asked_for_it(era: str) -> None:
    peer = RecordingPeer()
    async with opened(command=stdio_server("--era", era)) as up:
        await up.worker.call(tool("progress", meta={"progressToken": "mine"}, peer=peer))
    assert [method for method, _ in peer.told] == ["notifications/progress"] * 3
    assert [params["progress"] for _, params in peer.told] == [1, 2, 3]


@pytest.mark.parametrize("era", ERAS)
async def test_a_log_message_reaches_the_one_caller_there_is(era: str) -> None:
    peer = RecordingPeer()
    async with opened(command=stdio_server("--era", era)) as up:
        await up.worker.call(tool("log", peer=peer))
        assert peer.told == [
            ("notifications/message", {"level": "info", "logger": "l", "data": "hello"})
        ]
        assert up.port.notifications == []


async def test_the_upstream_logs_as_much_as_the_most_curious_caller_wants() -> None:
    async with opened(command=stdio_server()) as up:

        async def level_after(level: str) -> str:
            meta = {"io.modelcontextprotocol/logLevel": level}
            return text(await up.worker.call(tool("level", meta=meta)))

        assert text(await up.call("level")) == "none"
        assert await level_after("error") == "error"
        assert await level_after("info") == "info"
        assert await level_after("critical") == "info"
        assert await level_after("loud") == "info"


@pytest.mark.parametrize("era", ERAS)
async def test_a_cancelled_call_is_cancelled_upstream_and_returns_at_once(era: str) -> None:
    peer = RecordingPeer()
    async with opened(command=stdio_server("--era", era)) as up:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(up.worker.call, tool("hang", peer=peer))
            await peer.until(lambda: bool(peer.told))
            nursery.cancel_scope.cancel()
        hung = int(peer.told[0][1]["data"].removeprefix("hanging "))
        while hung not in json.loads(text(await up.call("cancelled"))):
            pass
        # its answer came late, and nobody was disturbed by it
        while up.worker.statistics() != CallStatistics(late=1, stray=0):
            await up.call("echo")


@pytest.mark.parametrize("era", ERAS)
async def test_a_list_that_changes_is_announced_anew(era: str) -> None:
    async with opened(command=stdio_server("--era", era)) as up:
        await up.call("grow")
        await up.port.until(lambda: len(up.port.catalog.tools) == 21)
        assert up.port.catalog.tools[-1].name == "new-20"
        assert up.port.catalog.resources == up.port.catalogs[0].resources


@pytest.mark.parametrize("era", ERAS)
async def test_a_resource_that_was_subscribed_to_is_heard_of(era: str) -> None:
    async with opened(command=stdio_server("--era", era)) as up:
        uri = {"uri": "file:///a"}
        subscribe = envelope("resources/subscribe", "file:///a", uri)
        assert value(await up.worker.call(subscribe)) == {}
        await up.call("touch", uri="file:///a")
        updated = ("notifications/resources/updated", uri)
        await up.port.until(lambda: updated in up.port.notifications)
        await up.worker.call(envelope("resources/unsubscribe", "file:///a", uri))
        heard = len(up.port.notifications)
        await up.call("touch", uri="file:///a")
        await up.call("echo")
        if era == "handshake":  # a modern one is left in the background
            assert len(up.port.notifications) == heard


@pytest.mark.parametrize("era", ERAS)
async def test_a_subscription_that_the_upstream_refuses_is_refused(era: str) -> None:
    async with opened(command=stdio_server("--era", era)) as up:
        uri = {"uri": "file:///secret"}
        with pytest.raises(CallError):
            await up.worker.call(envelope("resources/subscribe", "file:///secret", uri))
        await up.worker.call(envelope("resources/subscribe", "file:///a", {"uri": "file:///a"}))
        with pytest.raises(CallError, match="must be a string"):
            await up.worker.call(envelope("resources/subscribe", "x", {}))


QUESTIONS = {
    "elicitation/create": {"action": "accept", "content": {"name": "x"}},
    "sampling/createMessage": {"role": "assistant", "content": {"type": "text", "text": "y"}},
    "roots/list": {"roots": [{"uri": "file:///home"}]},
}


@pytest.mark.parametrize("method", QUESTIONS)
async def test_a_question_goes_to_the_client_and_its_answer_back(method: str) -> None:
    answer = QUESTIONS[method]
    peer = RecordingPeer({"elicitation": {}, "sampling": {}, "roots": {}}, answer)
    async with opened(command=stdio_server()) as up:
        reply = await up.worker.call(tool("ask", peer=peer, method=method))
        assert json.loads(text(reply)) == answer
        assert peer.asked == [(method, {"message": "?"})]


async def test_a_clients_error_is_the_answer_to_a_question() -> None:
    peer = RecordingPeer({"elicitation": {}}, UpstreamError("no", code=-1, data={"x": 1}))
    async with opened(command=stdio_server()) as up:
        reply = await up.worker.call(tool("ask", peer=peer, method="elicitation/create"))
        assert json.loads(text(reply)) == {"error": {"code": -1, "message": "no", "data": {"x": 1}}}
        peer.answer = RuntimeError("a bug of ours")
        reply = await up.worker.call(tool("ask", peer=peer, method="elicitation/create"))
        assert json.loads(text(reply))["error"] == {"code": -32603, "message": "internal error"}
        reply = await up.call("ask", method="elicitation/create")
        assert json.loads(text(reply))["error"]["code"] == -32601


async def test_a_modern_upstream_asks_in_its_result_and_is_answered_in_a_retry() -> None:
    async with opened(command=stdio_server("--era", "modern")) as up:
        reply = await up.call("ask", method="elicitation/create")
        assert reply.modern
        asked = value(reply)
        assert asked["resultType"] == "input_required"
        more = {
            "requestState": asked["requestState"],
            "inputResponses": {"q": {"action": "decline"}},
        }
        reply = await up.worker.call(tool("ask", more=more, method="elicitation/create"))
        assert json.loads(text(reply)) == {"q": {"action": "decline"}}


async def test_a_result_without_a_type_counts_as_one_of_an_earlier_version() -> None:
    async with opened(command=stdio_server("--era", "modern")) as up:
        assert (await up.call("untyped")).modern is False


async def test_roots_are_answered_as_configured() -> None:
    peer = RecordingPeer({"roots": {}}, {"roots": []})
    async with opened(command=stdio_server(), roots=("file:///srv",)) as up:
        reply = await up.worker.call(tool("ask", peer=peer, method="roots/list"))
        assert json.loads(text(reply)) == {"roots": [{"uri": "file:///srv"}]}
        assert peer.asked == []


async def test_a_ping_of_the_upstream_is_answered_and_an_unknown_question_refused() -> None:
    async with opened(command=stdio_server(), questions=("sampling",)) as up:
        assert json.loads(text(await up.call("ask", method="ping"))) == {}
        refused = json.loads(text(await up.call("unknown_question")))
        assert refused["error"]["code"] == -32601
        refused = json.loads(text(await up.call("ask", method="elicitation/create")))
        assert refused["error"]["code"] == -32601


async def test_a_withdrawn_question_is_not_answered() -> None:
    peer = RecordingPeer({"elicitation": {}})
    async with opened(command=stdio_server()) as up:
        assert text(await up.worker.call(tool("withdraw", peer=peer))) == "withdrawn"
        await peer.until(lambda: peer.cancelled == 1)


async def test_a_question_ends_with_the_call_it_belongs_to() -> None:
    peer = RecordingPeer({"elicitation": {}})
    async with opened(command=stdio_server()) as up:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(up.worker.call, tool("ask", peer=peer, method="elicitation/create"))
            await peer.until(lambda: bool(peer.asked))
            nursery.cancel_scope.cancel()
        await peer.until(lambda: peer.cancelled == 1)
        await up.call("echo")


async def test_a_question_among_several_calls_goes_to_the_latest_who_can_be_asked() -> None:
    unable = RecordingPeer()
    able = RecordingPeer({"elicitation": {}}, {"action": "cancel"})
    async with opened(command=stdio_server()) as up:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(up.worker.call, tool("hang", peer=able))
            await able.until(lambda: bool(able.told))
            reply = await up.worker.call(tool("ask", peer=unable, method="elicitation/create"))
            assert json.loads(text(reply)) == {"action": "cancel"}
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("era", ERAS)
async def test_a_ping_is_answered(era: str) -> None:
    async with opened(command=stdio_server("--era", era)) as up:
        await up.worker.ping()


async def test_what_is_busy_is_not_pinged_until_a_call_was_given_up() -> None:
    peer = RecordingPeer()
    async with opened(command=stdio_server()) as up:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(up.worker.call, tool("hang", peer=peer))
            await peer.until(lambda: bool(peer.told))
            await up.worker.ping()
            nursery.cancel_scope.cancel()
        await up.worker.ping()


# ---- the end


@pytest.mark.parametrize("era", ERAS)
async def test_a_crash_ends_the_calls_and_the_worker(era: str) -> None:
    async with losing(command=stdio_server("--era", era)) as up:
        with pytest.raises(OutcomeUnknown, match="exited with code 3"):
            await up.call("crash")
        error = await up.lost()
        assert isinstance(error, UpstreamFailure)
        assert "exited with code 3" in str(error)
        assert up.port.lines == ["about to crash"]
        with pytest.raises(AgentUnavailable):
            await up.call("echo")
