"""`flowctl fault`: rehearse failure, by a guard of type `faults`."""

from __future__ import annotations

import argparse
from typing import Any

from flowcore.cli import guards
from flowcore.cli.answers import GuardsAnswer
from flowcore.cli.node_client import NodeClient
from flowcore.cli.tables import seconds, table

ACTIONS = ("list", "start", "stop")


def add_command(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add `fault`."""
    parser = commands.add_parser(
        "fault",
        parents=[common],
        help="rehearse failure: what is under way; start and stop",
        description="`flowctl fault start NAME` begins an experiment that is configured; with fault=..."
        " and other settings (delay=200ms rate=0.1 agents='[\"time\"]' duration=30s dry_run=true) one that"
        " is not, or another way. `flowctl fault stop` undoes all.",
    )
    parser.add_argument("action", nargs="?", choices=ACTIONS, default="list")
    parser.add_argument("name", nargs="?", help="of an experiment")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="its settings")
    parser.add_argument("--guard", metavar="NAME", help="whose, if there are several of the type")


def fault(
    options: argparse.Namespace, node: NodeClient, settings: dict[str, Any]
) -> tuple[Any, str]:
    """Do it: the answer, and for a person. Raises ValueError for words that make no sense."""
    guard = options.guard or _only(node)
    if options.action == "list":
        answer, done = guards.act(node, guard, "list", {})
        del done
        return answer, _table(answer["result"])
    if options.action == "start" and options.name is None:
        raise ValueError("fault start needs the name of an experiment")
    given = settings if options.name is None else {"name": options.name, **settings}
    return guards.act(node, guard, options.action, given)


def _only(node: NodeClient) -> str:
    _, listed = node.get("/guards", GuardsAnswer)
    found = [name for name, about in listed.guards.items() if about.get("type") == "faults"]
    if len(found) != 1:
        said = "no guard" if not found else f"{len(found)} guards ({', '.join(found)})"
        raise ValueError(f"there is {said} of type 'faults': say which with --guard")
    return found[0]


def _table(status: dict[str, Any]) -> str:
    rows = [
        [
            one["name"],
            one["fault"],
            one["targets"],
            "begun" if one["begun"] else "waits",
            seconds(one["left"]),
            str(one["injected"]),
            "dry run" if one["dry_run"] else "",
        ]
        for one in status["running"]
    ]
    lines = [table(["experiment", "fault", "of", "", "left", "injected", ""], rows)]
    if status["configured"]:
        lines.append(f"configured: {', '.join(status['configured'])}")
    if status["stopped"]:
        lines.append(f"stopped by itself: {status['stopped']}")
    return "\n".join(lines)
