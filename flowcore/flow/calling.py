"""What a program asks of a flow: tools, resources and prompts by name, and whatever it is in words."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Mapping
from typing import Any, Literal

import msgspec
import trio

from flowcore.agents import Agent, Directory, State, Target
from flowcore.envelope import tool_params
from flowcore.errors import AgentUnavailable, CallError, DeadlineExceeded, InvalidRequest
from flowcore.flow.progress import Listening, OnProgress
from flowcore.requests import (
    DEAF,
    LOCAL,
    Envelope,
    Peer,
    Principal,
    Priority,
    Reply,
    Requests,
    complete,
)
from flowcore.result import Result
from flowcore.routing import Memory, Route, Router

Kind = Literal["tools", "resources", "prompts"]


class Calling(ABC):
    """The part of a flow that answers."""

    requests: Requests
    directory: Directory
    agents: dict[str, Agent]

    @property
    @abstractmethod
    def router(self) -> Router:
        """Whom requests in words are for, and shared memory. Raises AgentUnavailable if there is none."""

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether its block has been left."""

    # ---- by name

    def submit(self, envelope: Envelope) -> Coroutine[Any, Any, Reply]:
        """Take a request its whole way. Raises CallError for every outcome but a result.

        No checkpoint is made of one where nothing is waited for.
        """
        return self.requests.submit(envelope)

    async def call(
        self,
        target: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        deadline: float | None = None,
        priority: Priority = Priority.NORMAL,
        idempotency_key: str | None = None,
        affinity: str | None = None,
        principal: Principal = LOCAL,
        peer: Peer = DEAF,
        on_progress: OnProgress | None = None,
    ) -> Result:
        """Call a tool by its public name (`agent.tool`) and give its result.

        `deadline` is in seconds from now; unset, the agent's own holds. Calls of one `affinity` meet one
        worker, where the agent's balancer is `consistent_hash`. An agent that is still starting is
        waited for. `on_progress(progress, total, message)` is called each time the work tells how far it
        is, in the task that tells: it must be quick. A tool that asks for something while it works, or ends
        its call to ask and is called again with the answers, asks the `peer`; that time does not count.
        Raises CallError: MissingCapability where the tool asks what the peer does not declare. A tool that
        ran and reports an error is a Result with `is_error` set. It is a checkpoint, as it begins: a call
        that is cancelled there has not begun.
        """
        return await self._ask(
            "tools/call",
            "tools",
            target,
            arguments or {},
            deadline,
            priority,
            idempotency_key,
            None if affinity is None else affinity.encode(),
            principal,
            peer,
            on_progress,
        )

    async def read_resource(
        self, uri: str, *, deadline: float | None = None, peer: Peer = DEAF
    ) -> Result:
        """Read a resource of whichever agent offers it; see `call`."""
        return await self._ask("resources/read", "resources", uri, None, deadline, peer=peer)

    async def get_prompt(
        self,
        target: str,
        arguments: Mapping[str, str] | None = None,
        *,
        deadline: float | None = None,
        peer: Peer = DEAF,
    ) -> Result:
        """A prompt by its public name, filled in; see `call`."""
        return await self._ask(
            "prompts/get", "prompts", target, arguments or {}, deadline, peer=peer
        )

    async def _ask(
        self,
        method: str,
        kind: Kind,
        name: str,
        arguments: Mapping[str, Any] | None,
        deadline: float | None,
        priority: Priority = Priority.NORMAL,
        idempotency_key: str | None = None,
        affinity: bytes | None = None,
        principal: Principal = LOCAL,
        peer: Peer = DEAF,
        on_progress: OnProgress | None = None,
    ) -> Result:
        until = _deadline(deadline)
        await trio.lowlevel.checkpoint()
        found = await self._find(kind, name, until)
        envelope = Envelope(
            method=method,
            agent=found.agent,
            name=found.name,
            params=(
                {"uri": msgspec.Raw(msgspec.json.encode(found.name))}
                if arguments is None
                else tool_params(found.name, arguments)
            ),
            deadline=until,
            explicit=deadline is not None,
            priority=priority,
            idempotency_key=idempotency_key,
            affinity=affinity,
            principal=principal,
            peer=peer if on_progress is None else Listening(peer, on_progress),
        )
        if on_progress is not None:  # or an upstream would not be asked to tell
            envelope.meta["progressToken"] = msgspec.Raw(msgspec.json.encode(envelope.id))
        reply = await self.requests.submit(envelope)
        if reply.modern:  # it may ask back
            each = math.inf if deadline is None else deadline
            reply = await complete(self.requests.submit, envelope, reply, deadline=each)
        return Result.of(reply)

    async def _find(self, kind: Kind, name: str, until: float) -> Target:
        """Where a call goes. What an agent offers is known once it has started: that is waited for."""
        while True:
            revision = self.directory.revision
            try:
                return self.directory.resolve(kind, name)
            except CallError as error:
                if self.closed:
                    raise AgentUnavailable("this flow is closed") from None
                if not any(agent.state is State.STARTING for agent in self._may_offer(kind, name)):
                    raise
                refused = error
            with trio.move_on_at(until) as waiting:
                await self.directory.wait_changed(revision)
            if waiting.cancelled_caught:
                raise DeadlineExceeded(f"{refused.message}, until the deadline", began=False)

    def _may_offer(self, kind: Kind, name: str) -> list[Agent]:
        """Whom a public name may belong to, once they tell what they offer."""
        agent = self.agents.get(name.partition(".")[0])
        if kind != "resources" and agent is not None:
            return [agent]
        return [one for one in self.agents.values() if one.bare or kind == "resources"]

    # ---- in words

    async def route(
        self, text: str, k: int | None = None, *, principal: Principal = LOCAL
    ) -> Route:
        """Which tools a request in words is for, best first, at most `k` (1 to 16), with reasons.

        `in_scope` is False where the router does not know. Raises AgentUnavailable without a router,
        InvalidArguments, TooLarge, OtherEmbedder, EmbeddingFailed.
        """
        return await self.router.route(text, k, principal=principal)

    async def find_tools(
        self, query: str, k: int = 8, *, principal: Principal = LOCAL
    ) -> list[dict[str, Any]]:
        """The tools for a task, with their schemas, best first. Raises as `route`."""
        found = await self.call("flow.find_tools", {"query": query, "k": k}, principal=principal)
        tools: list[dict[str, Any]] = found.structured["tools"]
        return tools

    async def ask(
        self,
        text: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        fan_out: Mapping[str, Any] | None = None,
        guess: bool = False,
        **how: Any,
    ) -> Result:
        """Have a request in words answered by the tool that it is for, or by several at once.

        `fan_out` is `{"want": "first" | "first_n" | "quorum" | "merge", "ask": 3, "n": 2}`; only tools that
        say that they just read are asked so. `guess` calls the likeliest tool where none is known to be for
        it. `how` is as for `call`. Raises CallError; UnknownTarget where the router does not know.
        """
        given = {"text": text, "arguments": arguments, "fan_out": fan_out, "guess": guess}
        asked = {name: value for name, value in given.items() if value is not None}
        return await self.call("flow.ask", asked, **how)

    async def feedback(
        self, route: str, expert: str, reward: float = 1.0, *, principal: Principal = LOCAL
    ) -> None:
        """Tell how an expert was for a route: 1 was right, 0 was wrong. Learned when it returns.

        Raises UnknownTarget for a route that is not the principal's, or too old; Overloaded.
        """
        await self.router.feedback(route, expert, reward, principal=principal)

    @property
    def memory(self) -> Memory:
        """Shared memory, by namespace, key and meaning. Raises AgentUnavailable without a router."""
        return self.router.memory


def _deadline(seconds: float | None) -> float:
    """The time on trio's clock that is so many seconds from now."""
    if seconds is None:
        return math.inf
    if math.isnan(seconds):
        raise InvalidRequest("expected a deadline in seconds, not nan")
    return trio.current_time() + seconds
