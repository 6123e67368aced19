"""Calls of Python functions: what they may return, raise, tell and ask."""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
from typing import Any, TypedDict

import pytest
import trio
from msgspec import Raw

from flowcore.errors import (
    InternalError,
    InvalidArguments,
    Overloaded,
    UnknownMethod,
    UnknownTarget,
)
from flowcore.native import (
    Audio,
    CallContext,
    Contents,
    Image,
    Link,
    Message,
    Text,
    ToolError,
    ToolResult,
    completion,
    prompt,
    resource,
    template,
    tool,
)
from support.natives import Native, ScriptedPeer, text_of


class Pair(TypedDict):
    a: int
    b: int


class Returns:
    """One tool per thing that can be returned."""

    def __init__(self, value: Any) -> None:
        self.value = value

    @tool
    async def give(self) -> Any:
        return self.value


@pytest.mark.parametrize(
    ("value", "content", "structured"),
    [
        ("text", [{"type": "text", "text": "text"}], None),
        (None, [], None),
        (7, [{"type": "text", "text": "7"}], {"result": 7}),
        ({"a": 1}, [{"type": "text", "text": '{"a":1}'}], {"a": 1}),
        ({1: "x"}, [{"type": "text", "text": '{"1":"x"}'}], {"1": "x"}),
        ([1, 2], [{"type": "text", "text": "[1,2]"}], {"result": [1, 2]}),
        ([], [{"type": "text", "text": "[]"}], {"result": []}),
        (Text("t"), [{"type": "text", "text": "t"}], None),
        (
            Text("t", {"priority": 1}),
            [{"type": "text", "text": "t", "annotations": {"priority": 1}}],
            None,
        ),
        (
            [Image(b"\x01", "image/gif"), "and", Audio(b"\x02")],
            [
                {"type": "image", "data": "AQ==", "mimeType": "image/gif"},
                {"type": "text", "text": "and"},
                {"type": "audio", "data": "Ag==", "mimeType": "audio/wav"},
            ],
            None,
        ),
        (
            Contents("a://b", b"\x01"),
            [{"type": "resource", "resource": {"uri": "a://b", "blob": "AQ=="}}],
            None,
        ),
        (
            Link("a://b", "b", "text/plain", size=0),
            [
                {
                    "type": "resource_link",
                    "uri": "a://b",
                    "name": "b",
                    "mimeType": "text/plain",
                    "size": 0,
                }
            ],
            None,
        ),
    ],
)
async def test_what_a_tool_returns_becomes_content(
    value: Any, content: Any, structured: Any
) -> None:
    result = await Native(Returns(value)).tool("give")
    assert result.pop("content") == content
    assert result.pop("structuredContent", None) == structured
    assert result == {}


async def test_a_tool_can_give_a_whole_result() -> None:
    whole = ToolResult(
        content=["failed", Text("badly")],
        structured={"at": 1},
        is_error=True,
        meta={"example.com/x": 1},
    )
    assert await Native(Returns(whole)).tool("give") == {
        "content": [{"type": "text", "text": "failed"}, {"type": "text", "text": "badly"}],
        "structuredContent": {"at": 1},
        "isError": True,
        "_meta": {"example.com/x": 1},
    }
    assert await Native(Returns(ToolResult())).tool("give") == {"content": []}
    raw = Raw(b'{"content":[],"unknown":1}')
    assert await Native(Returns(raw)).tool("give") == {"content": [], "unknown": 1}


@pytest.mark.parametrize("value", [object(), [Text("a"), object()], {"a": {1j}}])
async def test_what_has_no_json_form_is_an_error_that_says_so(value: Any) -> None:
    result = await Native(Returns(value)).tool("give")
    assert result["isError"]
    assert text_of(result).startswith("TypeError: ")


class Fails:
    @tool
    async def told(self) -> None:
        raise ToolError("no such file")

    @tool
    async def broken(self, secret: str) -> None:
        raise KeyError(secret)

    @tool
    def exits(self) -> None:
        sys.exit(3)

    @tool
    async def exits_here(self) -> None:
        sys.exit(4)

    @tool
    def stops(self) -> None:
        next(iter(()))

    @tool
    def cancels(self) -> None:
        raise asyncio.CancelledError

    @tool
    async def group(self) -> None:
        raise BaseExceptionGroup("several", [ValueError("x"), SystemExit(1)])

    @tool
    async def typed(self) -> None:
        raise InternalError("of our own making")

    @resource("a://broken")
    async def broken_resource(self) -> None:
        raise KeyError("x")

    @resource("a://told")
    async def told_resource(self) -> None:
        raise ToolError("it is being written")

    @resource("a://typed")
    async def typed_resource(self) -> None:
        raise UnknownTarget("gone")

    @resource("a://odd")
    async def odd_resource(self) -> object:
        return object()

    @prompt
    async def broken_prompt(self) -> object:
        return 3


async def test_a_tools_failure_is_a_result(caplog: pytest.LogCaptureFixture) -> None:
    native = Native(Fails())
    told = await native.tool("told")
    assert (told["isError"], text_of(told)) == (True, "no such file")
    assert not caplog.records
    broken = await native.tool("broken", secret="x")
    assert text_of(broken) == "KeyError: 'x'"
    assert caplog.records[0].getMessage() == "tool broken of agent mine failed"
    assert caplog.records[0].exc_info is not None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("exits", "SystemExit: 3"),
        ("exits_here", "SystemExit: 4"),
        ("stops", "RuntimeError: the function raised StopIteration"),
        ("cancels", "CancelledError: "),
        ("group", "BaseExceptionGroup: several (2 sub-exceptions)"),
    ],
)
async def test_not_even_a_rude_tool_ends_more_than_its_call(name: str, text: str) -> None:
    result = await Native(Fails()).tool(name)
    assert (result["isError"], text_of(result)) == (True, text)


async def test_typed_errors_pass_as_they_are() -> None:
    native = Native(Fails())
    with pytest.raises(InternalError, match="of our own making"):
        await native.tool("typed")
    with pytest.raises(UnknownTarget, match="gone"):
        await native.ask("resources/read", "a://typed")


async def test_a_typed_error_out_of_a_nursery_is_what_it_was() -> None:
    @tool
    async def ask_twice(context: CallContext) -> None:
        async with trio.open_nursery() as outer, trio.open_nursery() as nursery:
            outer.start_soon(trio.lowlevel.checkpoint)
            nursery.start_soon(context.elicit, "one", {})
            nursery.start_soon(context.elicit, "two", {})

    with pytest.raises(UnknownMethod):
        await Native(ask_twice).tool("ask_twice")


async def test_failures_of_resources_and_prompts_are_errors() -> None:
    native = Native(Fails())
    with pytest.raises(InternalError, match="resource 'a://broken' failed: KeyError: 'x'"):
        await native.ask("resources/read", "a://broken")
    with pytest.raises(InternalError, match="it is being written"):
        await native.ask("resources/read", "a://told")
    with pytest.raises(InternalError, match="TypeError"):
        await native.ask("resources/read", "a://odd")
    with pytest.raises(InternalError, match="int is no content block"):
        await native.ask("prompts/get", "broken_prompt")


async def test_a_result_must_fit_its_output_type() -> None:
    @tool(output_schema=Pair)
    async def pair(b: Any) -> Any:
        return {"a": 1, "b": b}

    native = Native(pair)
    assert (await native.tool("pair", b=2))["structuredContent"] == {"a": 1, "b": 2}
    refused = await native.tool("pair", b="x")
    assert refused["isError"]
    assert "Expected `int`, got `str` - at `$.b`" in text_of(refused)


async def test_unknown_things_are_refused() -> None:
    native = Native(Fails())
    with pytest.raises(UnknownTarget, match="has no tool 'nothing'"):
        await native.tool("nothing")
    with pytest.raises(UnknownTarget) as caught:
        await native.ask("resources/read", "a://nothing")
    assert caught.value.data == {"uri": "a://nothing"}
    with pytest.raises(UnknownTarget, match="has no prompt 'nothing'"):
        await native.ask("prompts/get", "nothing")
    with pytest.raises(UnknownTarget):
        await native.ask("resources/subscribe", "a://nothing")
    with pytest.raises(UnknownMethod):
        await native.ask("tools/list", "")
    with pytest.raises(InvalidArguments):
        await native.tool("broken", secret=1)
    await native.worker.ping()
    assert await native.ask("resources/subscribe", "a://told") == {}
    assert await native.ask("logging/setLevel", "") == {}
    nothing = {"completion": {"values": [], "total": 0, "hasMore": False}}
    assert await native.ask("completion/complete", "") == nothing


class Offers:
    @resource("a://text")
    def text(self) -> str:
        return "t"

    @resource("a://bytes")
    async def data(self) -> bytes:
        return b"\x01"

    @resource("a://json")
    async def json(self) -> dict[str, int]:
        return {"x": 1}

    @resource("a://several", mime_type="text/html")
    async def several(self) -> list[Any]:
        return [Contents("a://several/1", "one", "text/plain"), "two"]

    @template("a://{day}/{+path}", mime_type="text/csv")
    async def at(self, day: int, path: str, context: CallContext) -> str:
        return f"{day} {path} {context.principal.name}"

    @prompt
    async def text_prompt(self, tone: str = "kind") -> str:
        """A prompt."""
        return tone

    @prompt
    async def talk(self, count: int) -> list[Any]:
        return [Message("hello", "assistant"), Contents("a://b", "c"), "x" * count]

    @completion
    async def complete(self, argument: dict[str, str]) -> list[str]:
        if argument["value"] == "many":
            return [str(number) for number in range(150)]
        return ["a", "b"]


async def test_resources_give_contents() -> None:
    native = Native(Offers())

    async def contents(uri: str) -> Any:
        return (await native.ask("resources/read", uri))["contents"]

    assert await contents("a://text") == [
        {"uri": "a://text", "mimeType": "text/plain", "text": "t"}
    ]
    assert await contents("a://bytes") == [
        {"uri": "a://bytes", "mimeType": "application/octet-stream", "blob": "AQ=="}
    ]
    assert await contents("a://json") == [
        {"uri": "a://json", "mimeType": "application/json", "text": '{"x":1}'}
    ]
    assert await contents("a://several") == [
        {"uri": "a://several/1", "mimeType": "text/plain", "text": "one"},
        {"uri": "a://several", "mimeType": "text/html", "text": "two"},
    ]


async def test_templates_are_given_their_variables_decoded() -> None:
    native = Native(Offers())
    (found,) = (await native.ask("resources/read", "a://7/x/y%20z"))["contents"]
    assert found == {"uri": "a://7/x/y%20z", "mimeType": "text/csv", "text": "7 x/y z local"}
    with pytest.raises(InvalidArguments, match=r"\$\.day"):
        await native.ask("resources/read", "a://x/y")
    with pytest.raises(UnknownTarget):
        await native.ask("resources/read", "a://7")


async def test_prompts_give_messages() -> None:
    native = Native(Offers())
    assert await native.ask("prompts/get", "text_prompt") == {
        "messages": [{"role": "user", "content": {"type": "text", "text": "kind"}}],
        "description": "A prompt.",
    }
    talk = await native.ask("prompts/get", "talk", arguments={"count": "2"})
    assert [one["role"] for one in talk["messages"]] == ["assistant", "user", "user"]
    assert [one["content"]["type"] for one in talk["messages"]] == ["text", "resource", "text"]
    assert "description" not in talk


async def test_completions_are_cut_at_a_hundred() -> None:
    native = Native(Offers())
    few = await native.ask("completion/complete", "", argument={"name": "x", "value": ""}, ref={})
    assert few["completion"] == {"values": ["a", "b"], "total": 2, "hasMore": False}
    many = await native.ask("completion/complete", "", argument={"name": "x", "value": "many"})
    assert len(many["completion"]["values"]) == 100
    assert (many["completion"]["total"], many["completion"]["hasMore"]) == (150, True)

    @completion
    def whole() -> dict[str, Any]:
        return {"values": ["x"]}

    class Whole:
        complete = staticmethod(whole)

    assert await Native(Whole()).ask("completion/complete", "") == {"completion": {"values": ["x"]}}


# ---- the context


async def test_progress_and_log_reach_the_caller() -> None:
    @tool
    async def work(context: CallContext) -> None:
        context.progress(1, 2, "half")
        context.progress(2)
        context.log({"x": 1}, "warning", "mylog")
        context.log("plain")

    peer = ScriptedPeer()
    await Native(work).ask(
        "tools/call", "work", peer=peer, arguments={}, meta={"progressToken": "p"}
    )
    assert peer.told == [
        (
            "notifications/progress",
            {"progressToken": "p", "progress": 1, "total": 2, "message": "half"},
        ),
        ("notifications/progress", {"progressToken": "p", "progress": 2}),
        ("notifications/message", {"level": "warning", "logger": "mylog", "data": {"x": 1}}),
        ("notifications/message", {"level": "info", "logger": "mine", "data": "plain"}),
    ]


async def test_a_thread_tells_and_asks_in_trios_thread() -> None:
    @tool
    def work(context: CallContext) -> str:
        assert threading.current_thread() is not threading.main_thread()
        context.progress(1)
        context.log("from a thread")
        context.agent.log("of the agent")
        context.agent.resource_updated("a://b")
        answer = trio.from_thread.run(context.elicit, "who?", {"type": "object"})
        return f"{answer.action} {answer.content}"

    native = Native(work)
    peer = ScriptedPeer({"elicitation/create": {"action": "accept", "content": {"name": "x"}}})
    assert text_of(await native.tool("work", peer=peer)) == "accept {'name': 'x'}"
    assert [method for method, _ in peer.told] == [
        "notifications/progress",
        "notifications/message",
    ]
    assert native.port.notes == [
        (
            "notifications/message",
            {"level": "info", "logger": "mine", "data": "of the agent"},
        ),
        ("notifications/resources/updated", {"uri": "a://b"}),
    ]


async def test_the_caller_can_be_asked() -> None:
    @tool
    async def ask(context: CallContext) -> Any:
        page = await context.elicit_page("sign in", "https://x.example")
        model = await context.sample("why?", max_tokens=5, temperature=0)
        roots = await context.roots()
        return [page.action, page.content, model["content"], roots]

    peer = ScriptedPeer(
        {
            "elicitation/create": {"action": "decline"},
            "sampling/createMessage": {"content": {"type": "text", "text": "so"}},
            "roots/list": {"roots": [{"uri": "file:///x"}]},
        }
    )
    result = await Native(ask).tool("ask", peer=peer)
    assert result["structuredContent"]["result"] == [
        "decline",
        None,
        {"type": "text", "text": "so"},
        [{"uri": "file:///x"}],
    ]
    assert peer.asked == [
        (
            "elicitation/create",
            {"mode": "url", "message": "sign in", "url": "https://x.example"},
        ),
        (
            "sampling/createMessage",
            {
                "messages": [{"role": "user", "content": {"type": "text", "text": "why?"}}],
                "maxTokens": 5,
                "temperature": 0,
            },
        ),
        ("roots/list", {}),
    ]


async def test_a_caller_that_cannot_be_asked_is_a_typed_error() -> None:
    @tool
    async def ask(context: CallContext) -> None:
        await context.elicit("who?", {})

    with pytest.raises(UnknownMethod):
        await Native(ask).tool("ask")


async def test_the_context_knows_its_call() -> None:
    @tool
    async def look(context: CallContext) -> Any:
        assert context.deadline > trio.current_time()
        return [
            len(context.request_id),
            context.principal.name,
            context.modern,
            context.meta,
            context.capabilities,
            context.state,
            context.answers,
        ]

    peer = ScriptedPeer(capabilities={"sampling": Raw(b'{"tools":{}}')})
    result = await Native(look).ask(
        "tools/call", "look", arguments={}, peer=peer, meta={"traceparent": "00-x"}
    )
    assert result["structuredContent"]["result"] == [
        36,
        "local",
        True,
        {"traceparent": "00-x"},
        {"sampling": {"tools": {}}},
        None,
        {},
    ]


# ---- threads


async def test_functions_that_are_not_async_run_in_threads_up_to_a_limit() -> None:
    arrived = threading.Semaphore(0)
    go_on = threading.Event()

    @tool
    def work() -> None:
        arrived.release()
        assert go_on.wait(60)

    native = Native(work, threads=2)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(native.tool, "work")
        for _ in range(2):
            await trio.to_thread.run_sync(functools.partial(arrived.acquire, timeout=60))
        await trio.testing.wait_all_tasks_blocked()
        assert not arrived.acquire(blocking=False)
        go_on.set()
    assert arrived.acquire(blocking=False)


async def test_a_thread_whose_caller_is_gone_is_left_behind() -> None:
    arrived, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    @tool
    def work(context: CallContext) -> None:
        arrived.set()
        assert go_on.wait(60)
        context.progress(1)  # nobody is there to hear it, and nothing breaks
        ended.set()

    native = Native(work, threads=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(native.tool, "work")
        await trio.to_thread.run_sync(arrived.wait)
        nursery.start_soon(native.tool, "work")  # waits for the only thread
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert native.port.left == ["tool work still runs in its thread"]
    with pytest.raises(
        Overloaded, match="all 1 threads are taken by calls that have been given up"
    ):
        await native.tool("work")
    go_on.set()
    await trio.to_thread.run_sync(ended.wait)
    while native.port.left:
        await trio.lowlevel.checkpoint()
    assert await native.tool("work") == {"content": []}


async def test_what_a_thread_makes_awaitable_is_awaited() -> None:
    async def answer() -> str:
        return "awaited"

    class Late:
        @tool
        def work(self) -> Any:
            return answer()

    assert text_of(await Native(Late()).tool("work")) == "awaited"


async def test_cancelling_the_caller_cancels_the_function() -> None:
    ended: list[str] = []
    started = trio.Event()

    @tool
    async def work() -> None:
        started.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.append("cancelled")

    native = Native(work)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(native.tool, "work")
        await started.wait()
        nursery.cancel_scope.cancel()
    assert ended == ["cancelled"]


async def test_of_a_failure_while_cancelled_only_the_cancellation_passes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def break_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("while being cancelled")

    @tool
    async def work() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(break_when_cancelled)
            nursery.start_soon(trio.sleep_forever)

    native = Native(work)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(native.tool, "work")
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert caplog.records[0].getMessage() == "tool work of agent mine failed"
