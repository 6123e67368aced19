"""`flowctl nodes`: the nodes of the swarm, as one of them knows them."""

from __future__ import annotations

import argparse
from typing import Any

from flowcore.cli.answers import MemberLine, PlaceLine, StatusAnswer
from flowcore.cli.node_client import NodeClient
from flowcore.cli.tables import seconds, table

STATES = {"alive": "green", "suspect": "yellow", "dead": "red", "left": "grey"}
PLACES = (
    *("agent", "node", "state", "tools", "load", "hops", "under way", "waiting"),
    *("calls", "failed", "p50", "p99", ""),
)


def add_command(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add `nodes`."""
    commands.add_parser("nodes", parents=[common], help="the nodes of the swarm")


def nodes(options: argparse.Namespace, node: NodeClient) -> tuple[Any, str]:
    """Who is there, how far away, and since when somebody is not reached."""
    del options
    answer, status = node.get("/status", StatusAnswer)
    swarm = status.swarm
    if swarm is None:
        raise ValueError(f"node {status.node} is alone: it has no [swarm]")
    rows = [_row(one) for one in swarm.members]
    head = ["node", "state", "for", "address", "hops", "rtt", ""]
    text = f"swarm {swarm.cluster} ({swarm.topology}), seen by {status.node}\n"
    return answer["swarm"], text + table(head, rows, state=1, colours=STATES)


def _row(one: MemberLine) -> list[str]:
    hops = "-" if one.hops is None else str(one.hops)
    lost = "" if one.unreachable is None else f"not reached for {seconds(one.unreachable)}"
    return [one.name, one.state, seconds(one.since), one.address, hops, seconds(one.rtt), lost]


def place_row(one: PlaceLine) -> list[str]:
    """An agent at another node, as a row of a table."""
    load = f"{one.load:.0%}"
    waiting = "-" if one.pool is None else str(one.pool.waiting)
    counts = [str(one.tools), load, str(one.hops), str(one.under_way), waiting]
    figures = ["-"] * 4
    if one.calls is not None and one.durations is not None:
        failed = one.failed + one.faulty + one.expired + one.lost
        took = (seconds(one.durations.p50), seconds(one.durations.p99))
        figures = [str(one.calls), str(failed), *took]
    return [one.name, one.node, one.state, *counts, *figures, one.reason or one.trouble or ""]
