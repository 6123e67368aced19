"""An agent that uses everything there is: the surface that MCP's conformance suite calls.

    [agent.everything]
    type = "python"
    target = "./everything_agent.py"
    names = "bare"

The names, texts and shapes are those of `@modelcontextprotocol/conformance` (its server scenarios, and the
fixtures of its Tasks scenarios). For an agent of your own, see `notes_agent.py` first.
"""

from __future__ import annotations

import base64
import json
from typing import Annotated, Any

import trio
from msgspec import Meta

from flowcore.errors import InternalError
from flowcore.mcp import MissingCapability
from flowcore.native import (
    Audio,
    CallContext,
    Contents,
    Image,
    InputRequired,
    Message,
    Text,
    ToolError,
    ask_form,
    ask_model,
    ask_roots,
    completion,
    prompt,
    resource,
    template,
    tool,
)

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
)
"""A PNG of one pixel."""
SILENCE = base64.b64decode("UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=")
"""A WAV of no length."""

NAME = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
OK = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}


# ---- content


@tool(read_only=True)
async def test_simple_text() -> str:
    """Gives a text."""
    return "This is a simple text response for testing."


@tool(read_only=True)
async def test_image_content() -> Image:
    """Gives an image."""
    return Image(PIXEL)


@tool(read_only=True)
async def test_audio_content() -> Audio:
    """Gives a sound."""
    return Audio(SILENCE)


@tool(read_only=True)
async def test_embedded_resource() -> Contents:
    """Gives a resource, embedded."""
    return Contents(
        "test://embedded-resource", "This is an embedded resource content.", "text/plain"
    )


@tool(read_only=True)
async def test_multiple_content_types() -> list[Any]:
    """Gives a text, an image and a resource."""
    data = json.dumps({"test": "data", "value": 123})
    return [
        Text("Multiple content types test:"),
        Image(PIXEL),
        Contents("test://mixed-content-resource", data, "application/json"),
    ]


@tool
async def test_error_handling() -> str:
    """Fails, always."""
    raise ToolError("This tool intentionally returns an error for testing")


SCHEMA_2020_12: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


@tool(input_schema=SCHEMA_2020_12)
async def json_schema_2020_12_tool(**arguments: Any) -> str:
    """Takes arguments of a schema written by hand, with all that JSON Schema 2020-12 has."""
    return f"JSON Schema 2020-12 tool called with: {json.dumps(arguments)}"


@tool(read_only=True)
async def test_x_mcp_header(
    region: Annotated[
        str,
        Meta(
            description="mirrored into the header Mcp-Param-Region",
            extra_json_schema={"x-mcp-header": "Region"},
        ),
    ] = "<none>",  # noqa: PT028 - no test, in spite of its name
) -> str:
    """Has an argument that HTTP clients mirror into a header."""
    return f"region={region}"


# ---- word while it works


@tool
async def test_tool_with_logging(context: CallContext) -> str:
    """Sends log messages while it works."""
    context.log("Tool execution started")
    await trio.sleep(0.05)
    context.log("Tool processing data")
    await trio.sleep(0.05)
    context.log("Tool execution completed")
    return "Tool with logging executed successfully"


@tool
async def test_logging_tool(context: CallContext) -> str:
    """Sends a log message, which only a client that asked for one may get."""
    context.log("A message for whoever asked for it")
    return "logged"


@tool
async def test_tool_with_progress(context: CallContext) -> str:
    """Tells its progress."""
    for step in (0, 50, 100):
        context.progress(step, 100, f"Completed step {step} of 100")
        await trio.sleep(0.05)
    return str(context.meta.get("progressToken", 0))


@tool
async def test_reconnection(context: CallContext) -> str:
    """Works long enough that its client may lose the stream and come back to it."""
    context.log("Before disconnect")
    await trio.sleep(0.2)
    context.log("After reconnect")
    return "Reconnection test completed"


# ---- questions while it works


@tool
async def test_sampling(prompt: str, context: CallContext) -> str:
    """Asks the caller's model."""
    answer = await context.sample(prompt, max_tokens=100)
    return f"LLM response: {answer.get('content', {}).get('text', 'No response')}"


@tool
async def test_elicitation(message: str, context: CallContext) -> str:
    """Asks the person behind the caller."""
    schema = {
        "type": "object",
        "properties": {"response": {"type": "string", "description": "User's response"}},
        "required": ["response"],
    }
    answer = await context.elicit(message, schema)
    return f"User response: action={answer.action}, content={json.dumps(answer.content or {})}"


@tool
async def test_streaming_elicitation(context: CallContext) -> str:
    """Asks the person behind the caller, whatever version of the protocol the caller speaks."""
    answer = await context.elicit("What is your name?", NAME)
    return f"action={answer.action}"


@tool
async def test_elicitation_sep1034_defaults(context: CallContext) -> str:
    """Asks with default values of every primitive type."""
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "User name", "default": "John Doe"},
            "age": {"type": "integer", "description": "User age", "default": 30},
            "score": {"type": "number", "description": "User score", "default": 95.5},
            "status": {
                "type": "string",
                "description": "User status",
                "enum": ["active", "inactive", "pending"],
                "default": "active",
            },
            "verified": {"type": "boolean", "description": "Verified or not", "default": True},
        },
        "required": [],
    }
    answer = await context.elicit("Please review and update the form fields", schema)
    return f"Elicitation completed: action={answer.action}, content={json.dumps(answer.content)}"


@tool
async def test_elicitation_sep1330_enums(context: CallContext) -> str:
    """Asks for choices in every form there is."""
    titled = [
        {"const": "value1", "title": "First Option"},
        {"const": "value2", "title": "Second Option"},
        {"const": "value3", "title": "Third Option"},
    ]
    options = ["option1", "option2", "option3"]
    schema = {
        "type": "object",
        "properties": {
            "untitledSingle": {"type": "string", "enum": options},
            "titledSingle": {"type": "string", "oneOf": titled},
            "legacyEnum": {
                "type": "string",
                "enum": ["opt1", "opt2", "opt3"],
                "enumNames": ["Option One", "Option Two", "Option Three"],
            },
            "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
            "titledMulti": {"type": "array", "items": {"anyOf": titled}},
        },
        "required": [],
    }
    answer = await context.elicit("Please select options from the enum fields", schema)
    return f"Elicitation completed: action={answer.action}, content={json.dumps(answer.content)}"


@tool
async def test_missing_capability(context: CallContext) -> str:
    """Needs a caller that can sample, and says so before it does anything."""
    if "sampling" not in context.capabilities:
        raise MissingCapability({"sampling": {}})
    return "Client declared sampling capability; proceeding."


# ---- questions that end a call (MCP 2026-07-28)


def accepted(context: CallContext, key: str) -> dict[str, Any] | None:
    """What a person filled into the form of that key; None if there is no such answer."""
    answer = context.answers.get(key, {})
    content = answer.get("content")
    return content if answer.get("action") == "accept" and isinstance(content, dict) else None


@tool
async def test_input_required_result_elicitation(context: CallContext) -> str:
    """Asks for a name."""
    answer = accepted(context, "user_name")
    if answer is None:
        raise InputRequired({"user_name": ask_form("What is your name?", NAME)})
    return f"Hello, {answer.get('name', 'stranger')}!"


@tool
async def test_input_required_result_sampling(context: CallContext) -> str:
    """Asks the caller's model."""
    answer = context.answers.get("capital_question")
    if answer is None:
        question = ask_model("What is the capital of France?", max_tokens=100)
        raise InputRequired({"capital_question": question})
    return f"Model said: {answer.get('content', {}).get('text', '?')}"


@tool
async def test_input_required_result_list_roots(context: CallContext) -> str:
    """Asks for the caller's roots."""
    answer = context.answers.get("client_roots")
    if answer is None:
        raise InputRequired({"client_roots": ask_roots()})
    return f"Client exposed {len(answer.get('roots', []))} root(s)."


@tool
async def test_input_required_result_request_state(context: CallContext) -> str:
    """Gives the caller a state to bring back."""
    if "confirm" in context.answers and context.state == "nonce":
        return "state-ok: confirmation received"
    raise InputRequired({"confirm": ask_form("Please confirm", OK)}, state="nonce")


@tool
async def test_input_required_result_multiple_inputs(context: CallContext) -> str:
    """Asks three things of three kinds at once."""
    if context.state == "asked" and {"user_name", "greeting", "client_roots"} <= set(
        context.answers
    ):
        return "All inputs received."
    questions = {
        "user_name": ask_form("What is your name?", NAME),
        "greeting": ask_model("Generate a greeting", max_tokens=50),
        "client_roots": ask_roots(),
    }
    raise InputRequired(questions, state="asked")


@tool
async def test_input_required_result_multi_round(context: CallContext) -> str:
    """Asks twice, one after the other."""
    match context.state:
        case {"round": 1} if (first := accepted(context, "step1")) is not None:
            color = {"type": "object", "properties": {"color": {"type": "string"}}}
            question = ask_form("Step 2: What is your favorite color?", color)
            raise InputRequired({"step2": question}, state={"round": 2, "name": first.get("name")})
        case {"round": 2, "name": name} if (second := accepted(context, "step2")) is not None:
            return f"{name} likes {second.get('color')}."
    question = ask_form("Step 1: What is your name?", NAME)
    raise InputRequired({"step1": question}, state={"round": 1})


@tool
async def test_input_required_result_tampered_state(context: CallContext) -> str:
    """Gives the caller a state that it cannot change unnoticed."""
    if context.state is None:
        raise InputRequired({"confirm": ask_form("Please confirm", OK)}, state="round-1")
    return f"state-ok: {context.state}"


@tool
async def test_input_required_result_capabilities(context: CallContext) -> str:
    """Asks only what the caller declared it can answer."""
    if context.answers:
        return "answered"
    questions = {}
    if "sampling" in context.capabilities:
        questions["sample"] = ask_model("Say hello", max_tokens=50)
    if "elicitation" in context.capabilities:
        questions["ask"] = ask_form("What is your name?", NAME)
    raise InputRequired(questions, state="asked what can be asked")


# ---- lists that change

MOMENT = 0.02
"""Seconds for which a change stands: one that nobody could have seen is told to nobody."""


@tool
async def test_trigger_tool_change(context: CallContext) -> str:
    """Offers one more tool, and withdraws it."""

    @tool
    async def test_dynamic_tool() -> str:
        """A tool that is there for a moment."""
        return "dynamic"

    context.agent.offer(test_dynamic_tool)
    await trio.sleep(MOMENT)
    context.agent.withdraw("test_dynamic_tool")
    return "tool list changed"


@tool
async def test_trigger_prompt_change(context: CallContext) -> str:
    """Offers one more prompt, and withdraws it."""

    @prompt
    async def test_dynamic_prompt() -> str:
        """A prompt that is there for a moment."""
        return "dynamic"

    context.agent.offer(test_dynamic_prompt)
    await trio.sleep(MOMENT)
    context.agent.withdraw("test_dynamic_prompt")
    return "prompt list changed"


# ---- long work (the Tasks extension)


@tool(read_only=True, task="forbidden")
async def greet(name: str) -> str:
    """Greets at once."""
    return f"Hello, {name}!"


@tool(task="optional")
async def slow_compute(seconds: float, context: CallContext, label: str = "") -> str:
    """Works for so many seconds."""
    context.progress(0, seconds, f"computing {label}")
    await trio.sleep(seconds)
    return f"computed {label} in {seconds:g} s"


@tool(task="required")
async def failing_job() -> str:
    """Works for a second, and fails."""
    await trio.sleep(1)
    raise ToolError("the job failed")


@tool(task="optional")
async def protocol_error_job() -> str:
    """Ends in an error of the protocol rather than in a result."""
    raise InternalError("the job could not be done at all")


@tool(task="optional", destructive=True)
async def confirm_delete(filename: str, context: CallContext) -> str:
    """Asks before it deletes (nothing, here)."""
    schema = {
        "type": "object",
        "properties": {"confirm": {"type": "boolean", "title": "Delete it?"}},
        "required": ["confirm"],
    }
    answer = await context.elicit(f"Delete {filename}?", schema)
    if answer.action == "accept" and (answer.content or {}).get("confirm"):
        return f"deleted {filename}"
    return f"kept {filename}"


@tool(task="optional")
async def multi_input(context: CallContext) -> str:
    """Asks two things at once."""
    answers: dict[str, Any] = {}

    async def ask(what: str) -> None:
        schema = {"type": "object", "properties": {what: {"type": "string"}}}
        answers[what] = (await context.elicit(f"Which {what}?", schema)).content

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, "name")
        nursery.start_soon(ask, "color")
    return json.dumps(answers, sort_keys=True)


@tool(task="required")
async def test_tool_with_task(context: CallContext) -> str:
    """Asks first, and then works long."""
    answer = accepted(context, "user_name")
    if answer is None:
        raise InputRequired({"user_name": ask_form("What is your name?", NAME)})
    await trio.sleep(0.2)
    return f"Worked for {answer.get('name', 'stranger')}."


# ---- resources


@resource("test://static-text", mime_type="text/plain")
async def static_text() -> str:
    """A text that never changes."""
    return "This is the content of the static text resource."


@resource("test://static-binary", mime_type="image/png")
async def static_binary() -> bytes:
    """An image that never changes."""
    return PIXEL


@resource("test://watched-resource", mime_type="text/plain")
async def watched_resource() -> str:
    """A text that can be subscribed to."""
    return "Watched resource content"


@template("test://template/{id}/data", mime_type="application/json")
async def template_data(id: str) -> dict[str, Any]:  # noqa: A002 - the variable's name
    """One resource per id.

    Args:
        id: whichever you like
    """
    return {"id": id, "templateTest": True, "data": f"Data for ID: {id}"}


@tool
async def touch_watched_resource(context: CallContext) -> str:
    """Tells everyone who subscribed that the watched resource changed."""
    context.agent.resource_updated("test://watched-resource")
    return "updated"


# ---- prompts and completion


@prompt
async def test_simple_prompt() -> str:
    """A prompt without arguments."""
    return "This is a simple prompt for testing."


@prompt
async def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    """A prompt with two arguments.

    Args:
        arg1: the first one
        arg2: the second one
    """
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


@prompt
async def test_prompt_with_embedded_resource(resourceUri: str) -> list[Message]:  # noqa: N803
    """A prompt that holds a resource.

    Args:
        resourceUri: the URI of the resource to embed
    """
    embedded = Contents(resourceUri, "Embedded resource content for testing.", "text/plain")
    return [Message(embedded), Message("Please process the embedded resource above.")]


@prompt
async def test_prompt_with_image() -> list[Message]:
    """A prompt that holds an image."""
    return [Message(Image(PIXEL)), Message("Please analyze the image above.")]


@prompt
async def test_input_required_result_prompt(context: CallContext) -> str:
    """A prompt that asks for what it needs."""
    answer = accepted(context, "user_context")
    if answer is None:
        schema = {
            "type": "object",
            "properties": {"context": {"type": "string"}},
            "required": ["context"],
        }
        question = ask_form("What context should the prompt use?", schema)
        raise InputRequired({"user_context": question})
    return f"Use the following context: {answer.get('context', '?')}"


@completion
async def complete(ref: dict[str, Any], argument: dict[str, str]) -> list[str]:
    """Completes the arguments of the prompts and the template."""
    known = ["paris", "parma", "party"] if ref.get("type") == "ref/prompt" else ["123", "124"]
    return [one for one in known if one.startswith(argument["value"])]
