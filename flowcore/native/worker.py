"""A worker that calls Python: asynchronous functions in the caller's task, others in threads."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import msgspec
import trio
from msgspec import Raw

from flowcore.envelope import Envelope, Reply
from flowcore.errors import CallError, InternalError, InvalidArguments, UnknownMethod, UnknownTarget
from flowcore.native.agent import NativeAgent
from flowcore.native.content import (
    ToolError,
    plain,
    prompt_result,
    resource_result,
    tool_result,
)
from flowcore.native.context import CallContext
from flowcore.native.offering import Member
from flowcore.native.offers import Offers
from flowcore.native.questions import InputRequired
from flowcore.native.seal import Seal
from flowcore.native.threads import Threads

logger = logging.getLogger(__name__)

EMPTY = Reply(Raw(b"{}"))
_NOTHING_TO_COMPLETE = {"values": [], "total": 0, "hasMore": False}
_MOST_VALUES = 100
"""Values in one answer to `completion/complete`, at most (MCP, completion)."""

_encode = msgspec.json.encode


class NativeWorker:
    """One instance of a Python agent.

    `seal` seals what callers keep between two calls, `threads` are those of functions that are not async.
    `left_behind` is called with a few words when such a function is left behind in its thread, its caller
    gone, and what it returns when that function has ended: in between it may be at work beside whatever is
    called next.
    """

    def __init__(
        self,
        agent: NativeAgent,
        offers: Offers,
        seal: Seal,
        threads: Threads,
        left_behind: Callable[[str], Callable[[], None]],
    ) -> None:
        self._agent = agent
        self._offers = offers
        self._seal = seal
        self._threads = threads
        self._left_behind = left_behind
        self._methods: dict[str, Callable[[Envelope], Coroutine[Any, Any, Reply]]] = {
            "tools/call": self._tool,
            "resources/read": self._resource,
            "prompts/get": self._prompt,
            "completion/complete": self._complete,
            "resources/subscribe": self._watched,
            "resources/unsubscribe": self._watched,
            "logging/setLevel": self._nothing,
        }

    def call(self, envelope: Envelope) -> Coroutine[Any, Any, Reply]:
        """Do one request. Raises CallError; a tool's own failure is a result that says so."""
        method = self._methods.get(envelope.method)
        if method is None:
            raise UnknownMethod(f"agent {self._agent.name!r} does not answer {envelope.method!r}")
        return method(envelope)

    async def ping(self) -> None:
        """It lives in this process: always well."""

    async def _nothing(self, envelope: Envelope) -> Reply:
        del envelope
        return EMPTY

    async def _watched(self, envelope: Envelope) -> Reply:
        """Who subscribed is for the edges to know: every update is told, whoever listens."""
        if self._offers.resource(envelope.name) is None:
            raise _no_resource(envelope.name)
        return EMPTY

    async def _tool(self, envelope: Envelope) -> Reply:
        member = self._offers.tool(envelope.name)
        if member is None:
            raise UnknownTarget(f"agent {self._agent.name!r} has no tool {envelope.name!r}")
        arguments = member.signature.arguments(envelope.params.get("arguments"))
        try:
            value = await self._run(member, arguments, envelope)
            if member.output is not None:
                _check_output(value, member.output)
            result = tool_result(value)
            failed = None if type(result) is Raw else "isError" in result
            return Reply(Raw(_encode(result)), failed=failed)
        except InputRequired as asked:
            return self._ask(asked, envelope)
        except ToolError as error:
            return _error(str(error))
        except CallError:
            raise
        except BaseException as error:
            # the tool's own failure is its result; its inside is for the log
            return _error(self._failure(error, member))

    async def _resource(self, envelope: Envelope) -> Reply:
        uri = envelope.name
        found = self._offers.resource(uri)
        if found is None:
            raise _no_resource(uri)
        member, variables = found
        arguments = member.signature.texts(variables)

        def result(value: Any) -> dict[str, Any]:
            return resource_result(uri, value, member.mark.mime_type)

        return await self._made(member, arguments, envelope, result)

    async def _prompt(self, envelope: Envelope) -> Reply:
        member = self._offers.prompt(envelope.name)
        if member is None:
            raise UnknownTarget(f"agent {self._agent.name!r} has no prompt {envelope.name!r}")
        arguments = member.signature.arguments(envelope.params.get("arguments"))

        def result(value: Any) -> dict[str, Any]:
            return prompt_result(value, member.description)

        return await self._made(member, arguments, envelope, result)

    async def _complete(self, envelope: Envelope) -> Reply:
        member = self._offers.completion
        if member is None:
            return Reply(Raw(_encode({"completion": _NOTHING_TO_COMPLETE})))
        wanted = member.signature.fields or ()
        given = {name: envelope.params[name] for name in wanted if name in envelope.params}
        arguments = member.signature.arguments(_encode(given))
        return await self._made(member, arguments, envelope, _completion)

    async def _made(
        self,
        member: Member,
        arguments: dict[str, Any],
        envelope: Envelope,
        result: Callable[[Any], dict[str, Any]],
    ) -> Reply:
        """A result from what a function that is no tool returns; its failure is told by its type only."""
        try:
            return Reply(Raw(_encode(result(await self._run(member, arguments, envelope)))))
        except InputRequired as asked:
            return self._ask(asked, envelope)
        except ToolError as error:
            raise InternalError(str(error)) from error
        except CallError:
            raise
        except BaseException as error:
            text = self._failure(error, member)
            raise InternalError(f"{member.mark.kind} {member.name!r} failed: {text}") from error

    def _failure(self, error: BaseException, member: Member) -> str:
        """What a function failed of, in a line. Raises again what is not its own: cancellation, an
        interrupt, its being closed. `sys.exit()` is its own, and does not end the node."""
        passing = (trio.Cancelled, KeyboardInterrupt, GeneratorExit)
        ours = error.subgroup(passing) if isinstance(error, BaseExceptionGroup) else None
        if isinstance(error, passing):
            raise error
        if ours is None and isinstance(error, ExceptionGroup):
            typed, _ = error.split(CallError)
            if (
                typed is not None
            ):  # what a nursery of the function's wrapped: it says more than the group
                raise _first(typed) from error
        logger.warning(
            "%s %s of agent %s failed",
            member.mark.kind,
            member.name,
            self._agent.name,
            exc_info=error,
        )
        if ours is not None:
            raise ours
        return f"{type(error).__name__}: {error}"

    def _run(self, member: Member, arguments: dict[str, Any], envelope: Envelope) -> Awaitable[Any]:
        if member.signature.context is not None:
            context = CallContext(envelope, self._agent, self._state(envelope))
            arguments[member.signature.context] = context
        if member.asynchronous:
            running: Awaitable[Any] = member.function(**arguments)
            return running
        return self._run_in_thread(member, arguments)

    async def _run_in_thread(self, member: Member, arguments: dict[str, Any]) -> Any:
        value = await self._threads.run(
            partial(member.function, **arguments),
            partial(
                self._left_behind, f"{member.mark.kind} {member.name} still runs in its thread"
            ),
        )
        return await value if inspect.isawaitable(value) else value

    # ---- questions that end a call

    def _state(self, envelope: Envelope) -> Any:
        raw = envelope.params.get("requestState")
        if raw is None:
            return None
        try:
            text = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidArguments(f"requestState: {error}") from None
        return self._seal.open(text, envelope)

    def _ask(self, asked: InputRequired, envelope: Envelope) -> Reply:
        result: dict[str, Any] = {"resultType": "input_required"}
        if asked.requests:
            result["inputRequests"] = asked.requests
        if asked.state is not None:
            result["requestState"] = self._seal.close(asked.state, envelope)
        return Reply(Raw(_encode(result)), modern=True)


def _first(group: ExceptionGroup[CallError]) -> CallError:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, ExceptionGroup) else inner


def _check_output(value: Any, of: Any) -> None:
    try:
        msgspec.convert(plain(value), of)
    except msgspec.ValidationError as error:
        raise ToolError(f"the tool returned what its output schema forbids: {error}") from None


def _completion(value: Any) -> dict[str, Any]:
    """The result of `completion/complete` from a list of values or a whole `completion` object."""
    if isinstance(value, dict):
        return {"completion": value}
    values = [str(one) for one in value or ()]
    return {
        "completion": {
            "values": values[:_MOST_VALUES],
            "total": len(values),
            "hasMore": len(values) > _MOST_VALUES,
        }
    }


def _no_resource(uri: str) -> UnknownTarget:
    return UnknownTarget("resource not found", data={"uri": uri})


def _error(text: str) -> Reply:
    result = {"content": [{"type": "text", "text": text}], "isError": True}
    return Reply(Raw(_encode(result)))
