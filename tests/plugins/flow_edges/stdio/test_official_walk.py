"""The official SDK's client through the edge on stdio: every feature, in both eras, from upstreams of both.

Behind flowserve are a server of each era on stdio, the official SDK's over HTTP, and an agent in Python.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import attrs
import pytest
import trio
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp.client.stdio import StdioServerParameters

import mcp
from mcp import types
from support.needs import ROOT

pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning"),
    # the SDK calls old what 2025-11-25 has and 2026-07-28 has not
    pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning"),
]

Mode = Literal["auto", "legacy"]
UPSTREAMS = ROOT / "tests" / "support" / "upstreams"
PAGE = 7

CONFIG = f"""
[node]
name = "walk"

[agent.older]
type = "mcp"
command = ["python", "{UPSTREAMS}/stdio_server.py", "--era", "handshake", "--no-lists"]

[agent.newer]
type = "mcp"
command = ["python", "{UPSTREAMS}/stdio_server.py", "--era", "modern"]

[agent.sdk]
type = "mcp"
command = ["python", "{UPSTREAMS}/sdk_everything.py", "--port", "{{port}}"]
url = "http://127.0.0.1:{{port}}/mcp"

[agent.talk]
type = "python"
target = "support.talkative:Talkative"
pool = {{ min = 1, max = 1, concurrency = 100 }}

[edge.client]
type = "mcp_stdio"
page_size = {PAGE}
instructions = "ask me anything"
settle = "30s"
"""


class Handed(types.Result):
    """A task in the place of a result."""

    result_type: Literal["task"] = "task"
    task_id: str
    status: str


class Outcome(types.Result):
    """What `tasks/get` tells."""

    status: str
    result: dict[str, Any] | None = None
    input_requests: dict[str, Any] | None = None


class AsTheyCame(types.Result):
    """A list of tools with what the SDK does not know of them."""

    tools: list[dict[str, Any]]


class ForTask(types.Request[dict[str, Any], str]):
    """A request about a task."""


class Tasks(ClientExtension):
    """As much of the tasks extension as a client needs: the SDK has none."""

    identifier = "io.modelcontextprotocol/tasks"

    def __init__(self, answer: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]) -> None:
        self.answer = answer
        self.seen: list[str] = []

    def claims(self) -> list[ResultClaim[Any]]:
        return [ResultClaim(result_type="task", model=Handed, resolve=self.finish)]

    async def finish(self, handed: Handed, context: ClaimContext) -> types.CallToolResult:
        while True:
            params: dict[str, Any] = {"taskId": handed.task_id}
            got = await context.session.send_request(
                ForTask(method="tasks/get", params=params), Outcome
            )
            if got.status not in self.seen:
                self.seen.append(got.status)
            if got.status == "completed":
                return types.CallToolResult.model_validate(got.result)
            if got.input_requests:
                answers = {key: await self.answer(one) for key, one in got.input_requests.items()}
                params = {**params, "inputResponses": answers}
                update = ForTask(method="tasks/update", params=params)
                await context.session.send_request(update, types.EmptyResult)


@attrs.define(eq=False)
class Person:
    """Who sits before the client: answers what is asked, and keeps what is told."""

    asked: list[Any] = attrs.field(factory=list)
    logged: list[Any] = attrs.field(factory=list)
    told: list[str] = attrs.field(factory=list)
    tasks: Tasks = attrs.field(init=False)
    hangs: Callable[[], None] | None = None
    """Called when a call says that it hangs."""
    _news: trio.Event = attrs.field(factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        self.tasks = Tasks(self.answer)

    async def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """What a task asks; calls that ask while they run are handed out as tasks."""
        said: types.Result
        if asked["method"] == "elicitation/create":
            said = await self.elicit(None, types.ElicitRequest.model_validate(asked).params)
        elif asked["method"] == "sampling/createMessage":
            said = await self.sample(None, types.CreateMessageRequest.model_validate(asked).params)
        else:
            said = await self.roots(None)
        return said.model_dump(by_alias=True, mode="json", exclude_none=True)

    def client(self, target: StdioServerParameters, mode: Mode) -> mcp.Client:
        return mcp.Client(
            target,
            mode=mode,
            cache=None,
            log_level="info",
            elicitation_callback=self.elicit,
            sampling_callback=self.sample,
            list_roots_callback=self.roots,
            logging_callback=self.log,
            message_handler=self.hear,
            extensions=[self.tasks],
        )

    async def elicit(self, context: object, params: Any) -> types.ElicitResult:
        self.asked.append(params)
        said: dict[str, Any] = {"name": "Ann", "response": "yes", "context": "c"}
        return types.ElicitResult(action="accept", content=None if params.mode == "url" else said)

    async def sample(self, context: object, params: Any) -> types.CreateMessageResult:
        self.asked.append(params)
        text = types.TextContent(text="Paris, says the model")
        return types.CreateMessageResult(role="assistant", content=text, model="m")

    async def roots(self, context: object) -> types.ListRootsResult:
        self.asked.append("roots")
        root = types.Root.model_validate({"uri": "file:///home/ann", "name": "home"})
        return types.ListRootsResult(roots=[root])

    async def log(self, params: types.LoggingMessageNotificationParams) -> None:
        self.logged.append(params.data)
        if self.hangs is not None and str(params.data).startswith("hanging"):
            self.hangs()
        self._news.set()

    async def hear(self, message: Any) -> None:
        self.told.append(getattr(message, "method", type(message).__name__))
        self._news.set()

    async def heard(self, count: int) -> None:
        """Wait for so many log messages."""
        await self.until(lambda: len(self.logged) >= count)

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._news = trio.Event()
            await self._news.wait()


@attrs.frozen
class Walk:
    """One client, connected."""

    client: mcp.Client
    person: Person
    modern: bool

    async def call(self, tool: str, **arguments: Any) -> types.CallToolResult:
        return await self.client.call_tool(tool, arguments)

    async def text(self, tool: str, **arguments: Any) -> str:
        (content,) = (await self.call(tool, **arguments)).content
        assert isinstance(content, types.TextContent)
        return content.text


async def paged(ask: Callable[..., Awaitable[Any]], member: str) -> list[Any]:
    """All of a list, page by page."""
    found: list[Any] = []
    cursor = None
    while True:
        page = await ask(cursor=cursor)
        assert 0 < len(getattr(page, member)) <= PAGE
        found += getattr(page, member)
        cursor = page.next_cursor
        if cursor is None:
            return found


async def identity(walk: Walk) -> None:
    client = walk.client
    assert client.protocol_version == ("2026-07-28" if walk.modern else "2025-11-25")
    assert client.server_info is not None
    assert client.server_info.name == "flowcore"
    assert client.instructions is not None
    assert "ask me anything" in client.instructions
    able = client.server_capabilities
    assert able.tools is not None
    assert able.tools.list_changed
    assert able.resources is not None
    assert able.resources.subscribe
    assert able.prompts is not None
    assert able.completions is not None
    assert able.logging is not None


async def lists(walk: Walk) -> None:
    tools = await paged(walk.client.list_tools, "tools")
    names = Counter(tool.name for tool in tools)
    assert max(names.values()) == 1
    wanted = {"older.echo", "newer.echo", "sdk.test_simple_text", "talk.echo", "flow.agents"}
    assert wanted <= names.keys()
    cursor, seen = None, list[dict[str, Any]]()
    while not any(tool["name"] == "newer.echo" for tool in seen):
        request = types.ListToolsRequest(params=types.PaginatedRequestParams(cursor=cursor))
        page = await walk.client.session.send_request(request, AsTheyCame)
        seen, cursor = page.tools, (page.model_extra or {}).get("nextCursor")
    (echo,) = (tool for tool in seen if tool["name"] == "newer.echo")
    assert echo["x-unknown"] == {"kept": [1, 2.5, "é"]}
    assert echo["annotations"] == {"readOnlyHint": True, "idempotentHint": True}
    resources = await paged(walk.client.list_resources, "resources")
    assert {"file:///a", "test://static-text", "test://static"} <= {
        str(one.uri) for one in resources
    }
    templates = await paged(walk.client.list_resource_templates, "resource_templates")
    assert {one.uri_template for one in templates} == {
        *("file:///{x}", "test://template/{id}/data", "test://items/{item}")
    }
    prompts = await paged(walk.client.list_prompts, "prompts")
    assert {"newer.greet", "sdk.test_simple_prompt", "talk.review"} <= {one.name for one in prompts}


async def calls(walk: Walk) -> None:
    for agent in ("older", "newer", "talk"):
        assert await walk.text(f"{agent}.echo", text=f"hear, {agent}") == f"hear, {agent}"
    assert "simple text" in await walk.text("sdk.test_simple_text")
    kinds = [one.type for one in (await walk.call("sdk.test_multiple_content_types")).content]
    assert kinds == ["text", "image", "resource"]
    assert (await walk.call("sdk.test_error_handling")).is_error
    assert (await walk.call("talk.echo", text=5)).is_error
    for tool in ("older.fail", "newer.fail"):
        with pytest.raises(mcp.MCPError) as caught:
            await walk.call(tool)
        assert (caught.value.code, caught.value.data) == (-32042, {"why": [1, None, "x"]})
    with pytest.raises(mcp.MCPError) as caught:
        await walk.call("nobody.nothing")
    assert caught.value.code == -32602


async def meta(walk: Walk) -> None:
    given = {
        "org.example/trace": {"a": [1, None]},
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    for tool in ("older.meta", "newer.meta"):
        result = await walk.client.call_tool(tool, {}, meta=given)  # type: ignore[arg-type]
        assert result.structured_content is not None
        heard = dict(result.structured_content["meta"])
        assert heard["org.example/trace"] == given["org.example/trace"]
        version, trace_id, span_id, flags = heard["traceparent"].split("-")
        assert (version, trace_id, flags) == ("00", "0af7651916cd43dd8448eb211c80319c", "01")
        assert span_id != "b7ad6b7169203331"  # what is done there is a part of what is done here


async def progress(walk: Walk) -> None:
    async def note(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total))

    for tool, steps in {
        "older.progress": [(1, 3), (2, 3), (3, 3)],
        "newer.progress": [(1, 3), (2, 3), (3, 3)],
        "sdk.test_tool_with_progress": [(0, 100), (50, 100), (100, 100)],
    }.items():
        seen: list[tuple[float, float | None]] = []
        await walk.client.call_tool(tool, {}, progress_callback=note)
        assert seen == steps


async def logs(walk: Walk) -> None:
    if not walk.modern:
        await walk.client.set_logging_level("info")
    count = len(walk.person.logged)
    for tool in ("older.log", "newer.log", "sdk.test_logging_tool"):
        await walk.call(tool)
        count += 1
        await walk.person.heard(count)
    assert walk.person.logged[-3:-1] == ["hello", "hello"]


QUESTIONS: dict[str, tuple[str, dict[str, Any], str]] = {
    "a form": (
        "elicitation/create",
        {
            "mode": "form",
            "message": "who?",
            "requestedSchema": {"type": "object", "properties": {}},
        },
        "Ann",
    ),
    "a page": (
        "elicitation/create",
        {"mode": "url", "message": "go", "url": "https://a.example/x", "elicitationId": "7"},
        "accept",
    ),
    "a model": (
        "sampling/createMessage",
        {"messages": [{"role": "user", "content": {"type": "text", "text": "hi"}}], "maxTokens": 9},
        "Paris",
    ),
    "roots": ("roots/list", {}, "file:///home/ann"),
}


async def questions(walk: Walk) -> None:
    for agent in ("older", "newer"):
        for what, (method, params, answer) in QUESTIONS.items():
            before = len(walk.person.asked)
            said = await walk.text(f"{agent}.ask", method=method, params=params)
            assert answer in said, (agent, what)
            assert len(walk.person.asked) == before + 1, (agent, what)
    page = walk.person.asked[1]
    assert (page.url, page.message) == ("https://a.example/x", "go")
    assert await walk.text("talk.greet_elicited") == "hello, Ann"
    assert await walk.text("talk.greet_by_rounds") == "hello, Ann after 1"
    if walk.modern:
        rounds = "sdk.test_input_required_result"
        assert "All inputs" in await walk.text(f"{rounds}_multiple_inputs")
        assert "state-ok" in await walk.text(f"{rounds}_request_state")
        assert (await walk.client.get_prompt(f"{rounds}_prompt")).messages
    else:  # this server is spoken to in its clients' era
        assert '"response": "yes"' in await walk.text("sdk.test_elicitation", message="well?")
        assert "Paris" in await walk.text("sdk.test_sampling", prompt="the capital?")


async def cancellation(walk: Walk) -> None:
    for agent in ("older", "newer"):
        with trio.CancelScope() as scope:
            walk.person.hangs = scope.cancel
            await walk.call(f"{agent}.hang")
        assert scope.cancelled_caught
        walk.person.hangs = None
        while len(json.loads(await walk.text(f"{agent}.cancelled"))) != 1:
            await trio.lowlevel.checkpoint()  # each is a call, and its answer


async def changes(walk: Walk) -> None:
    person, uri = walk.person, "file:///a"
    listed = "notifications/tools/list_changed"
    updated = "notifications/resources/updated"
    if walk.modern:
        async with walk.client.listen(
            tools_list_changed=True, resource_subscriptions=[uri]
        ) as heard:
            events = aiter(heard)
            await walk.call("newer.grow")
            assert type(await anext(events)).__name__ == "ToolsListChanged"
            await walk.call("newer.touch", uri=uri)
            event = await anext(events)
            assert str(event.uri) == uri  # type: ignore[union-attr]
    else:
        await walk.client.subscribe_resource(uri)
        await walk.call("newer.grow")
        await person.until(lambda: listed in person.told)
        await walk.call("newer.touch", uri=uri)
        await person.until(lambda: updated in person.told)
        await walk.client.unsubscribe_resource(uri)
    grown = False
    while not grown:  # what was told of first may have been another change
        tools = await paged(walk.client.list_tools, "tools")
        grown = any(tool.name.startswith("newer.new-") for tool in tools)


async def resources(walk: Walk) -> None:
    async def contents(uri: str) -> Any:
        (content,) = (await walk.client.read_resource(uri)).contents
        assert str(content.uri) == uri
        return content

    assert (await contents("file:///a")).text == "content"
    assert (await contents("test://static")).text == "static text"
    assert (await contents("test://static-binary")).blob
    assert '"7"' in (await contents("test://template/7/data")).text
    with pytest.raises(mcp.MCPError) as caught:
        await walk.client.read_resource("nobody://has/this")
    assert caught.value.code == (-32602 if walk.modern else -32002)


async def prompts(walk: Walk) -> None:
    given = {"arg1": "one", "arg2": "two"}
    filled = await walk.client.get_prompt("sdk.test_prompt_with_arguments", given)
    (message,) = filled.messages
    assert isinstance(message.content, types.TextContent)
    assert "one" in message.content.text
    assert (await walk.client.get_prompt("newer.greet")).messages


async def completion(walk: Walk) -> None:
    for prompt, argument, values in (
        ("newer.greet", "who", ["one", "two"]),
        ("sdk.test_prompt_with_arguments", "arg1", ["paris"]),
        ("talk.review", "code", ["python", "pytest"]),
    ):
        reference = types.PromptReference(type="ref/prompt", name=prompt)
        found = await walk.client.complete(reference, {"name": argument, "value": "py"})
        assert found.completion.values == values
    template = types.ResourceTemplateReference(type="ref/resource", uri="file:///{x}")
    found = await walk.client.complete(template, {"name": "x", "value": ""})
    assert found.completion.values == ["one", "two"]


async def tasks(walk: Walk) -> None:
    assert await walk.text("talk.job", steps=3) == "3 steps"
    if not walk.modern:
        return  # in 2025-11-25 nobody is handed one without asking
    assert await walk.text("talk.job_that_asks") == "hello, Ann"
    assert {"input_required", "completed"} <= set(walk.person.tasks.seen)
    handed = await walk.client.session.call_tool("newer.echo", {"text": "soon"}, allow_claimed=True)
    assert isinstance(handed, types.CallToolResult)  # what is there at once is no task


STEPS = (
    *(identity, lists, calls, meta, progress, logs, questions, cancellation, changes),
    *(resources, prompts, completion, tasks),
)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_official_client_walks_through_all_of_it(
    mode: Mode, tmp_path: pathlib.Path
) -> None:
    config = tmp_path / "flow.toml"
    config.write_text(CONFIG)
    program = "from flowcore.cli.flowserve import main; main()"
    target = StdioServerParameters(
        command=sys.executable,
        args=["-c", program, "--config", str(config), "--log-level", "error"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
    )
    person = Person()
    with trio.fail_after(90):
        async with person.client(target, mode) as client:
            walk = Walk(client, person, modern=mode == "auto")
            for step in STEPS:
                with trio.move_on_after(20) as limit:
                    await step(walk)
                assert not limit.cancelled_caught, f"{step.__name__} does not end"
