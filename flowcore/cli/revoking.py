"""`flowctl revoke`, `flowctl revocations`: credentials and principals that no node lets in any more."""

from __future__ import annotations

import argparse
from typing import Any

from flowcore.cli.answers import Reinstated, RevocationsAnswer, Revoked
from flowcore.cli.node_client import NodeClient
from flowcore.cli.tables import seconds, table
from flowcore.config.values import parse_duration

WHAT = ("jti", "key", "token", "certificate", "principal")


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Put the commands on flowctl's command line."""
    parser = commands.add_parser(
        "revoke",
        parents=[common],
        help="let credentials, or a principal, in no more: on all nodes, at once",
        description="Such as: flowctl revoke idp jti 7f3a (a token of [auth.idp]), flowctl revoke partners"
        " key 2026-11, flowctl revoke staff principal ann. It is kept in the hard state.",
    )
    parser.add_argument("scheme", help="the name of the [auth.NAME] table")
    parser.add_argument("what", choices=WHAT)
    parser.add_argument("id", help="its id: a digest (SHA-256, hex) of a token or certificate")
    parser.add_argument(
        "--for",
        dest="duration",
        metavar="DURATION",
        help="until it would have expired by itself, such as 1h; without it: for good",
    )
    listed = commands.add_parser(
        "revocations", parents=[common], help="what is revoked; take a revocation back"
    )
    listed.add_argument(
        "--remove",
        nargs=3,
        metavar=("SCHEME", "WHAT", "ID"),
        help="let it in again, on all nodes: the words that revoke was given",
    )


def revoke(options: argparse.Namespace, node: NodeClient) -> tuple[Any, str]:
    """The answer, and for a person. Raises Refused, Unreachable."""
    body: dict[str, Any] = {"scheme": options.scheme, "what": options.what, "id": options.id}
    if options.duration is not None:
        body["seconds"] = _seconds(options.duration)
    answer, done = node.post("/revocations/add", body, Revoked)
    return answer, f"{done.revoked}: revoked"


def _seconds(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError:
        raise ValueError(f"expected a duration such as 1h or 30m, not {text!r}") from None


def revocations(options: argparse.Namespace, node: NodeClient) -> tuple[Any, str]:
    """What is revoked, or, with `--remove`, is no more."""
    if options.remove is not None:
        scheme, what, id_ = options.remove
        if what not in WHAT:
            raise ValueError(f"expected one of {', '.join(WHAT)}, not {what!r}")
        body = {"scheme": scheme, "what": what, "id": id_}
        answer, done = node.post("/revocations/remove", body, Reinstated)
        return answer, f"{done.reinstated}: revoked no more"
    answer, listed = node.get("/revocations", RevocationsAnswer)
    if not listed.revocations:
        return answer, "nothing is revoked"
    rows = [
        [one.id, seconds(one.ago), "" if one.left is None else seconds(one.left)]
        for one in listed.revocations
    ]
    return answer, table(["revoked", "ago", "for"], rows)
