"""One picture of `flowctl top`: lines of text from what a node said, for a terminal of a given size. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from flowcore.cli.answers import AgentLine, MemberLine, PlaceLine, TasksAnswer, TopAnswer
from flowcore.cli.hard_state import StateAnswer
from flowcore.cli.nodes import STATES as MEMBER_COLOURS
from flowcore.cli.tables import STATE_COLOURS, colour, seconds

SORTS = ("name", "calls", "queue", "failed", "p99", "restarts")
_BARE = 3
"""Agents that are shown at least, however low the terminal is."""
_REQUESTS = 6
"""Requests under way that are shown at most."""


@attrs.frozen(kw_only=True)
class Look:
    """What a node said at one time."""

    at: float
    status: TopAnswer
    state: StateAnswer | None = None
    tasks: TasksAnswer | None = None
    before: Look | None = None
    """The look before, for what is counted per second."""


@attrs.frozen(kw_only=True)
class Sight:
    """What of it is looked at."""

    sort: str = SORTS[0]
    first: int = 0
    """The first agent that is shown."""

    def after(self, key: str, height: int, agents: int) -> Sight:
        """What is looked at after a key was pressed."""
        if key == "s":
            place = (SORTS.index(self.sort) + 1) % len(SORTS)
            return attrs.evolve(self, sort=SORTS[place], first=0)
        page = max(1, height // 2)
        steps = {"up": -1, "down": 1, "page up": -page, "page down": page}
        steps |= {"home": -self.first, "end": agents}
        if key not in steps:
            return self
        return attrs.evolve(self, first=max(0, min(self.first + steps[key], agents - 1)))


def frame(look: Look, sight: Sight, *, width: int, height: int, trouble: str = "") -> list[str]:
    """The lines; a width or height of 0 is no bound."""
    head = [*_head(look, trouble), *_swarm(look)]
    running = _running(look)
    left = height - len(head) - len(running) - 4 if height else 0
    rows = _sorted(look, sight.sort)
    most = max(_BARE, left) if height else len(rows)
    first = min(sight.first, max(0, len(rows) - most))
    table = [_AGENTS, *(row for _, row in rows[first : first + most])]
    title = f"agents {first + 1} to {first + len(table) - 1} of {len(rows)}, by {sight.sort}"
    lines = [*head, "", colour(title, "bold"), *_columns(table, 1, STATE_COLOURS), *running]
    if height:
        lines = [*lines[: height - 1], colour("q quits, s sorts, arrows scroll", "grey")]
    return [_cut(line, width) for line in lines]


def _head(look: Look, trouble: str) -> list[str]:
    status, counts = look.status, look.status.requests
    word = "ready" if status.ready else "draining" if status.draining else "not ready"
    tone = "green" if status.ready else "yellow"
    took = counts.durations
    unwell = [one for one in status.components if one.status != "ok"]
    lines = [
        f"{colour(status.node, 'bold')}  flowcore {status.version}  {colour(word, tone)},"
        f" up {seconds(status.uptime)}  {time.strftime('%H:%M:%S')}",
        f"requests  {_rate(look)}  {counts.running} running  p50 {seconds(took.p50)}"
        f"  p99 {seconds(took.p99)}  {counts.errors} errors  {counts.expired} expired"
        f"  {counts.refused} refused",
    ]
    if unwell:
        said = ", ".join(f"{one.component} {one.status}" for one in unwell[:4])
        more = f" and {len(unwell) - 4} more" if len(unwell) > 4 else ""
        lines.append(colour(f"not well  {said}{more}", "yellow"))
    if trouble:
        lines.append(colour(f"as it was: {trouble}", "red"))
    return lines


def _rate(look: Look) -> str:
    if look.before is None or look.at <= look.before.at:
        return "- /s"
    more = look.status.requests.accepted - look.before.status.requests.accepted
    return f"{max(0, more) / (look.at - look.before.at):.1f} /s"


def _swarm(look: Look) -> list[str]:
    """The nodes and how far their logs are; one line where there is one node."""
    swarm, state = look.status.swarm, look.state
    engine = None if state is None else state.consensus
    if swarm is None:
        if engine is None:
            return []
        return [f"state     {engine.type}, committed {engine.commit}"]
    alive = sum(one.state == "alive" for one in swarm.members)
    leads = ""
    if engine is not None and engine.leader:
        leads = f"; {engine.leader} leads in term {engine.term}, committed {engine.commit}"
    lines = [f"swarm     {swarm.topology} of {len(swarm.members)}, {alive} alive{leads}", ""]
    table: list[Sequence[str]] = [("node", "state", "hops", "rtt", "log", "behind", "")]
    table += [_member(one, state) for one in swarm.members]
    return lines + _columns(table, 1, MEMBER_COLOURS)


def _member(one: MemberLine, state: StateAnswer | None) -> list[str]:
    log, behind = "-", "-"
    if state is not None:
        known = state.consensus.followers.get(one.name)
        if one.name == state.consensus.leader:
            log, behind = str(_last(state)), "0"
        elif known is not None:
            log, behind = str(known.match), str(known.lag)
    lost = "" if one.unreachable is None else f"not reached for {seconds(one.unreachable)}"
    hops = "-" if one.hops is None else str(one.hops)
    return [one.name, one.state, hops, seconds(one.rtt), log, behind, lost]


def _last(state: StateAnswer) -> int:
    """Where the leader's log ends, as far as this node knows."""
    followers = state.consensus.followers.values()
    return max([state.consensus.commit, *(one.match + one.lag for one in followers)])


_AGENTS = (
    *("agent", "state", "node", "busy", "queue", "calls/s", "calls"),
    *("failed", "p50", "p99", "breaker", "restarts", "last trouble"),
)


def _sorted(look: Look, sort: str) -> list[tuple[Any, list[str]]]:
    """The agents as rows, sorted: numbers the greatest first, those that are not known last."""
    node = look.status.node
    before: dict[tuple[str, str], int | None] = {}
    if look.before is not None:
        earlier = look.before.status
        before = {(node, one.name): one.calls for one in earlier.agents}
        before |= {(one.node, one.name): one.calls for one in earlier.elsewhere}
    rows: list[tuple[Any, list[str]]] = []
    agents: list[AgentLine | PlaceLine] = [*look.status.agents, *look.status.elsewhere]
    for one in agents:
        at = one.node if isinstance(one, PlaceLine) else node
        value = _KEYS[sort](one) if sort == SORTS[0] or one.calls is not None else -1
        first = value if isinstance(value, str) else -value
        rows.append(((first, one.name, at), _agent(look, one, at, before.get((at, one.name)))))
    return sorted(rows, key=lambda pair: pair[0])


_KEYS: dict[str, Callable[[AgentLine | PlaceLine], Any]] = {
    "name": lambda one: one.name,
    "calls": lambda one: one.calls or 0,
    "queue": lambda one: 0 if one.pool is None else one.pool.waiting,
    "failed": lambda one: _failed(one),
    "p99": lambda one: (one.durations and one.durations.p99) or 0.0,
    "restarts": lambda one: restarts(one),
}


def _failed(one: AgentLine | PlaceLine) -> int:
    return one.failed + one.faulty + one.expired + one.lost


def restarts(one: AgentLine | PlaceLine) -> int:
    """How often something of it began anew: lives after the first, and workers that crashed."""
    return max(0, one.lives - 1) + one.crashes


def _agent(look: Look, one: AgentLine | PlaceLine, node: str, before: int | None) -> list[str]:
    """An agent as a row; of one elsewhere there is little to say while its node does not answer."""
    pool, took = one.pool, one.durations
    busy = "-" if pool is None else f"{pool.active}/{pool.workers}"
    waiting = "-" if pool is None else str(pool.waiting)
    said = one.reason or one.trouble or ""
    if one.calls is None or took is None:
        load = f"{one.load:.0%}" if isinstance(one, PlaceLine) else busy
        return [one.name, one.state, node, load, *["-"] * 8, said]
    rate = "-"
    if before is not None and look.before is not None and look.at > look.before.at:
        rate = f"{max(0, one.calls - before) / (look.at - look.before.at):.1f}"
    counts = (rate, str(one.calls), str(_failed(one)))
    figures = (*counts, seconds(took.p50), seconds(took.p99), one.breaker or "-")
    return [one.name, one.state, node, busy, waiting, *figures, str(restarts(one)), said]


def _running(look: Look) -> list[str]:
    """The requests that are under way for the longest time."""
    if look.tasks is None:
        return []
    running = [one for one in look.tasks.requests if one.state == "running"]
    if not running:
        return []
    table: list[Sequence[str]] = [("request", "agent", "name", "for", "by")]
    table += [
        (one.id, one.agent, one.name, seconds(one.seconds), one.principal)
        for one in running[:_REQUESTS]
    ]
    return ["", colour(f"{len(running)} under way", "bold"), *_columns(table, None, {})]


_NUMBERS = {
    *("hops", "rtt", "log", "behind", "busy", "queue", "calls/s", "calls"),
    *("failed", "p50", "p99", "restarts", "for"),
}


def _columns(
    table: Sequence[Sequence[str]], state: int | None, colours: dict[str, str]
) -> list[str]:
    """Aligned columns, numbers to the right; the first row is the head."""
    table = [[_plain(text) for text in row] for row in table]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for place, row in enumerate(table):
        cells = [
            text.rjust(width) if name in _NUMBERS else text.ljust(width)
            for text, width, name in zip(row, widths, table[0], strict=True)
        ]
        if place and state is not None:
            cells[state] = colour(cells[state], colours.get(row[state]))
        line = "  ".join(cells).rstrip()
        lines.append(line if place else colour(line, "grey"))
    return lines


def _plain(text: str) -> str:
    """The text without what a terminal would take for orders: it may come from an agent, or a client."""
    return "".join(one if one.isprintable() else " " for one in text)


def _cut(line: str, width: int) -> str:
    """The line in so many columns; sequences that colour take none."""
    if not width:
        return line
    shown, kept, place = 0, [], 0
    while place < len(line):
        if line[place] == "\x1b":
            end = line.index("m", place) + 1
            kept.append(line[place:end])
            place = end
            continue
        if shown < width:
            kept.append(line[place])
            shown += 1
        place += 1
    return "".join(kept)
