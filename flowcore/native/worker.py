"""A worker that calls Python: asynchronous functions in the caller's task, others in threads."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import trio
from msgspec import Raw

from flowcore.envelope import Envelope, Reply
from flowcore.errors import CallError, InvalidArguments, UnknownMethod, UnknownTarget
from flowcore.native.content import ToolError, prompt_result, resource_result, tool_result
from flowcore.native.context import CallContext, InputRequired
from flowcore.native.offering import Member, Offering

logger = logging.getLogger(__name__)

EMPTY = Reply(Raw(b"{}"))
STATE_LIFE = 3600.0
"""Seconds for which a sealed state is taken back."""


class Seal:
    """Seals what a caller keeps for us between two calls: it can be read, and not changed (HMAC-SHA256)."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def close(self, value: Any, about: str) -> str:
        """A text that holds the value, for calls about this and nothing else."""
        body = msgspec.json.encode([time.time(), about, value])
        mac = hmac.digest(self._key, body, hashlib.sha256)
        return base64.urlsafe_b64encode(mac + body).decode()

    def open(self, text: Any, about: str) -> Any:
        """The value. Raises InvalidArguments for a text that this seal did not close."""
        try:
            sealed = base64.b64decode(str(text).encode(), altchars=b"-_", validate=True)
            if not hmac.compare_digest(
                sealed[:32], hmac.digest(self._key, sealed[32:], hashlib.sha256)
            ):
                raise ValueError("the seal is broken")
            at, of, value = msgspec.json.decode(sealed[32:])
            if of != about or time.time() - at > STATE_LIFE:
                raise ValueError("the state is of another call, or too old")
        except ValueError:
            raise InvalidArguments(
                "requestState is none that was given out for this call"
            ) from None
        return value


class NativeWorker:
    """One instance of a Python agent."""

    def __init__(
        self, agent: str, offering: Offering, seal: Seal, threads: trio.CapacityLimiter
    ) -> None:
        self._agent = agent
        self._offering = offering
        self._seal = seal
        self._threads = threads
        self._methods: dict[str, Callable[[Envelope], Any]] = {
            "tools/call": self._tool,
            "resources/read": self._resource,
            "prompts/get": self._prompt,
            "completion/complete": self._complete,
            "resources/subscribe": self._nothing,
            "resources/unsubscribe": self._nothing,
            "logging/setLevel": self._nothing,
        }

    async def call(self, envelope: Envelope) -> Reply:
        """Do one request."""
        method = self._methods.get(envelope.method)
        if method is None:
            raise UnknownMethod(f"agent {self._agent!r} does not answer {envelope.method!r}")
        reply: Reply = await method(envelope)
        return reply

    async def ping(self) -> None:
        """It lives in this process: always well."""

    async def _nothing(self, envelope: Envelope) -> Reply:
        del envelope
        return EMPTY

    async def _tool(self, envelope: Envelope) -> Reply:
        member = self._offering.tools.get(envelope.name)
        if member is None:
            raise UnknownTarget(f"agent {self._agent!r} has no tool {envelope.name!r}")
        arguments = member.signature.arguments(envelope.params.get("arguments"))
        try:
            value = await self._run(member, arguments, envelope)
        except InputRequired as asked:
            return self._ask(asked, envelope)
        except ToolError as error:
            return _error(str(error))
        except (CallError, MemoryError):
            raise
        except Exception as error:
            # the tool's own failure is its result; its inside is for the log
            logger.warning("tool %s of agent %s failed", member.name, self._agent, exc_info=True)
            return _error(f"{type(error).__name__}: {error}")
        return Reply(Raw(msgspec.json.encode(tool_result(value))))

    async def _resource(self, envelope: Envelope) -> Reply:
        uri = envelope.name
        member = self._offering.resources.get(uri)
        arguments: dict[str, Any] = {}
        if member is None:
            found = self._offering.template_for(uri)
            if found is None:
                raise UnknownTarget("resource not found", data={"uri": uri})
            member, variables = found
            arguments = member.signature.arguments(msgspec.json.encode(variables))
        try:
            value = await self._run(member, arguments, envelope)
        except InputRequired as asked:
            return self._ask(asked, envelope)
        return Reply(Raw(msgspec.json.encode(resource_result(uri, value, member.mark.mime_type))))

    async def _prompt(self, envelope: Envelope) -> Reply:
        member = self._offering.prompts.get(envelope.name)
        if member is None:
            raise UnknownTarget(f"agent {self._agent!r} has no prompt {envelope.name!r}")
        arguments = member.signature.arguments(envelope.params.get("arguments"))
        try:
            value = await self._run(member, arguments, envelope)
        except InputRequired as asked:
            return self._ask(asked, envelope)
        return Reply(Raw(msgspec.json.encode(prompt_result(value, member.description))))

    async def _complete(self, envelope: Envelope) -> Reply:
        member = self._offering.completion
        if member is None:
            raise UnknownMethod(f"agent {self._agent!r} completes nothing")
        given: dict[str, Any] = {
            name: msgspec.json.decode(envelope.params[name])
            for name in ("ref", "argument", "context")
            if name in envelope.params and name in _parameters(member)
        }
        values = await self._run(member, given, envelope)
        if not isinstance(values, dict):
            values = list(values)
            values = {"values": values[:100], "total": len(values), "hasMore": len(values) > 100}
        return Reply(Raw(msgspec.json.encode({"completion": values})))

    async def _run(self, member: Member, arguments: dict[str, Any], envelope: Envelope) -> Any:
        if member.signature.context is not None:
            context = CallContext(envelope, self._agent, self._state(member, envelope))
            arguments[member.signature.context] = context
        if member.asynchronous:
            return await member.function(**arguments)
        return await trio.to_thread.run_sync(
            partial(member.function, **arguments), abandon_on_cancel=True, limiter=self._threads
        )

    # ---- questions that end a call

    def _state(self, member: Member, envelope: Envelope) -> Any:
        raw = envelope.params.get("requestState")
        return None if raw is None else self._seal.open(msgspec.json.decode(raw), _about(envelope))

    def _ask(self, asked: InputRequired, envelope: Envelope) -> Reply:
        result: dict[str, Any] = {"resultType": "input_required", "inputRequests": asked.requests}
        if asked.state is not None:
            result["requestState"] = self._seal.close(asked.state, _about(envelope))
        return Reply(Raw(msgspec.json.encode(result)), modern=True)


def _about(envelope: Envelope) -> str:
    return f"{envelope.principal.name} {envelope.method} {envelope.name}"


def _parameters(member: Member) -> frozenset[str]:
    properties: dict[str, Any] = member.signature.schema.get("properties", {})
    return frozenset(properties) or frozenset(("ref", "argument", "context"))


def _error(text: str) -> Reply:
    result = {"content": [{"type": "text", "text": text}], "isError": True}
    return Reply(Raw(msgspec.json.encode(result)))
