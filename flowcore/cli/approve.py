"""`flowctl approve`: a tool that its upstream changed, with what has changed, is believed again."""

from __future__ import annotations

import argparse
import difflib
import json
from typing import Any
from urllib.parse import quote

from flowcore.cli.answers import Acted, GuardsAnswer, Quarantined, QuarantineList
from flowcore.cli.node_client import NodeClient, Refused
from flowcore.cli.tables import colour


def add_command(commands: Any, common: argparse.ArgumentParser) -> None:
    """Put the command on flowctl's command line."""
    parser = commands.add_parser(
        "approve",
        parents=[common],
        help="believe a tool again that its upstream has changed; without words: which wait for it",
        description="Shows what has changed, and approves exactly that: a tool that has changed once more in"
        " between waits on. Which operator approved what is in the audit log.",
    )
    parser.add_argument("tool", nargs="?", metavar="AGENT.TOOL")
    parser.add_argument(
        "fingerprint", nargs="?", help="approve only if this is its fingerprint, or how that begins"
    )
    parser.add_argument("--show", action="store_true", help="show what has changed, and no more")


def approve(options: argparse.Namespace, node: NodeClient) -> tuple[Any, str]:
    """The answer, and for a person. Raises Refused, Unreachable."""
    guards = _pinning(node)
    if not guards:
        raise Refused(404, {"message": "this node pins no tools: it has no guard of type pinning"})
    waiting = {name: _list(node, name) for name in guards}
    if options.tool is None:
        found = [one for listed in waiting.values() for one in listed]
        lines = [f"{one.tool}  {one.fingerprint[:16]}  {_word(one)}" for one in found]
        answer = {"quarantined": [_plain(one) for one in found]}
        return answer, "\n".join(lines) or "no tool waits for approval"
    chosen = [
        (name, one)
        for name, listed in waiting.items()
        for one in listed
        if one.tool == options.tool
    ]
    if not chosen:
        raise Refused(404, {"message": f"{options.tool} is not in quarantine"})
    shown = difference(chosen[0][1])
    if options.show:
        return {"quarantined": [_plain(one) for _, one in chosen]}, shown
    answers = []
    for name, one in chosen:
        if options.fingerprint and not one.fingerprint.startswith(options.fingerprint):
            text = f"{one.tool} has another fingerprint: {one.fingerprint}"
            raise Refused(409, {"message": text})
        # what was shown, and nothing that came since, is approved
        body = {"tool": one.tool, "fingerprint": one.fingerprint}
        answers.append(node.post(_path(name, "approve"), body, Acted)[0])
    return answers[0], f"{shown}\n{options.tool}: approved"


def difference(one: Quarantined) -> str:
    """What has changed of a tool's definition, as a unified diff of its JSON; all of it, if it is new."""
    before = [] if one.before is None else _lines(one.before)
    after = [] if one.definition is None else _lines(one.definition)
    if one.before is None and not one.new:
        return "\n".join(["(what it was before was not kept)", *after])
    found = difflib.unified_diff(before, after, "as approved", "as it is now", lineterm="")
    return "\n".join(colour(line, _COLOURS.get(line[:1])) for line in found)


_COLOURS = {"+": "green", "-": "red"}


def _lines(definition: dict[str, Any]) -> list[str]:
    return json.dumps(definition, indent=2, sort_keys=True).splitlines()


def _pinning(node: NodeClient) -> list[str]:
    _, listed = node.get("/guards", GuardsAnswer)
    return [name for name, about in listed.guards.items() if about.get("type") == "pinning"]


def _list(node: NodeClient, name: str) -> list[Quarantined]:
    _, done = node.post(_path(name, "list"), {}, QuarantineList)
    return done.result.quarantined


def _path(name: str, action: str) -> str:
    return f"/guards/{quote(name, safe='')}/{action}"


def _word(one: Quarantined) -> str:
    return "new" if one.new else "changed"


def _plain(one: Quarantined) -> dict[str, Any]:
    return {
        "tool": one.tool,
        "fingerprint": one.fingerprint,
        "new": one.new,
        "definition": one.definition,
        "before": one.before,
    }
