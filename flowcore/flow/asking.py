"""Asking by words: the experts that a router ranks are called, one or several, until the answer is there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec
import trio
from msgspec import Raw

from flowcore.agents import Target, Tool
from flowcore.envelope import Envelope, Reply, new_request_id, tool_params
from flowcore.errors import AgentUnavailable, CallError, InvalidArguments, UnknownTarget
from flowcore.flow.answers import Answer, answer_of, settled
from flowcore.requests import complete
from flowcore.routing import Known, Ranked, Route, Router

Wanted = Literal["first", "first_n", "quorum", "merge"]

TEXTS = ("text", "query", "question", "prompt", "input", "message", "request", "task", "q")
"""Parameters that a text may be given as, the likeliest first."""
MARGIN = 0.1
"""The part of the time that is kept for putting the answers together."""
ROUTE = "io.flowcore/route"
"""The member of a result's `_meta` that tells which route it came by, and whom it is of."""


class FanOut(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many are asked, and what is made of their answers."""

    want: Wanted = "first"
    """`first` takes the first answer, `first_n` the first n, `quorum` one that n gave alike, `merge` all."""
    ask: int = 3
    """How many are asked, 1 to 16."""
    n: int = 2
    """How many answers are wanted by `first_n`, or must be alike for `quorum`."""


class Directories(Protocol):
    """Where a tool is."""

    def resolve(self, kind: Literal["tools"], name: str) -> Target: ...


Submit = Callable[[Envelope], Awaitable[Reply]]


class Asking:
    """Routes and calls on behalf of whoever asks: with their permissions, their limits, their deadline."""

    def __init__(self, router: Router, directory: Directories, submit: Submit) -> None:
        self._router = router
        self._directory = directory
        self._submit = submit

    async def ask(
        self,
        parent: Envelope,
        text: str,
        arguments: Mapping[str, Any] | None = None,
        fan_out: FanOut | None = None,
        *,
        guess: bool = False,
    ) -> Raw:
        """The answer to a text, as a whole tool result.

        Without `fan_out` the best expert that can take it is called; the next one, if that one is not up.
        With it several are, at once: only tools that say of themselves that they only read, for nobody asked
        each of them to do something. `guess` calls the best one even where the router does not know.

        Raises UnknownTarget if it does not know, or nobody can take the text; CallError.
        """
        many = fan_out is not None
        ask = 1 if fan_out is None else fan_out.ask
        if fan_out is not None and not (1 <= fan_out.ask <= 16 and 1 <= fan_out.n <= fan_out.ask):
            raise InvalidArguments("fan_out: expected 1 to 16 to ask, and n of 1 to as many")
        route = await self._router.route(
            text, 16, principal=parent.principal, edge=parent.edge, explore=not many
        )
        if not route.in_scope and not guess:
            raise UnknownTarget(
                "no tool here is known to be for this; ask more precisely, or look at flow.find_tools",
                data={"route": route.id, "nearest": [one.expert for one in route.ranked[:3]]},
            )
        able, unable = self._able(route, text, arguments, read_only=many)
        if not able:
            raise UnknownTarget(
                f"none of the tools found can be called with this: {'; '.join(unable[:3])}",
                data={"route": route.id, "reasons": unable},
            )
        if fan_out is None:
            return await self._one(parent, route, able)
        return await self._several(parent, route, able[:ask], fan_out)

    def _able(
        self,
        route: Route,
        text: str,
        arguments: Mapping[str, Any] | None,
        *,
        read_only: bool,
    ) -> tuple[list[tuple[Ranked, dict[str, Any]]], list[str]]:
        """Those that can be called with this, and why the others cannot."""
        able, unable = [], []
        for one in route.ranked:
            known = self._router.expert(one.expert)
            if known is None:
                continue
            if read_only and known.expert.side_effects:
                unable.append(f"{one.expert} does not say that it only reads")
                continue
            try:
                able.append((one, fitting(known, text, arguments)))
            except ValueError as error:
                unable.append(f"{one.expert} {error}")
        return able, unable

    async def _one(
        self, parent: Envelope, route: Route, able: Sequence[tuple[Ranked, dict[str, Any]]]
    ) -> Raw:
        last: CallError | None = None
        for one, arguments in able[:3]:
            try:
                reply, seconds = await self._call(parent, one.expert, arguments)
            except CallError as error:
                self._router.came(route.id, one.expert, parent.principal, error, 0.0)
                if error.began or not isinstance(error, AgentUnavailable):
                    raise
                last = error
            else:
                self._router.came(route.id, one.expert, parent.principal, reply, seconds)
                result = msgspec.json.decode(reply.result, type=dict[str, Any])
                return Raw(msgspec.json.encode(_marked(result, route, one)))
        assert last is not None
        raise last

    async def _several(
        self,
        parent: Envelope,
        route: Route,
        able: Sequence[tuple[Ranked, dict[str, Any]]],
        fan_out: FanOut,
    ) -> Raw:
        answers: list[Answer] = []
        until = trio.current_time() + (parent.deadline - trio.current_time()) * (1 - MARGIN)
        enough = trio.CancelScope(deadline=until)

        async def ask(one: Ranked, arguments: dict[str, Any]) -> None:
            began = trio.current_time()
            try:
                reply, seconds = await self._call(parent, one.expert, arguments)
            except CallError as error:
                self._router.came(route.id, one.expert, parent.principal, error, 0.0)
                seconds = trio.current_time() - began
                answers.append(
                    Answer(expert=one.expert, seconds=seconds, result=None, error=error.message)
                )
            else:
                self._router.came(route.id, one.expert, parent.principal, reply, seconds)
                answers.append(answer_of(one.expert, reply, seconds))
            if settled(answers, fan_out.want, fan_out.n) is not None:
                enough.cancel()

        with enough:
            async with trio.open_nursery() as nursery:
                for one, arguments in able:
                    nursery.start_soon(ask, one, arguments)
        heard = {one.expert for one in answers}
        silent = [one.expert for one, _ in able if one.expert not in heard]
        return Raw(msgspec.json.encode(_together(route, answers, silent, fan_out)))

    async def _call(
        self, parent: Envelope, name: str, arguments: Mapping[str, Any]
    ) -> tuple[Reply, float]:
        """Call a tool on behalf of the parent's principal; the reply, and how many seconds it took."""
        began = trio.current_time()
        envelope = self.envelope(parent, name, arguments)
        reply = await self._submit(envelope)
        if reply.modern:
            left = max(parent.deadline - trio.current_time(), 0.0)
            reply = await complete(self._submit, envelope, reply, deadline=left)
        return reply, trio.current_time() - began

    def envelope(self, parent: Envelope, name: str, arguments: Mapping[str, Any] | Raw) -> Envelope:
        """A call of a tool on behalf of another call: its principal, edge, peer, priority and deadline.

        Raises UnknownTarget, AgentUnavailable.
        """
        target = self._directory.resolve("tools", name)
        return parent.again(
            id=new_request_id(),
            method="tools/call",
            agent=target.agent,
            name=target.name,
            params=tool_params(target.name, arguments),
            idempotency_key=None,
            explicit=True,
        )


def fitting(known: Known, text: str, arguments: Mapping[str, Any] | None) -> dict[str, Any]:
    """The arguments by which a tool is given a text. Raises ValueError saying why it cannot be."""
    assert isinstance(known.listed.offer, Tool)
    schema: Any = {}
    if known.listed.offer.input_schema is not None:
        schema = msgspec.json.decode(known.listed.offer.input_schema)
    properties = schema.get("properties") if isinstance(schema, dict) else None
    properties = properties if isinstance(properties, dict) else {}
    required = schema.get("required") if isinstance(schema, dict) else None
    given = dict(arguments or {})
    unknown = [name for name in given if properties and name not in properties]
    if unknown:
        raise ValueError(f"knows no argument {unknown[0]!r}")
    missing = [one for one in required or () if one not in given]
    texts = [name for name, one in properties.items() if _takes_text(one) and name not in given]
    if not missing:
        for name in TEXTS:
            if name in texts:
                return {**given, name: text}
        return given
    if len(missing) == 1 and missing[0] in texts:
        return {**given, missing[0]: text}
    lacking = [one for one in missing if one not in texts] or missing
    raise ValueError(f"also needs {', '.join(map(repr, lacking))}")


def _takes_text(schema: Any) -> bool:
    if not isinstance(schema, dict) or "enum" in schema or "const" in schema or "format" in schema:
        return False
    kinds = schema.get("type")
    return kinds == "string" or (isinstance(kinds, list) and "string" in kinds)


def _marked(result: dict[str, Any], route: Route, one: Ranked) -> dict[str, Any]:
    meta = result.get("_meta") if isinstance(result.get("_meta"), dict) else {}
    about = {"id": route.id, "expert": one.expert, "probability": round(one.probability, 4)}
    return {**result, "_meta": {**(meta or {}), ROUTE: about}}


def _together(
    route: Route, answers: Sequence[Answer], silent: Sequence[str], fan_out: FanOut
) -> dict[str, Any]:
    """One result from several answers; it is an error where what was wanted did not come together."""
    good = [one for one in answers if one.good]
    enough = good if fan_out.want == "merge" else settled(answers, fan_out.want, fan_out.n)
    chosen = enough or []
    content: list[Any] = []
    for one in chosen[:1] if fan_out.want in ("first", "quorum") else chosen:
        assert one.result is not None
        if fan_out.want in ("first_n", "merge"):
            content.append({"type": "text", "text": f"{one.expert}:"})
        content += one.result.get("content", [])
    reached = bool(chosen) and enough is not None
    if not reached:
        got = f"{len(good)} of {len(answers) + len(silent)} answered"
        content = [{"type": "text", "text": f"there is no answer that is wanted ({got})"}]
    structured = {
        "route": route.id,
        "reached": reached,
        "chosen": [one.expert for one in chosen],
        "answers": [one.told() for one in answers],
        "silent": list(silent),
    }
    result: dict[str, Any] = {"content": content, "structuredContent": structured}
    return result if reached else {**result, "isError": True}
