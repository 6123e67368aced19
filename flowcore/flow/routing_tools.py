"""The tools by which a client finds others' tools, calls them, and tells how it went."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from flowcore.agents import Tool
from flowcore.envelope import Envelope, Reply
from flowcore.errors import AgentUnavailable, InvalidArguments, UnknownTarget
from flowcore.flow.asking import Asking, FanOut
from flowcore.flow.broadcast_tools import BroadcastTools
from flowcore.flow.node import Flow
from flowcore.native import CallContext, tool
from flowcore.routing import Route, Router


class RoutingTools(BroadcastTools):
    """What a node with a router offers besides."""

    @property
    def _router(self) -> Router:
        return router_of(self._flow)

    @property
    def _asking(self) -> Asking:
        flow = self._flow
        return Asking(self._router, flow.directory, flow.submit)

    @tool(title="Route", read_only=True, open_world=False)
    async def route(self, context: CallContext, text: str, k: int = 8) -> dict[str, Any]:
        """Which tools a request in words is for: ranked, with probabilities and reasons.

        Args:
            text: What is wanted, in words.
            k: How many tools at most, 1 to 16.
        """
        envelope = context.envelope
        route = await self._router.route(text, k, principal=envelope.principal, edge=envelope.edge)
        return told(route)

    @tool(title="Find tools", read_only=True, open_world=False)
    async def find_tools(self, context: CallContext, query: str, k: int = 8) -> dict[str, Any]:
        """Find the tools for a task, with their schemas. Call what you find by call_tool. Where none is
        known to be for it, `known` is false, and what is told are guesses.

        Args:
            query: What is to be done, in words.
            k: How many tools at most, 1 to 16.
        """
        envelope = context.envelope
        route = await self._router.route(query, k, principal=envelope.principal, edge=envelope.edge)
        return found(self._router, route)

    @tool(title="Call a tool")
    async def call_tool(self, name: str, arguments: dict[str, Any] | None = None) -> Raw:
        """Call a tool that find_tools has found.

        Args:
            name: The tool's name, as it was found.
            arguments: Its arguments, as its inputSchema asks.
        """
        raise AssertionError("NodeWorker passes it on")

    async def call_through(self, envelope: Envelope) -> Reply:
        """What `call_tool` does: the call of another tool in the caller's name, its reply as it is."""
        raw = envelope.params.get("arguments")
        try:
            wanted = msgspec.json.decode(b"{}" if raw is None else raw, type=_Call)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidArguments(f"arguments: {error}") from None
        if wanted.name in ("call_tool", "flow.call_tool"):
            raise InvalidArguments("call_tool cannot call itself")
        again = self._meant(envelope, wanted)
        for member in ("inputResponses", "requestState"):  # a retry with what the tool asked for
            if member in envelope.params:
                again.params[member] = envelope.params[member]
        return await self._flow.submit(again)

    def _meant(self, envelope: Envelope, wanted: _Call) -> Envelope:
        """The call of a tool by its public name, or of one that an edge shows without its agent's."""
        try:
            return self._asking.envelope(envelope, wanted.name, wanted.arguments)
        except UnknownTarget as error:
            if wanted.name == "find_tools":
                return self._asking.envelope(envelope, "flow.find_tools", wanted.arguments)
            raise UnknownTarget(
                f"{error.message} (find_tools tells which there are)", data=error.data
            ) from None

    @tool(title="Ask")
    async def ask(
        self,
        context: CallContext,
        text: str,
        arguments: dict[str, Any] | None = None,
        fan_out: FanOut | None = None,
        guess: bool = False,
    ) -> Raw:
        """Have a request in words answered by the tool that it is for, or by several at once.

        Args:
            text: What is wanted, in words; it is given to the tool as its text.
            arguments: Further arguments, for a tool that needs more than a text.
            fan_out: Ask several tools that only read, and take the first answer, the first n, one that n
                agree on (quorum), or all (merge).
            guess: Call the likeliest tool even if none is known to be for this.
        """
        return await self._asking.ask(context.envelope, text, arguments, fan_out, guess=guess)

    @tool(title="Feedback", open_world=False)
    async def feedback(
        self,
        context: CallContext,
        expert: str,
        reward: float = 1.0,
        route: str = "",
        text: str = "",
    ) -> str:
        """Tell whether a tool was the right one, so that the next like request finds it.

        Args:
            expert: The tool's name.
            reward: 1 if it was right, 0 if it was wrong, or in between.
            route: The id that route, find_tools or ask gave; or else
            text: the request in words that the tool is, or is not, for.
        """
        principal = context.principal
        if bool(route) == bool(text):
            raise InvalidArguments("expected either the route or the text that this is about")
        if route:
            await self._router.feedback(route, expert, reward, principal=principal)
        else:
            await self._router.teach(text, expert, reward, principal=principal)
        return f"learned: {expert}"


class _Call(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    arguments: Raw = Raw(b"{}")


def router_of(flow: Flow) -> Router:
    """The flow's router. Raises AgentUnavailable while it is not open."""
    router = flow.router
    if router is None:
        raise AgentUnavailable("the router is not open", retry_after=1.0)
    return router


def told(route: Route) -> dict[str, Any]:
    """A route as plain data."""
    return {
        "route": route.id,
        "known": route.in_scope,
        "sure": round(route.known, 4),
        "threshold": round(route.threshold, 4),
        "explored": route.explored,
        "lessons": route.lessons,
        "experts": [
            {
                "name": one.expert,
                "agent": one.agent,
                "probability": round(one.probability, 4),
                "reasons": {name: round(value, 4) for name, value in one.reasons.items()},
                "load": round(one.load, 3),
            }
            for one in route.ranked
        ],
        "nearest": [
            {
                "text": one.text,
                "expert": one.expert,
                "similarity": round(one.similarity, 4),
                "weight": round(one.weight, 3),
            }
            for one in route.nearest
        ],
    }


def found(router: Router, route: Route) -> dict[str, Any]:
    """The tools of a route with their definitions, under their public names."""
    tools = []
    for one in route.ranked:
        known = router.expert(one.expert)
        if known is not None and isinstance(known.listed.offer, Tool):
            definition = msgspec.json.decode(known.listed.offer.definition, type=dict[str, Raw])
            definition["name"] = Raw(msgspec.json.encode(one.expert))
            tools.append(definition)
    return {"route": route.id, "known": route.in_scope, "tools": tools}
