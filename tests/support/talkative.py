"""An agent that can do everything an MCP client might meet: for tests of the edges."""

from __future__ import annotations

from typing import Any, Literal

import trio

from flowcore.errors import UpstreamError
from flowcore.native import (
    CallContext,
    InputRequired,
    NativeAgent,
    ToolError,
    completion,
    prompt,
    resource,
    template,
    tool,
)

LogLevel = Literal["debug", "info", "error"]
FORM = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


class Talkative:
    """One instance serves all calls of its worker."""

    def __init__(self, agent: NativeAgent) -> None:
        self.agent = agent
        self.cancelled = 0
        self.began = trio.Event()

    @tool()
    async def echo(self, text: str) -> str:
        """Give the text back."""
        return text

    @tool()
    async def add(self, a: int, b: int) -> dict[str, int]:
        """Add two numbers."""
        return {"sum": a + b}

    @tool()
    async def fail(self) -> str:
        """Fail as tools do."""
        raise ToolError("it did not work")

    @tool()
    async def steps(self, context: CallContext, count: int) -> str:
        """Tell progress and log while working."""
        for step in range(1, count + 1):
            context.progress(step, count, f"step {step}")
            context.log(f"at {step}", level="debug" if step == 1 else "warning")
            await trio.lowlevel.checkpoint()
        return "done"

    @tool()
    async def hang(self) -> str:
        """Never end; count being cancelled."""
        self.began.set()
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            self.cancelled += 1
            raise
        raise AssertionError("unreachable")

    @tool()
    async def cancellations(self) -> dict[str, int]:
        """How often `hang` was cancelled."""
        return {"cancelled": self.cancelled}

    @tool()
    async def greet_elicited(self, context: CallContext) -> str:
        """Ask for a name while the call runs."""
        answer = await context.elicit("who are you?", FORM)
        if answer.action != "accept" or answer.content is None:
            return f"hello, whoever you are ({answer.action})"
        return f"hello, {answer.content['name']}"

    @tool()
    async def ask_twice(self, context: CallContext) -> str:
        """Ask two things at once."""
        found: dict[str, str] = {}

        async def ask(what: str) -> None:
            answer = await context.elicit(what, FORM)
            found[what] = str((answer.content or {}).get("name"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "first")
            nursery.start_soon(ask, "second")
        return f"{found['first']} {found['second']}"

    @tool()
    async def sample(self, context: CallContext) -> str:
        """Ask the client's model."""
        answer = await context.sample([{"role": "user", "content": {"type": "text", "text": "hi"}}])
        return str(answer["content"]["text"])

    @tool()
    async def greet_by_rounds(self, context: CallContext) -> str:
        """Ask for a name by ending the call with a question (2026-07-28)."""
        answer = context.answers.get("who")
        if answer is None:
            raise InputRequired(
                {
                    "who": {
                        "method": "elicitation/create",
                        "params": {"message": "who are you?", "requestedSchema": FORM},
                    }
                },
                state={"rounds": 1},
            )
        return f"hello, {answer['content']['name']} after {context.state['rounds']}"

    @tool(execution={"taskSupport": "optional"})
    async def job(self, context: CallContext, steps: int) -> str:
        """Work that may go on as a task."""
        for step in range(steps):
            context.progress(step + 1, steps)
            await trio.lowlevel.checkpoint()
        return f"{steps} steps"

    @tool(execution={"taskSupport": "optional"})
    async def job_that_asks(self, context: CallContext) -> str:
        """A task that asks for a name."""
        answer = await context.elicit("who are you?", FORM)
        return f"hello, {(answer.content or {}).get('name')}"

    @tool(execution={"taskSupport": "required"})
    async def job_only(self) -> str:
        """Only to be called as a task."""
        raise ToolError("the job failed")

    @tool()
    async def change(self, uri: str) -> str:
        """Announce that a resource changed."""
        self.agent.resource_updated(uri)
        return "announced"

    @tool()
    async def say(self, text: str, level: LogLevel) -> str:
        """Log outside of any call."""
        self.agent.log(text, level)
        return "said"

    @tool()
    async def begin(self, context: CallContext) -> str:
        """Tell of a first step, and never end."""
        context.progress(1)
        await trio.sleep_forever()
        raise AssertionError("unreachable")

    @tool()
    async def visit(self, context: CallContext) -> str:
        """Want a page visited first, as 2025-11-25 has it: by an error."""
        if context.answers:
            return "visited"
        page = {"mode": "url", "url": "https://a.example", "elicitationId": "1", "message": "go"}
        raise UpstreamError("visit first", code=-32042, data={"elicitations": [page]})

    @tool()
    async def grow(self) -> str:
        """Offer one tool more."""

        async def late() -> str:
            """A latecomer."""
            return "late"

        self.agent.offer(late)
        return "grown"

    @tool(
        input_schema={
            "type": "object",
            "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
            "required": ["region"],
        }
    )
    async def regional(self, region: str) -> str:
        """An argument that a header mirrors."""
        return region

    @resource("test://static", mime_type="text/plain")
    async def static(self) -> str:
        """A text."""
        return "static text"

    @template("test://items/{item}")
    async def item(self, item: str) -> str:
        """An item by name."""
        return f"item {item}"

    @prompt()
    async def review(self, code: str) -> str:
        """Ask for a review."""
        return f"please review {code}"

    @completion()
    async def complete(self, ref: dict[str, Any], argument: dict[str, Any]) -> list[str]:
        return [
            value for value in ("python", "pytest", "ruby") if value.startswith(argument["value"])
        ]
