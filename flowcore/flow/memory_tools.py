"""Shared memory as tools: what agents and clients put away in words, and find again by meaning."""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING, Any, Literal

from flowcore.envelope import Envelope
from flowcore.errors import InvalidArguments, PermissionDenied
from flowcore.flow.node import Flow
from flowcore.flow.routing_tools import router_of
from flowcore.native import CallContext, ToolError, tool
from flowcore.routing import ROUTES, Memory, Remembered

if TYPE_CHECKING:
    from flowcore.state import ReadLevel

MEMORY = "memory"
Level = Literal["linearizable", "leased", "stale"]
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,127}")


class MemoryTools:
    """The agent `memory`. A namespace is to permissions what a resource is: `memory:team/*`."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow

    @property
    def _memory(self) -> Memory:
        return router_of(self._flow).memory

    def _namespace(self, envelope: Envelope, name: str) -> str:
        """The namespace, if it is one and the caller may use it."""
        if not _NAMESPACE.fullmatch(name):
            raise InvalidArguments(
                f"namespace: expected 1 to 128 letters, digits and _ . / -, not {name[:140]!r}"
            )
        if name == ROUTES:
            raise PermissionDenied(f"the namespace {name!r} is the router's own")
        guards = self._flow.requests.guards
        if not guards.shows(envelope.edge, envelope.principal, MEMORY, "resources", name):
            raise PermissionDenied(f"you may not use the namespace {name!r}")
        return name

    @tool(title="Remember", open_world=False)
    async def put(
        self,
        context: CallContext,
        text: str,
        key: str | None = None,
        value: Any = None,
        namespace: str = "shared",
        ttl: float | None = None,
        if_version: int | None = None,
    ) -> dict[str, Any]:
        """Put a text into shared memory, to be found again by its meaning or its key.

        Args:
            text: What is to be remembered.
            key: A name to get it by; what has this name is replaced. Without one, the same text is kept once.
            value: Anything to be kept beside the text.
            namespace: Whose memory, or what about.
            ttl: Seconds after which it is forgotten; unset, never.
            if_version: Only if this is the version of what has this key now; 0, only if nothing has.
        """
        envelope = context.envelope
        name = self._namespace(envelope, namespace)
        stored = await self._memory.put(
            name,
            text,
            key=key,
            value=value,
            ttl=ttl,
            if_version=if_version,
            owner=envelope.principal.owner,
        )
        return {
            "namespace": name,
            "key": stored.key,
            "version": stored.version,
            "created": stored.created,
            **({} if stored.searchable else {"searchable": False}),
        }

    @tool(title="Search memory", read_only=True, open_world=False)
    async def search(
        self,
        context: CallContext,
        query: str,
        namespace: str = "shared",
        k: int = 10,
        after: str | float | None = None,
        before: str | float | None = None,
        where: dict[str, Any] | None = None,
        least: float | None = None,
        level: Level = "linearizable",
    ) -> dict[str, Any]:
        """Find what is like a text by meaning, best first.

        Args:
            query: What is looked for, in words.
            namespace: Whose memory, or what about.
            k: How many at most.
            after: Only what was put at or after this time (RFC 3339, or seconds since 1970).
            before: Only what was put before this time.
            where: Only what has these members in its value.
            least: Only what is at least so similar, -1 to 1.
            level: What the answer is worth: linearizable, all that was acknowledged before; leased, the
                same as far as clocks run alike; stale, what this node has, which may be of before.
        """
        name = self._namespace(context.envelope, namespace)
        worth, marked = _worth(level)
        hits = await self._memory.search(
            name,
            query,
            k,
            after=_time("after", after),
            before=_time("before", before),
            where=where or {},
            least=least,
            level=worth,
        )
        return {
            "namespace": name,
            **marked,
            "found": [{**_told(one), "similarity": round(score, 4)} for one, score in hits],
        }

    @tool(title="Get from memory", read_only=True, open_world=False)
    async def get(
        self,
        context: CallContext,
        key: str,
        namespace: str = "shared",
        level: Level = "linearizable",
    ) -> dict[str, Any]:
        """What was put under a key.

        Args:
            key: The name it was put under.
            namespace: Whose memory, or what about.
            level: What the answer is worth: linearizable, all that was acknowledged before; leased, the
                same as far as clocks run alike; stale, what this node has, which may be of before.
        """
        name = self._namespace(context.envelope, namespace)
        worth, marked = _worth(level)
        one = await self._memory.get(name, key, level=worth)
        if one is None:
            known = ", as far as this node knows (stale)" if level == "stale" else ""
            raise ToolError(f"there is nothing under {key[:200]!r} in {name!r}{known}")
        return {**_told(one), **marked}

    @tool(title="Forget", idempotent=True, destructive=True, open_world=False)
    async def delete(
        self,
        context: CallContext,
        key: str,
        namespace: str = "shared",
        if_version: int | None = None,
    ) -> dict[str, Any]:
        """Forget what was put under a key.

        Args:
            key: The name it was put under.
            namespace: Whose memory, or what about.
            if_version: Only if this is its version now.
        """
        name = self._namespace(context.envelope, namespace)
        gone = await self._memory.delete(name, key, if_version=if_version)
        return {"namespace": name, "key": key, "deleted": gone}


def _worth(level: Level) -> tuple[ReadLevel, dict[str, str]]:
    """What a read is worth, and the mark of an answer that may lack what was acknowledged."""
    from flowcore.state import ReadLevel

    return ReadLevel(level), {} if level == "linearizable" else {"level": level}


def _told(one: Remembered) -> dict[str, Any]:
    told: dict[str, Any] = {
        "key": one.key,
        "text": one.text,
        "time": datetime.datetime.fromtimestamp(one.time, datetime.UTC).isoformat(),
        "version": one.version,
    }
    if one.value is not None:
        told["value"] = one.value
    if one.expires is not None:
        expires = datetime.datetime.fromtimestamp(one.expires, datetime.UTC)
        told["expires"] = expires.isoformat()
    return told


def _time(name: str, value: str | float | None) -> float | None:
    """Seconds since 1970."""
    if value is None or isinstance(value, (int, float)):
        return value
    try:
        read = datetime.datetime.fromisoformat(value)
    except ValueError:
        raise InvalidArguments(
            f"{name}: expected a time such as 2026-11-29T12:00:00Z, or seconds since 1970,"
            f" not {value[:60]!r}"
        ) from None
    return (read if read.tzinfo is not None else read.replace(tzinfo=datetime.UTC)).timestamp()
