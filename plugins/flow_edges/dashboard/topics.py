"""The topics of the dashboard: what of the node is shown, and how what is new in each is told.

| event | data | what |
|---|---|---|
| `node` | sections that have changed | all but the agents: `GET /status`, without ages |
| `agents` | `{"rows": [..], "gone": [..]}` | agents that are another than they were, here and elsewhere |
| `requests` | `{"running": [..], "more": n, "ended": [..]}` | what is under way; what has ended since |
| `state` | as `GET /state` | how far each node's log is |
| `happened` | `{"lines": [..]}` | what has happened since: states, breakers, links, logins |
| `audit` | `{"lines": [..]}` | lines of the audit log that have been written since |

The first event of a topic tells all of it. Ages (`since`, `for`, `ago`) are as they were at the look; the
page lets them grow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import trio

from flow_edges.api import request_line
from flow_edges.api.state import show
from flow_edges.dashboard.settings import DashboardConfig
from flowcore.agents import (
    AccessDenied,
    BreakerChanged,
    Elsewhere,
    Event,
    FaultInjected,
    LinkChanged,
    Lost,
    StateChanged,
)
from flowcore.errors import CallError, FlowError
from flowcore.interfaces import Host
from flowcore.requests import Entry

_AT_ONCE = 25
"""Agents that are looked at without others having their turn: less than a millisecond."""
_KEPT = 200
"""Lines of what happened, of requests that ended and of the audit log, that newcomers are shown."""
_RUNNING = 200
"""Requests under way that are shown."""

encode = msgspec.json.Encoder().encode


class _Topic:
    """What topics have in common."""

    name = ""
    action = ""

    def __init__(self, host: Host, every: float) -> None:
        self._host = host
        self.every = every
        self.stirred = trio.Event()


class NodeTopic(_Topic):
    """The node, section by section."""

    name, action = "node", "status"

    def __init__(self, host: Host, every: float) -> None:
        super().__init__(host, every)
        self._sections: dict[str, msgspec.Raw] = {}
        self._compared: dict[str, bytes] = {}

    async def look(self) -> bytes | None:
        """The sections that are not what they were; `uptime` always is another."""
        await trio.lowlevel.checkpoint()
        now = trio.current_time()
        components = self._host.components()
        sections: dict[str, Any] = {
            **self._host.overview(),
            "components": {
                "count": len(components),
                "unwell": [one.asdict(now) for one in components if one.status.value != "ok"],
            },
        }
        fresh: dict[str, msgspec.Raw] = {}
        for name, value in sections.items():
            encoded = encode(value)
            compared = encode(ageless(value)) if isinstance(value, (dict, list)) else encoded
            self._sections[name] = msgspec.Raw(encoded)
            if self._compared.get(name) != compared:
                self._compared[name] = compared
                fresh[name] = self._sections[name]
        return encode(fresh)

    def whole(self) -> bytes:
        """Every section."""
        return encode(self._sections)


class AgentsTopic(_Topic):
    """Agents as rows, those of other nodes as this one knows them."""

    name, action = "agents", "agents"

    def __init__(self, host: Host, every: float) -> None:
        super().__init__(host, every)
        self._rows: dict[str, msgspec.Raw] = {}
        self._compared: dict[str, bytes] = {}

    async def look(self) -> bytes | None:
        """Rows that are not what they were, and the keys of those that are no more."""
        elsewhere = await self._host.ask_agents()
        seen: set[str] = set()
        fresh: list[msgspec.Raw] = []
        for count, agent in enumerate(self._host.each_agent()):
            self._note(agent["name"], _local_row(agent, self._host.name), seen, fresh)
            if count % _AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        for count, place in enumerate(elsewhere):
            row = {"key": f"{place['name']}@{place['node']}", "here": False, **place}
            self._note(row["key"], row, seen, fresh)
            if count % _AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        gone = [key for key in self._rows if key not in seen]
        for key in gone:
            del self._rows[key], self._compared[key]
        return encode({"rows": fresh, "gone": gone}) if fresh or gone else None

    def _note(
        self, key: str, row: Mapping[str, Any], seen: set[str], fresh: list[msgspec.Raw]
    ) -> None:
        seen.add(key)
        encoded, compared = msgspec.Raw(encode(row)), encode(ageless(row))
        self._rows[key] = encoded
        if self._compared.get(key) != compared:
            self._compared[key] = compared
            fresh.append(encoded)

    def whole(self) -> bytes:
        """Every row."""
        return encode({"rows": list(self._rows.values()), "gone": []})


def _local_row(agent: dict[str, Any], node: str) -> dict[str, Any]:
    """An agent of this node; of what its processes said, the last line only."""
    lines = agent.pop("stderr")
    return {"key": agent["name"], "here": True, "node": node, **agent, "said": lines[-1:]}


class RequestsTopic(_Topic):
    """Requests under way, and those that ended."""

    name, action = "requests", "tasks"

    def __init__(self, host: Host, every: float) -> None:
        super().__init__(host, every)
        self._ended: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._last = ""
        self._running: list[dict[str, Any]] = []
        self._more = 0

    async def look(self) -> bytes | None:
        """Who is under way, and who has ended since the last look; the latest only, if they are too many."""
        await trio.lowlevel.checkpoint()
        tracker, now = self._host.requests.tracker, trio.current_time()
        running: list[dict[str, Any]] = []
        ended: list[Entry] = []
        for entry in tracker.entries():
            if entry.outcome is None:
                if len(running) < _RUNNING:
                    running.append(request_line(entry, now))
            elif entry.id == self._last or len(ended) == _KEPT:
                break
            else:
                ended.append(entry)
        was = self._running
        self._running, self._more = running, max(0, tracker.running - len(running))
        lines = [request_line(one, now) for one in reversed(ended)]
        if ended:
            self._last = ended[0].id
            self._ended.extend(lines)
        if not (lines or running or was):
            return None
        return encode({"running": running, "more": self._more, "ended": lines})

    def whole(self) -> bytes:
        """Those that ended lately, too."""
        return encode({"running": self._running, "more": self._more, "ended": list(self._ended)})


class StateTopic(_Topic):
    """How far each node's log is."""

    name, action = "state", "state"

    def __init__(self, host: Host, every: float) -> None:
        super().__init__(host, every)
        self._shown = b"null"

    async def look(self) -> bytes | None:
        """All of it, if something has moved."""
        try:
            shown = encode(await show(self._host))
        except FlowError as error:
            shown = encode({"error": str(error)})
        if shown == self._shown:
            return None
        self._shown = shown
        return shown

    def whole(self) -> bytes:
        """All of it."""
        return self._shown


class HappenedTopic(_Topic):
    """What happens: kept from the moment it opens, so that newcomers see what came before them."""

    name, action = "happened", "events"

    def __init__(self, host: Host, every: float) -> None:
        super().__init__(host, every)
        self._lines: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._number = 0
        self._told = 0
        self.others: list[_Topic] = []
        """What is worth a look when something happens."""

    def heed(self, event: Event) -> None:
        """Something happened."""
        told = _told(event)
        if told is None:
            return
        self._number += 1
        self._lines.append({"number": self._number, "time": self._host.wall(), **told})
        for one in (self, *self.others):
            one.stirred.set()

    async def look(self) -> bytes | None:
        """What has happened since the last look."""
        await trio.lowlevel.checkpoint()
        lines = [one for one in self._lines if one["number"] > self._told]
        self._told = self._number
        return encode({"lines": lines}) if lines else None

    def whole(self) -> bytes:
        """What happened lately."""
        return encode({"lines": list(self._lines)})


def _told(event: Event) -> dict[str, Any] | None:
    """An event as a line; None for what is no news to a person."""
    if isinstance(event, Elsewhere):
        inner = None if event.event is None else _told(event.event)
        return None if inner is None else {**inner, "node": event.node}
    if isinstance(event, StateChanged):
        return {
            "kind": "agent",
            "about": event.agent,
            "old": event.old.value,
            "new": event.new.value,
            "reason": event.reason,
        }
    if isinstance(event, BreakerChanged):
        return {
            "kind": "breaker",
            "about": event.agent,
            "old": event.old,
            "new": event.new,
            "reason": event.reason,
        }
    if isinstance(event, LinkChanged):
        about = str(event.details.get("peer", ""))
        reason = str(event.details.get("reason", ""))
        return {"kind": "link", "about": about, "old": "", "new": event.what, "reason": reason}
    if isinstance(event, AccessDenied):
        reason = f"{event.address}: {event.reason}"
        return {"kind": "login", "about": event.edge, "old": "", "new": "denied", "reason": reason}
    if isinstance(event, FaultInjected):
        return {
            "kind": "rehearsal",
            "about": event.experiment,
            "old": "",
            "new": event.what,
            "reason": f"{event.fault} {event.target}",
        }
    if isinstance(event, Lost):
        return {
            "kind": "lost",
            "about": "",
            "old": "",
            "new": f"{event.count} events",
            "reason": "this watcher was too slow",
        }
    return None


class AuditTopic(_Topic):
    """The end of the audit logs."""

    name, action = "audit", "guards.tail"

    def __init__(self, host: Host, every: float, guards: tuple[str, ...]) -> None:
        super().__init__(host, every)
        self._guards = guards
        self._lines: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._seen = dict.fromkeys(guards, 0)

    async def look(self) -> bytes | None:
        """The lines that were written since the last look."""
        await trio.lowlevel.checkpoint()
        fresh = []
        for name in self._guards:
            asked = {"most": _KEPT, "after": self._seen[name]}
            try:
                lines = self._host.guard(name).act("tail", asked)["lines"]
            except CallError:  # it is being opened anew: there is something to see again soon
                continue
            if lines:
                self._seen[name] = lines[-1]["seq"]
                fresh += [{"log": name, **one} for one in lines]
        self._lines.extend(fresh)
        return encode({"lines": fresh}) if fresh else None

    def whole(self) -> bytes:
        """The last lines."""
        return encode({"lines": list(self._lines)})


_AGES = frozenset({"since", "for", "ago", "uptime", "retry_after", "age", "last_seen"})


def ageless(value: Any) -> Any:
    """A value without what grows with time alone."""
    if isinstance(value, dict):
        return {name: ageless(one) for name, one in value.items() if name not in _AGES}
    if isinstance(value, (list, tuple)):
        return [ageless(one) for one in value]
    return value


def topics_of(host: Host, config: DashboardConfig) -> tuple[list[Any], Callable[[Event], None]]:
    """The topics of a node, and who is to be told what happens."""
    every = config.every
    node, agents = NodeTopic(host, every), AgentsTopic(host, every)
    happened = HappenedTopic(host, every)
    happened.others = [node, agents]
    state = StateTopic(host, every)
    audits = tuple(
        name for name, one in host.overview()["guards"].items() if one["type"] == "audit"
    )
    topics: list[Any] = [node, agents, RequestsTopic(host, every), state, happened]
    if audits:
        topics.append(AuditTopic(host, every, audits))
    return topics, happened.heed
