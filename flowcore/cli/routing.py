"""`flowctl route` and `flowctl feedback`: whom a request in words is for, and how that was."""

from __future__ import annotations

import argparse
from typing import Any

from flowcore.cli.answers import CallAnswer
from flowcore.cli.node_client import NodeClient, Refused
from flowcore.cli.tables import table


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Put the commands on flowctl's command line."""
    route = commands.add_parser(
        "route", parents=[common], help="which tools a request in words is for, and why"
    )
    route.add_argument("text", help="what is wanted, in words")
    route.add_argument("-k", type=int, default=8, help="how many tools at most, 1 to 16")
    feedback = commands.add_parser(
        "feedback",
        parents=[common],
        help="tell whether a tool was the right one",
        description="About a route (`flowctl feedback ROUTE TOOL`), or about a text"
        " (`flowctl feedback --text 'what was wanted' TOOL`).",
    )
    feedback.add_argument("route", nargs="?", help="the id that route gave")
    feedback.add_argument("tool", help="its public name, such as time.get_current_time")
    feedback.add_argument("--text", help="the request in words, where there is no route")
    how = feedback.add_mutually_exclusive_group()
    how.add_argument("--wrong", action="store_true", help="it was the wrong one")
    how.add_argument("--reward", type=float, metavar="0..1", help="how right it was; unset: 1")


def route(options: argparse.Namespace, node: NodeClient) -> tuple[Any, str]:
    """The answer, and for a person. Raises Refused, Unreachable."""
    found = called(node, "flow.route", {"text": options.text, "k": options.k})
    lines = [f"route {found['route']}"]
    if not found["known"]:
        lines.append("no tool is known to be for this: these are guesses")
    if not found["lessons"]:
        lines.append("nothing was learned yet: tools are judged by what they say of themselves")
    rows = [
        [
            one["name"],
            f"{one['probability']:.3f}",
            f"{one['load']:.2f}",
            ", ".join(f"{name} {value:.2f}" for name, value in one["reasons"].items()),
        ]
        for one in found["experts"]
    ]
    lines.append(table(["tool", "probability", "load", "why"], rows))
    if found["nearest"]:
        near = [
            [f"{one['similarity']:.3f}", f"{one['weight']:+.2f}", one["expert"], one["text"][:80]]
            for one in found["nearest"]
        ]
        lines += ["", table(["similar", "weight", "tool", "what was asked"], near)]
    return found, "\n".join(lines)


def feedback(options: argparse.Namespace, node: NodeClient) -> tuple[Any, str]:
    """The answer, and for a person. Raises ValueError, Refused, Unreachable."""
    if (options.route is None) == (options.text is None):
        raise ValueError("feedback needs the route, or --text with the request in words")
    reward = 0.0 if options.wrong else 1.0 if options.reward is None else options.reward
    about = {"route": options.route} if options.text is None else {"text": options.text}
    answer, _ = call(node, "flow.feedback", {"expert": options.tool, "reward": reward, **about})
    return answer, f"learned: {options.tool} was worth {reward:g}"


def call(node: NodeClient, tool: str, arguments: dict[str, Any]) -> tuple[Any, CallAnswer]:
    """Call a tool of the node's own. Raises Refused for a result that says what is wrong."""
    answer, called_ = node.post("/call", {"tool": tool, "arguments": arguments}, CallAnswer)
    if called_.result.is_error:
        texts = [str(block.get("text", "")) for block in called_.result.content]
        raise Refused(200, {"message": " ".join(texts)})
    return answer, called_


def called(node: NodeClient, tool: str, arguments: dict[str, Any]) -> Any:
    """What a tool of the node's own gives, as plain data."""
    return call(node, tool, arguments)[1].result.structured_content
