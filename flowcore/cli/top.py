"""`flowctl top`: a node in a terminal, live: q quits, s sorts by the next column, arrows scroll."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from typing import Any

import attrs

from flowcore.cli.answers import AgentsAnswer, TasksAnswer, TopAnswer
from flowcore.cli.hard_state import StateAnswer
from flowcore.cli.node_client import NodeClient, Refused, Unreachable
from flowcore.cli.terminal import Screen
from flowcore.cli.top_frame import SORTS, Look, Sight, frame

_PATIENCE = 5.0
"""Seconds that a look may take: what answers later is as good as gone."""


def add_command(commands: Any, common: argparse.ArgumentParser) -> None:
    """Put the command on flowctl's command line."""
    parser = commands.add_parser(
        "top",
        parents=[common],
        help="the node live, in the terminal",
        description="Agents, nodes and requests, looked at again and again. q quits, s sorts by the next"
        " column, arrows and page keys scroll.",
    )
    parser.add_argument(
        "--every", type=float, default=1.0, metavar="SECONDS", help="how often it looks (1)"
    )
    parser.add_argument("--once", action="store_true", help="look once, print it, and end")
    parser.add_argument("--sort", choices=SORTS, default=SORTS[0], help="what agents are sorted by")


def top(options: argparse.Namespace, node: NodeClient) -> int:
    """Show the node until somebody quits; an exit code. Raises Refused, Unreachable, ValueError.

    Where nobody looks at a terminal, each look is one line of JSON (`--json`), or printed below the other.
    """
    if not 0.1 <= options.every < math.inf:
        raise ValueError(f"expected to look every 0.1 seconds or more, not {options.every:g}")
    sight = Sight(sort=options.sort)
    if options.json or options.once or not sys.stdout.isatty():
        return _printed(options, node, sight)
    with Screen(sys.stdin.fileno(), sys.stdout) as screen:
        _watched(options, node, sight, screen)
    return 0


def look(node: NodeClient, before: Look | None) -> tuple[dict[str, Any], Look]:
    """What the node says now, as it was said and as it is used. Raises Refused, Unreachable."""
    at = time.monotonic()
    answer, status = node.get("/status", TopAnswer)
    told: dict[str, Any] = {"status": answer}
    state, tasks = None, None
    if status.swarm is not None:  # other nodes are asked what their agents are at
        told["agents"], listed = _perhaps(node, "/agents", AgentsAnswer)
        if listed is not None:
            status.agents, status.elsewhere = listed.agents, listed.elsewhere
    if status.state is not None:
        told["state"], state = _perhaps(node, "/state", StateAnswer)
    told["tasks"], tasks = _perhaps(node, "/tasks", TasksAnswer)
    return told, Look(at=at, status=status, state=state, tasks=tasks, before=_bare(before))


def _perhaps(node: NodeClient, path: str, of: type[Any]) -> tuple[Any, Any]:
    """What one may not see is left out; what is not there, too."""
    try:
        return node.get(path, of)
    except Refused:
        return None, None


def _bare(look_: Look | None) -> Look | None:
    """A look without the one before it, so that they are no endless chain."""
    return None if look_ is None else attrs.evolve(look_, before=None)


def _printed(options: argparse.Namespace, node: NodeClient, sight: Sight) -> int:
    before: Look | None = None
    while True:
        told, seen = look(node, before)
        if options.json:
            print(json.dumps(told), flush=True)
        else:
            print("\n".join(frame(seen, sight, width=0, height=0)), flush=True)
        if options.once:
            return 0
        before = seen
        time.sleep(options.every)


def _watched(options: argparse.Namespace, node: NodeClient, sight: Sight, screen: Screen) -> None:
    seen: Look | None = None
    trouble, due = "", 0.0
    while True:
        now = time.monotonic()
        if now >= due:
            due = now + options.every
            try:
                _, seen = look(node, seen)
                trouble = ""
            except (Refused, Unreachable) as error:
                if seen is None:
                    raise  # there was nothing to see from the beginning
                trouble = str(error)
        assert seen is not None
        width, height = screen.size()
        screen.show(frame(seen, sight, width=width, height=height, trouble=trouble))
        key = screen.key(max(0.0, due - time.monotonic()))
        if key in ("q", "Q", "\x03"):
            return
        sight = sight.after(key, height, len(seen.status.agents) + len(seen.status.elsewhere))
