"""What the `api` edge answers about traces, log levels, and what happens."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
import trio

from flow_edges.api.answers import read_body
from flowcore.agents import (
    AccessDenied,
    BreakerChanged,
    CatalogChanged,
    ConsensusNoted,
    Elsewhere,
    Event,
    FaultInjected,
    LinkChanged,
    Lost,
    Notification,
    StateChanged,
)
from flowcore.errors import InvalidRequest, Overloaded
from flowcore.http import Send, Stream, encode_event
from flowcore.interfaces import Host
from flowcore.telemetry import LEVELS, set_level, summary_of

MOST = 200
"""Traces in one answer."""
STREAMS = 100
"""Event streams at a time; each takes memory for what its client has not read yet."""
BACKLOG = 1000
"""Events that wait for one client; what it has no room for is lost, and it is told how many."""
ALIVE = 15.0
"""Seconds after which a stream on which nothing happens says that it is there."""
_EVENTS = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)


def traces(host: Host, query: str) -> dict[str, Any]:
    """The latest traces; `failed=1` in the query: only those in which something failed."""
    failed = "failed=1" in query.split("&")
    found = []
    for trace in host.telemetry.latest():
        if trace.any_failed or not failed:
            found.append(summary_of(trace))
        if len(found) >= MOST:
            break
    return {"traces": found}


# ---- log levels


class LevelBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /logs/level`; without a level the logger goes by the one above it again."""

    logger: str
    level: str | None = None


def levels() -> dict[str, Any]:
    """The loggers whose level was said, and theirs; "" is the one above all."""
    told = {"": _name(logging.getLogger().level)}
    for name, one in sorted(logging.Logger.manager.loggerDict.items()):
        if isinstance(one, logging.Logger) and one.level:
            told[name] = _name(one.level)
    return {"levels": told}


def _name(level: int) -> str:
    return logging.getLevelName(level).lower()


def change_level(body: bytes) -> tuple[dict[str, Any], str]:
    """Have a logger tell as much as that from now on; the answer, and what was done in a word.

    Raises InvalidRequest.
    """
    asked = read_body(body, LevelBody, "a logger and a level as JSON")
    known = asked.logger == "" or asked.logger in logging.Logger.manager.loggerDict
    if not known:
        raise InvalidRequest(f"there is no logger {asked.logger[:200]!r}")
    if asked.level is not None and asked.level not in LEVELS:
        raise InvalidRequest(f"expected a level of {', '.join(LEVELS)}, not {asked.level[:40]!r}")
    if asked.level is None and not asked.logger:
        raise InvalidRequest("the logger above all needs a level")
    set_level(asked.logger, LEVELS.get(asked.level or "", logging.NOTSET))
    return levels(), f"{asked.logger or 'root'} {asked.level or 'as above'}"


# ---- events


def told(event: Event) -> dict[str, Any]:
    """An event as plain data: what it is, and its members."""
    match event:
        case StateChanged():
            return {
                "event": "state",
                "agent": event.agent,
                "old": event.old.value,
                "new": event.new.value,
                "reason": event.reason,
            }
        case CatalogChanged():
            changed = [one for one in ("tools", "resources", "prompts") if getattr(event, one)]
            return {"event": "catalog", "agent": event.agent, "changed": changed}
        case Notification():
            return {"event": "notification", "agent": event.agent, "method": event.method}
        case AccessDenied():
            return {"event": "denied", **msgspec.structs.asdict(event)}
        case BreakerChanged():
            said = msgspec.structs.asdict(event)
            del said["at"]
            return {"event": "breaker", **said}
        case LinkChanged() | ConsensusNoted():
            details = {key: str(value)[:256] for key, value in event.details.items()}
            return {"event": event.what, **details}
        case FaultInjected():
            said = msgspec.structs.asdict(event)
            return {"event": "fault", "done": said.pop("what"), **said.pop("more"), **said}
        case Elsewhere():
            inner = {"event": "missed"} if event.event is None else told(event.event)
            return {**inner, "node": event.node}
        case Lost():
            return {"event": "lost", "count": event.count}


class Events:
    """The event streams of one edge."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._open = 0

    def stream(self, draining: trio.Event, *, activity: bool) -> Stream:
        """What happens from now on; with `activity` also each time an agent is busy, or idle again.

        Raises Overloaded if too many streams are open.
        """
        if self._open >= STREAMS:
            raise Overloaded(f"{STREAMS} event streams are open", retry_after=5.0)
        self._open += 1

        async def run(send: Send) -> None:
            async with self._host.events(BACKLOG) as events:
                await send(b": events of " + self._host.name.encode() + b"\n\n")
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_end_on, draining, nursery.cancel_scope)
                    while True:
                        await self._next(events, send, activity=activity)

        return Stream(200, _EVENTS, run, close=self._closed)

    def _closed(self) -> None:
        self._open -= 1

    async def _next(
        self, events: trio.MemoryReceiveChannel[Event], send: Send, *, activity: bool
    ) -> None:
        event: Event | None = None
        with trio.move_on_after(ALIVE):
            event = await events.receive()
        if event is None:
            await send(b": alive\n\n")
            return
        if activity or not _is_activity(event):
            await send(encode_event(msgspec.json.encode(told(event))))


def _is_activity(event: Event) -> bool:
    """Whether it is but a call that began or ended."""
    return (
        isinstance(event, StateChanged)
        and event.old.available
        and event.new.available
        and not event.reason
    )


async def _end_on(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
