"""`flowctl guards`: what stands before requests, and what it did; or have one of them do something."""

from __future__ import annotations

import argparse
import json
from typing import Any
from urllib.parse import quote

from flowcore.cli.answers import Acted, GuardsAnswer
from flowcore.cli.node_client import NodeClient
from flowcore.cli.tables import seconds, table


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """The command's own words."""
    parser = commands.add_parser(
        "guards",
        parents=[common],
        help="the guards of requests; or have one do something",
        description="Without words: the guards. With words: have one of them do something, such as"
        " `flowctl guards breaker open agent=time` (or close, or auto).",
    )
    parser.add_argument("name", nargs="?", help="a guard's name")
    parser.add_argument("action", nargs="?", help="what it is to do")
    parser.add_argument(
        "arguments", nargs="*", metavar="KEY=VALUE", help="JSON values; other text is text"
    )


def show(node: NodeClient) -> tuple[Any, str]:
    """The answer, and as a table: one line per guard, and one per agent that a guard tells of."""
    answer, listed = node.get("/guards", GuardsAnswer)
    rows = []
    for name, about in listed.guards.items():
        counts = about.get("refused")
        refused = counts if isinstance(counts, dict) else {}
        said = ", ".join(f"{count} by {why}" for why, count in refused.items() if count)
        rows.append([name, str(about.get("type", "")), "", str(about.get("allowed", "")), said])
        agents = about.get("agents")
        for agent, state in (agents if isinstance(agents, dict) else {}).items():
            rows.append(["", "", agent, str(state.get("allowed", "")), _agent(state)])
    return answer, table(["guard", "type", "agent", "allowed", "refused, or its state"], rows)


def _agent(state: dict[str, Any]) -> str:
    """What a guard tells of an agent: a breaker's state and why, a limit's figures."""
    if "state" in state:
        why = f": {state['reason']}" if state.get("reason") else ""
        return f"{state['state']} for {seconds(state['since'])}{why}"
    return ", ".join(f"{key} {value}" for key, value in state.items())


def act(node: NodeClient, name: str, action: str, arguments: dict[str, Any]) -> tuple[Any, str]:
    """Have a guard do something: the answer, and for a person."""
    path = f"/guards/{quote(name, safe='')}/{quote(action, safe='')}"
    answer, done = node.post(path, arguments, Acted)
    return answer, f"{name}: {done.done}\n{json.dumps(done.result, indent=2)}"
