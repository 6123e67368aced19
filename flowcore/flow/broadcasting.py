"""One call to all who have a role, or listen to a topic, on whatever nodes they are.

The answer accounts for everybody: who answered, who refused, and who was not reached.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Literal, get_args

import attrs
import trio
from msgspec import Raw

from flowcore.agents import Agent
from flowcore.envelope import Envelope, Reply, new_request_id, tool_params
from flowcore.errors import (
    AgentUnavailable,
    CallError,
    DeadlineExceeded,
    InvalidArguments,
    OutcomeUnknown,
)
from flowcore.federation import Placed
from flowcore.flow.answers import Answer, answer_of, settled
from flowcore.flow.roster import Seated
from flowcore.requests import complete

Want = Literal["first", "first_n", "quorum", "all"]
"""`first` answer, the `first_n`, a `quorum` of n that say the same, or `all`."""
MOST = 1000
"""How many are called by one broadcast, at most."""

Submit = Callable[[Envelope], Awaitable[Reply]]


@attrs.frozen(kw_only=True)
class Somebody:
    """An agent at a node."""

    agent: str
    node: str
    why: str = ""
    """Why it refused, or was not reached."""

    @property
    def name(self) -> str:
        return f"{self.agent}@{self.node}" if self.node else self.agent

    def told(self) -> dict[str, Any]:
        """As plain data."""
        told = {"agent": self.agent, "node": self.node}
        return told | ({"why": self.why} if self.why else {})


@attrs.frozen(kw_only=True)
class Broadcast:
    """What came of a broadcast."""

    settled: bool
    """Whether what was wanted is there."""
    chosen: tuple[Answer, ...]
    """The answers that are what was wanted."""
    answers: tuple[Answer, ...]
    """All answers that came, by `agent@node`, those that report an error, too."""
    refused: tuple[Somebody, ...]
    missed: tuple[Somebody, ...]
    """Who was not reached, or had not answered when it was over."""

    def told(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "settled": self.settled,
            "chosen": [one.expert for one in self.chosen],
            "answers": [one.told() for one in self.answers],
            "refused": [one.told() for one in self.refused],
            "missed": [one.told() for one in self.missed],
        }


class Broadcasting:
    """Calls everybody on behalf of whoever asks: with their permissions, their limits, their deadline."""

    def __init__(self, node: str, doers: Callable[[], Iterable[Seated]], submit: Submit) -> None:
        self._node = node
        self._doers = doers
        self._submit = submit

    async def broadcast(
        self,
        parent: Envelope,
        tool: str,
        arguments: Mapping[str, Any] | Raw,
        *,
        role: str | None = None,
        topic: str | None = None,
        want: Want = "all",
        n: int = 1,
        seconds: float = math.inf,
    ) -> Broadcast:
        """Call a tool, by its own name, of every agent with a role or topic, wherever it is.

        `parent` is the request on whose behalf it is done. It is over when what is wanted is there, all have
        answered, or the time is; what is under way then is cancelled. Raises InvalidArguments.
        """
        if (role is None) is (topic is None):
            raise InvalidArguments("expected either a role or a topic")
        if want not in get_args(Want):
            raise InvalidArguments(f"expected one of {', '.join(get_args(Want))}, not {want!r:.50}")
        if not seconds > 0:
            raise InvalidArguments(f"expected a time of more than 0 s, not {seconds!r}")
        everybody = list(self._who(role, topic))
        if len(everybody) > MOST:
            raise InvalidArguments(f"that would call {len(everybody)} agents; at most {MOST} are")
        if want in ("first_n", "quorum"):
            if n < 1:
                raise InvalidArguments(f"expected n of at least 1, not {n}")
            if n > len(everybody) > 0:
                raise InvalidArguments(
                    f"expected n of 1 to {len(everybody)}, as many are there, not {n}"
                )
        return await self._call_all(parent, tool, arguments, everybody, want, n, seconds)

    async def _call_all(
        self,
        parent: Envelope,
        tool: str,
        arguments: Mapping[str, Any] | Raw,
        everybody: list[Somebody],
        want: Want,
        n: int,
        seconds: float,
    ) -> Broadcast:
        answers: list[Answer] = []
        refused: list[Somebody] = []
        missed = [one for one in everybody if one.why]
        silent = {one.name: one for one in everybody if not one.why}
        until = min(parent.deadline, trio.current_time() + seconds)
        enough = trio.CancelScope(deadline=until)

        async def call(one: Somebody) -> None:
            began = trio.current_time()
            try:
                reply = await self._one(parent, one, tool, arguments, until)
            except CallError as error:
                why = attrs.evolve(one, why=error.message)
                (missed if _not_reached(error) else refused).append(why)
            else:
                seconds = trio.current_time() - began
                answers.append(answer_of(one.name, reply, seconds))
            del silent[one.name]
            if settled(answers, want, n) is not None:
                enough.cancel()

        with enough:
            async with trio.open_nursery() as nursery:
                for one in tuple(silent.values()):
                    nursery.start_soon(call, one)
        over = settled(answers, want, n) is not None
        why = "it was over before it had answered" if over else "no answer before the deadline"
        missed += [attrs.evolve(one, why=why) for one in silent.values()]
        good = [one for one in answers if one.good]
        chosen = settled(answers, want, n) or []
        if want == "all":
            chosen, over = good, bool(good) and len(good) == len(everybody)
        return Broadcast(
            settled=over,
            chosen=tuple(chosen),
            answers=tuple(answers),
            refused=tuple(refused),
            missed=tuple(missed),
        )

    async def _one(
        self,
        parent: Envelope,
        one: Somebody,
        tool: str,
        arguments: Mapping[str, Any] | Raw,
        until: float,
    ) -> Reply:
        envelope = parent.again(
            id=new_request_id(),
            method="tools/call",
            agent=one.agent,
            name=tool,
            params=tool_params(tool, arguments),
            idempotency_key=None,
            node=one.node,
            deadline=until,
            explicit=True,
        )
        reply = await self._submit(envelope)
        if reply.modern:
            left = max(until - trio.current_time(), 0.0)
            reply = await complete(self._submit, envelope, reply, deadline=left)
        return reply

    def _who(self, role: str | None, topic: str | None) -> Iterator[Somebody]:
        """Everybody who is meant, and why some cannot be asked now."""

        def meant(roles: Collection[str | None], topics: Collection[str | None]) -> bool:
            return role in roles if topic is None else topic in topics

        for doer in self._doers():
            local = doer.local if isinstance(doer, Placed) else doer
            if isinstance(local, Agent) and meant(local.roles, local.settings.topics):
                yield Somebody(agent=local.name, node=self._node)
            for node, place in doer.places.items() if isinstance(doer, Placed) else ():
                if meant(place.news.roles, place.news.topics):
                    why = f"node {node!r} {place.gone}" if place.gone else ""
                    yield Somebody(agent=doer.name, node=node, why=why)


def _not_reached(error: CallError) -> bool:
    """Whether it was the way, or the time, and not the agent who said no."""
    if isinstance(error, DeadlineExceeded | OutcomeUnknown):
        return True
    return isinstance(error, AgentUnavailable) and "node" in (error.data or {})
