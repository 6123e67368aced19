"""What the conformance suite calls, built on the official SDK: an upstream that is not of our making.

Usage: sdk_everything.py [--port PORT]; without a port it speaks over stdio.
"""

from __future__ import annotations

import argparse
import base64
import json
import logging
import warnings
from collections.abc import Mapping
from typing import Annotated, Any

import anyio
from mcp.server.mcpserver import Audio, Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, Field

from mcp import MCPError, types

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
)
SILENCE = base64.b64decode("UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=")
Asks = types.InputRequiredResult

server = MCPServer("everything of the SDK", version="1")
warnings.simplefilter(
    "ignore", DeprecationWarning
)  # logging is deprecated, and tested all the same


def form(message: str, **properties: str) -> types.ElicitRequest:
    """A question to a person, with a field for each property."""
    schema = {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in properties.items()},
        "required": list(properties),
    }
    params = types.ElicitRequestFormParams(message=message, requested_schema=schema)
    return types.ElicitRequest(params=params)


def sample(text: str) -> types.CreateMessageRequest:
    """A question to the client's model."""
    message = types.SamplingMessage(role="user", content=types.TextContent(text=text))
    params = types.CreateMessageRequestParams(messages=[message], max_tokens=100)
    return types.CreateMessageRequest(params=params)


def filled(context: Context, key: str) -> Mapping[str, Any] | None:
    """What a person filled into a form; None if there is no such answer."""
    answer = (context.input_responses or {}).get(key)
    if isinstance(answer, types.ElicitResult) and answer.action == "accept":
        return answer.content
    return None


def embedded(uri: str, kind: str, text: str) -> types.EmbeddedResource:
    contents = types.TextResourceContents(uri=uri, mime_type=kind, text=text)
    return types.EmbeddedResource(resource=contents)


# ---- content


@server.tool()
def test_simple_text() -> str:
    """Gives a text."""
    return "This is a simple text response for testing."


@server.tool()
def test_image_content() -> Image:
    """Gives an image."""
    return Image(data=PIXEL, format="png")


@server.tool()
def test_audio_content() -> Audio:
    """Gives a sound."""
    return Audio(data=SILENCE, format="wav")


@server.tool()
def test_embedded_resource() -> types.EmbeddedResource:
    """Gives a resource."""
    text = "This is an embedded resource content."
    return embedded("test://embedded-resource", "text/plain", text)


@server.tool()
def test_multiple_content_types() -> list[
    types.TextContent | types.ImageContent | types.EmbeddedResource
]:
    """Gives a text, an image and a resource."""
    data = json.dumps({"test": "data", "value": 123})
    return [
        types.TextContent(text="Multiple content types test:"),
        types.ImageContent(data=base64.b64encode(PIXEL).decode(), mime_type="image/png"),
        embedded("test://mixed-content-resource", "application/json", data),
    ]


@server.tool()
def test_error_handling() -> str:
    """Fails."""
    raise ToolError("This tool intentionally returns an error for testing")


@server.tool()
def test_x_mcp_header(
    region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})] = "",  # noqa: PT028
) -> str:
    """Has an argument that a header mirrors."""
    return f"region={region or '<none>'}"


# ---- word while it works


@server.tool()
async def test_tool_with_logging(context: Context) -> str:
    """Logs while it works."""
    for step in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await context.info(step)
        await anyio.sleep(0.05)
    return "Tool with logging executed successfully"


@server.tool()
async def test_logging_tool(context: Context) -> str:
    """Logs once."""
    await context.info("A message for whoever asked for it")
    return "logged"


@server.tool()
async def test_tool_with_progress(context: Context) -> str:
    """Tells its progress."""
    for step in (0, 50, 100):
        await context.report_progress(step, 100, f"Completed step {step} of 100")
        await anyio.sleep(0.05)
    return "progress was told"


# ---- questions while it works (versions with a handshake)


@server.tool()
async def test_sampling(prompt: str, context: Context) -> str:
    """Asks the client's model."""
    messages = [types.SamplingMessage(role="user", content=types.TextContent(text=prompt))]
    answer = await context.session.create_message(
        messages, max_tokens=100, related_request_id=context.request_id
    )
    text = getattr(answer.content, "text", "No response")
    return f"LLM response: {text}"


async def elicit(context: Context, message: str, schema: dict[str, Any]) -> str:
    answer = await context.session.elicit_form(message, schema, context.request_id)
    return f"action={answer.action}, content={json.dumps(answer.content)}"


@server.tool()
async def test_elicitation(message: str, context: Context) -> str:
    """Asks a person."""
    properties = {"response": {"type": "string", "description": "User's response"}}
    schema = {"type": "object", "properties": properties, "required": ["response"]}
    return f"User response: {await elicit(context, message, schema)}"


@server.tool()
async def test_elicitation_sep1034_defaults(context: Context) -> str:
    """Asks with defaults."""
    statuses = ["active", "inactive", "pending"]
    properties = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": statuses, "default": "active"},
        "verified": {"type": "boolean", "default": True},
    }
    schema = {"type": "object", "properties": properties, "required": []}
    return f"Elicitation completed: {await elicit(context, 'Please review', schema)}"


@server.tool()
async def test_elicitation_sep1330_enums(context: Context) -> str:
    """Asks for choices."""
    options = ["option1", "option2", "option3"]
    titled = [{"const": f"value{n}", "title": f"Option {n}"} for n in (1, 2, 3)]
    names = {"enum": ["opt1", "opt2"], "enumNames": ["One", "Two"]}
    properties = {
        "untitledSingle": {"type": "string", "enum": options},
        "titledSingle": {"type": "string", "oneOf": titled},
        "legacyEnum": {"type": "string", **names},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled}},
    }
    schema = {"type": "object", "properties": properties, "required": []}
    return f"Elicitation completed: {await elicit(context, 'Please choose', schema)}"


@server.tool()
async def test_missing_capability(context: Context) -> str:
    """Needs sampling."""
    capabilities = context.session.client_capabilities
    if capabilities is None or capabilities.sampling is None:
        data: dict[str, Any] = {"requiredCapabilities": {"sampling": {}}}
        raise MCPError(code=-32021, message="sampling is needed", data=data)
    return "sampling was declared"


# ---- questions that end a call (2026-07-28)


@server.tool()
async def test_streaming_elicitation(context: Context) -> str | Asks:
    """Asks by ending its call."""
    if filled(context, "name") is None:
        return Asks(input_requests={"name": form("What is your name?", name="string")})
    return "answered"


@server.tool()
async def test_input_required_result_elicitation(context: Context) -> str | Asks:
    """Asks a person."""
    answer = filled(context, "user_name")
    if answer is None:
        return Asks(input_requests={"user_name": form("What is your name?", name="string")})
    return f"Hello, {answer['name']}!"


@server.tool()
async def test_input_required_result_sampling(context: Context) -> str | Asks:
    """Asks a model."""
    answer = (context.input_responses or {}).get("capital_question")
    if not isinstance(answer, types.CreateMessageResult):
        question = sample("What is the capital of France?")
        return Asks(input_requests={"capital_question": question})
    return f"Model said: {getattr(answer.content, 'text', '?')}"


@server.tool()
async def test_input_required_result_list_roots(context: Context) -> str | Asks:
    """Asks for roots."""
    answer = (context.input_responses or {}).get("client_roots")
    if not isinstance(answer, types.ListRootsResult):
        return Asks(input_requests={"client_roots": types.ListRootsRequest()})
    return f"Client exposed {len(answer.roots)} root(s)."


@server.tool()
async def test_input_required_result_request_state(context: Context) -> str | Asks:
    """Gives a state along."""
    if context.request_state == "nonce" and filled(context, "confirm") is not None:
        return "state-ok: confirmation received"
    question = form("Please confirm", ok="boolean")
    return Asks(input_requests={"confirm": question}, request_state="nonce")


@server.tool()
async def test_input_required_result_multiple_inputs(context: Context) -> str | Asks:
    """Asks three things."""
    questions: dict[str, Any] = {
        "user_name": form("What is your name?", name="string"),
        "greeting": sample("Generate a greeting"),
        "client_roots": types.ListRootsRequest(),
    }
    if questions.keys() <= (context.input_responses or {}).keys():
        return "All inputs received."
    return Asks(input_requests=questions, request_state="asked")


@server.tool()
async def test_input_required_result_multi_round(context: Context) -> str | Asks:
    """Asks twice."""
    state = json.loads(context.request_state or "{}")
    first, second = filled(context, "step1"), filled(context, "step2")
    if state.get("round") == 1 and first is not None:
        question = form("Step 2: What is your favorite color?", color="string")
        state = json.dumps({"round": 2, "name": first["name"]})
        return Asks(input_requests={"step2": question}, request_state=state)
    if state.get("round") == 2 and second is not None:
        return f"{state['name']} likes {second['color']}."
    question = form("Step 1: What is your name?", name="string")
    return Asks(input_requests={"step1": question}, request_state=json.dumps({"round": 1}))


@server.tool()
async def test_input_required_result_tampered_state(context: Context) -> str | Asks:
    """Gives a sealed state along."""
    if context.request_state is None:
        question = form("Please confirm", ok="boolean")
        return Asks(input_requests={"confirm": question}, request_state="round-1")
    return f"state-ok: {context.request_state}"


@server.tool()
async def test_input_required_result_capabilities(context: Context) -> str | Asks:
    """Asks what can be asked."""
    if context.input_responses:
        return "answered"
    able = context.client_capabilities
    questions: dict[str, Any] = {}
    if able is not None and able.sampling is not None:
        questions["sample"] = sample("Say hello")
    if able is not None and able.elicitation is not None:
        questions["ask"] = form("What is your name?", name="string")
    return Asks(input_requests=questions, request_state="asked what can be asked")


# ---- lists that change


def dynamic() -> str:
    """There for a moment."""
    return "dynamic"


@server.tool()
async def test_trigger_tool_change(context: Context) -> str:
    """Offers a tool for a moment."""
    server.add_tool(dynamic, name="test_dynamic_tool")
    await context.notify_tools_changed()
    await anyio.sleep(0.1)
    server.remove_tool("test_dynamic_tool")
    await context.notify_tools_changed()
    return "tool list changed"


# ---- resources, prompts, completion


@server.resource("test://static-text", mime_type="text/plain")
def static_text() -> str:
    """A text."""
    return "This is the content of the static text resource."


@server.resource("test://static-binary", mime_type="image/png")
def static_binary() -> bytes:
    """An image."""
    return PIXEL


@server.resource("test://watched-resource", mime_type="text/plain")
def watched_resource() -> str:
    """A text to subscribe to."""
    return "Watched resource content"


@server.resource("test://template/{id}/data", mime_type="application/json")
def template_data(id: str) -> str:  # noqa: A002 - the variable's name
    """One of many."""
    return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


@server.prompt()
def test_simple_prompt() -> str:
    """A plain prompt."""
    return "This is a simple prompt for testing."


@server.prompt()
def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    """A prompt with arguments."""
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


@server.prompt()
def test_prompt_with_embedded_resource(resourceUri: str) -> list[Any]:
    """A prompt with a resource."""
    text = "Embedded resource content for testing."
    return [
        user(embedded(resourceUri, "text/plain", text)),
        user("Please process the embedded resource above."),
    ]


@server.prompt()
def test_prompt_with_image() -> list[Any]:
    """A prompt with an image."""
    image = types.ImageContent(data=base64.b64encode(PIXEL).decode(), mime_type="image/png")
    return [user(image), user("Please analyze the image above.")]


@server.prompt()
async def test_input_required_result_prompt(context: Context) -> str | Asks:
    """A prompt that asks."""
    answer = filled(context, "user_context")
    if answer is None:
        question = form("What context should the prompt use?", context="string")
        return Asks(input_requests={"user_context": question})
    return f"Use the following context: {answer['context']}"


@server.completion()  # type: ignore[no-untyped-call,untyped-decorator]  # the SDK has no types here
async def complete(ref: object, argument: object, context: object) -> types.Completion:
    return types.Completion(values=["paris"], total=1, has_more=False)


class _Uri(BaseModel):
    uri: str


class _Level(BaseModel):
    level: str


async def _nothing(context: object, params: object) -> types.EmptyResult:
    return types.EmptyResult()


for method, kind in (
    ("resources/subscribe", _Uri),
    ("resources/unsubscribe", _Uri),
    ("logging/setLevel", _Level),
):
    server._lowlevel_server.add_request_handler(method, kind, _nothing)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    port = parser.parse_args().port
    logging.basicConfig(level=logging.ERROR)
    if port is None:
        server.run("stdio")
    else:
        server.run("streamable-http", port=port)
