"""`flowctl doctor`: what is wrong with a node, or will be soon, and what to do about it."""

from __future__ import annotations

import argparse
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import msgspec

from flowcore.cli import checks
from flowcore.cli.checks import Check, Verdict
from flowcore.cli.node_client import NodeClient, Refused, Unreachable
from flowcore.cli.tables import table
from flowcore.config import ConfigError
from flowcore.errors import FlowError

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "skip": "grey"}
APART = 0.5
"""Seconds between two clocks from which on it is told;"""
FAR_APART = 5.0
"""and from which on tokens, signatures and what expires are judged differently by the two."""
EXIT_FAILED = 1


class NodesAnswer(msgspec.Struct):
    """The answer of `GET /nodes`."""

    node: str
    about: dict[str, Any]
    nodes: list[dict[str, Any]]


def add_command(commands: Any, common: argparse.ArgumentParser) -> None:
    """Put the command on flowctl's command line."""
    parser = commands.add_parser(
        "doctor",
        parents=[common],
        help="what is wrong, or will be soon, and what to do",
        description="Looks at the configuration (where it is given), certificates, disk, ports and peers from"
        " this machine, and asks the node, if it runs, how it is and whether its peers agree with it.",
        epilog="exit codes: 0 nothing is wrong (there may be warnings), 1 something is, 2 wrong usage",
    )
    parser.add_argument("--config", type=pathlib.Path, metavar="FILE", help="the node's TOML file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="as flowserve was given"
    )


def doctor(options: argparse.Namespace, node: NodeClient) -> int:
    """Look at everything; an exit code."""
    status, trouble = _status(node)
    found = [*_on_this_machine(options, status), *_of_the_node(node, status, trouble)]
    counts = {word: sum(one.verdict == word for one in found) for word in COLOURS}
    if options.json:
        print(json.dumps({"checks": [attrs.asdict(one) for one in found], "counts": counts}))
    else:
        print(_text(found))
        print(
            f"\n{counts['fail']} wrong, {counts['warn']} to look at, {counts['ok']} in order,"
            f" {counts['skip']} not looked at"
        )
    return EXIT_FAILED if counts["fail"] else 0


def _text(found: Sequence[Check]) -> str:
    rows = [[one.verdict, one.check, one.about, one.found] for one in found]
    lines = table(["", "what", "which", "found"], rows, state=0, colours=COLOURS)
    todo = [
        f"{one.verdict}: {' '.join(filter(None, (one.check, one.about)))}: {one.advice}"
        for one in found
        if one.advice
    ]
    return "\n".join([lines, *(["", "what to do:"] if todo else []), *todo])


def _status(node: NodeClient) -> tuple[dict[str, Any] | None, str]:
    """What the node says of itself; None, and why, if it says nothing."""
    try:
        answer, _ = node.get("/status", dict[str, Any])
    except (Unreachable, Refused) as error:
        return None, str(error)
    return answer, ""


# ---- from this machine


def _on_this_machine(options: argparse.Namespace, status: dict[str, Any] | None) -> Iterator[Check]:
    if options.config is None:
        yield Check(
            check="configuration",
            about="",
            verdict="skip",
            found="none was given: --config FILE has it, certificates, disk, ports and peers looked at",
        )
        return
    from flowcore.assembly import read

    try:
        made = read(options.config, options.set)
    except ConfigError as error:
        for problem in str(error).splitlines():
            yield Check(
                check="configuration",
                about=str(options.config),
                verdict="fail",
                found=problem,
                advice="correct the file at that line",
            )
        return
    except (FlowError, OSError) as error:
        yield Check(
            check="configuration",
            about=str(options.config),
            verdict="fail",
            found=str(error),
            advice="name a file that can be read",
        )
        return
    config = made.config
    yield Check(
        check="configuration",
        about=str(options.config),
        verdict="ok",
        found=f"{len(config.agent)} agents, {len(config.edge)} edges, no problems",
    )
    yield from checks.certificates(config, made.folder)
    yield checks.disk(config)
    running = status is not None and status.get("node") == config.node.name
    held = _held(status) if running and status is not None else frozenset()
    yield from checks.ports(config, made.plan, held)
    yield from checks.peers(config, made.folder)


def _held(status: dict[str, Any]) -> frozenset[str]:
    """The addresses at which the node itself listens."""
    held = {
        url.split("//")[-1].split("/")[0] for urls in status["endpoints"].values() for url in urls
    }
    swarm = status.get("swarm")
    return frozenset(held | ({swarm["address"]} if swarm else set()))


# ---- by the node's own word


def _of_the_node(node: NodeClient, status: dict[str, Any] | None, trouble: str) -> Iterator[Check]:
    if status is None:
        yield Check(
            check="node",
            about="",
            verdict="fail",
            found=trouble,
            advice="start it (`flowserve --config FILE`), or say where it is (--url) and who you are",
        )
        return
    yield from _health(status)
    yield from of_members(status)
    yield from _state(status)
    yield from _memory(status)
    yield from _agreement(node)


def _health(status: dict[str, Any]) -> Iterator[Check]:
    unwell = [one for one in status["components"] if one["status"] != "ok"]
    if not unwell:
        count = len(status["components"])
        yield Check(
            check="node",
            about=status["node"],
            verdict="ok",
            found=f"all {count} components are well",
        )
    for one in unwell:
        bad = one["status"] in ("failed", "stopped", "starting")
        yield Check(
            check="component",
            about=one["component"],
            verdict="fail" if bad else "warn",
            found=f"{one['status']}: {one['reason'] or 'it says no reason'}",
            advice="see its log lines, and `flowctl agents show NAME` for an agent",
        )


def of_members(status: dict[str, Any]) -> Iterator[Check]:
    """Who of the swarm is there, by the node's status."""
    swarm = status.get("swarm")
    if swarm is None:
        return
    for one in swarm["members"]:
        lost = one["unreachable"]
        if one["state"] == "left" or (one["state"] == "alive" and lost is None):
            yield Check(check="member", about=one["name"], verdict="ok", found=one["state"])
        else:
            words = (
                one["state"] if lost is None else f"{one['state']}, not reached for {lost:.0f} s"
            )
            yield Check(
                check="member",
                about=one["name"],
                verdict="warn" if one["state"] == "suspect" else "fail",
                found=words,
                advice=f"see whether it runs at {one['address']}, and what is between",
            )


def _state(status: dict[str, Any]) -> Iterator[Check]:
    state = status.get("state")
    if state is None:
        return
    trouble = state["trouble"] or state.get("consensus", {}).get("trouble", "")
    verdict: Verdict = "fail" if trouble else "ok" if state["durable"] else "warn"
    found = trouble or f"at {state['position']}, {state['patterns']} patterns"
    advice = "see docs/troubleshooting.md" if trouble else ""
    if not trouble and not state["durable"]:
        found += ", in memory only"
        advice = 'what is kept is lost at a restart: [storage] type = "sqlite" keeps it'
    yield Check(check="state", about="", verdict=verdict, found=found, advice=advice)


def _memory(status: dict[str, Any]) -> Iterator[Check]:
    router = status.get("router")
    if router is None:
        return
    following = router["memory"]["following"]
    identity = router["embedder"]["identity"]
    foreign, unlearned = following["foreign"], router["learning"]["foreign"]
    if foreign or unlearned:
        yield Check(
            check="embedder",
            about=identity,
            verdict="fail",
            found=f"{foreign} patterns and {unlearned} lessons were embedded by another one, and are neither"
            " found nor learned",
            advice="run `flowctl memory reembed`, or configure the embedder that made them",
        )
    else:
        yield Check(
            check="embedder", about=identity, verdict="ok", found="all patterns are its own"
        )


def _agreement(node: NodeClient) -> Iterator[Check]:
    """Whether the other nodes go by the same time, and embed and find alike."""
    try:
        _, told = node.get("/nodes", NodesAnswer)
    except Refused as error:
        yield Check(check="peers", about="", verdict="skip", found=str(error))
        return
    for one in told.nodes:
        name = one["node"]
        if "error" in one:
            yield Check(
                check="clock",
                about=name,
                verdict="fail",
                found=f"could not be asked: {one['error']}",
                advice="see whether it runs, and whether it is of this version",
            )
            continue
        yield _clock(name, one["ahead"], one["within"])
        for what in ("embedder", "index", "gate", "version"):
            yield _alike(what, name, told.about.get(what, ""), one.get(what, ""))


def _clock(name: str, ahead: float, within: float) -> Check:
    apart = max(0.0, abs(ahead) - within)
    way = "ahead of" if ahead > 0 else "behind"
    found = f"{abs(ahead):.3f} s {way} this node's (give or take {within:.3f} s)"
    verdict: Verdict = "fail" if apart >= FAR_APART else "warn" if apart >= APART else "ok"
    advice = "" if verdict == "ok" else "set both by NTP (`timedatectl set-ntp true`)"
    return Check(check="clock", about=name, verdict=verdict, found=found, advice=advice)


def _alike(what: str, name: str, ours: str, theirs: str) -> Check:
    if ours == theirs:
        return Check(check=what, about=name, verdict="ok", found=f"{theirs or 'none'}, as here")
    verdict: Verdict = "fail" if what == "embedder" else "warn"
    advice = {
        "embedder": "configure one embedder on all nodes, then run `flowctl memory reembed`",
        "index": "what is found may differ from node to node: configure one index on all",
        "gate": "the same lessons teach them differently: configure [router] gate and practice, and [node]"
        " seed, alike on all, then run `flowctl memory retrain`",
        "version": "bring all nodes to one version, one after the other",
    }[what]
    found = f"{theirs or 'none'}, and {ours or 'none'} here"
    return Check(check=what, about=name, verdict=verdict, found=found, advice=advice)
