"""`flowctl state`, `members`, `log` and `snapshot`: the hard state, who decides, and how it is moved."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pathlib
from typing import Any

import msgspec

from flowcore.cli.node_client import NodeClient, Refused
from flowcore.cli.tables import seconds, table
from flowcore.config import ConfigError
from flowcore.errors import FlowError

STATES = {
    "leader": "green",
    "voter": "green",
    "learner": "yellow",
    "leaving": "yellow",
    "lies": "red",
}
_ENTRY = 100
"""Characters of a command in a table."""


class Took(msgspec.Struct, frozen=True):
    """How long something took; None where nothing was measured yet."""

    count: int = 0
    p50: float | None = None
    p99: float | None = None


class LogCounts(msgspec.Struct):
    """The storage of a log."""

    first: int = 0
    last: int = 0
    bytes: int = 0
    snapshot: int | None = None
    failed: str = ""
    fsync_seconds: Took = Took()


class FollowerLine(msgspec.Struct):
    """A member as its leader knows it."""

    phase: str
    match: int
    lag: int
    active: bool


class EngineLine(msgspec.Struct):
    """A consensus engine; what one has not is left out."""

    type: str
    commit: int = 0
    role: str = ""
    term: int = 0
    leader: str = ""
    name: str = ""
    cluster: str = ""
    voters: list[str] = []
    outgoing: list[str] = []
    learners: list[str] = []
    height: int | None = None
    """Of the last block, where blocks are decided by voters that may lie; so below."""
    view: int = 0
    epoch: int = 0
    faults: int = 0
    checkpoint: int = 0
    evidence: dict[str, str] = {}
    """Which voter has contradicted itself, and how."""
    bad_snapshots: dict[str, int] = {}
    nodes: list[str] = []
    """Who is there, where others than the nodes decide."""
    followers: dict[str, FollowerLine] = {}
    elections: int = 0
    stopped: str = ""
    trouble: str = ""
    commit_seconds: Took = Took()
    storage: LogCounts | None = None


class StateLine(msgspec.Struct):
    """What is applied."""

    position: int
    durable: bool
    durable_position: int
    disk: int
    trouble: str


class StateAnswer(msgspec.Struct):
    """The answer of `GET /state`."""

    node: str
    state: StateLine
    consensus: EngineLine


class LogAnswer(msgspec.Struct):
    """The answer of `POST /log`."""

    last: int
    entries: list[dict[str, Any]]


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Put the commands on flowctl's command line."""
    commands.add_parser("state", parents=[common], help="the hard state: who leads, how far, since")
    members = commands.add_parser("members", parents=[common], help="who decides; or change it")
    actions = members.add_subparsers(dest="action", metavar="ACTION")
    for name, text in (
        ("add", "have nodes get the log, without a vote yet"),
        ("remove", "take nodes out"),
        ("promote", "have those that were added vote"),
    ):
        one = actions.add_parser(name, parents=[common], help=text)
        one.add_argument("nodes", nargs="+", metavar="NODE")
        if name == "add":
            one.add_argument(
                "--force",
                action="store_true",
                help="also who is not known to the node that is asked",
            )
        if name == "promote":
            one.add_argument(
                "--remove",
                action="append",
                default=[],
                metavar="NODE",
                help="whom to take out in the same step",
            )
    log = commands.add_parser("log", parents=[common], help="the last entries of the node's log")
    log.add_argument("--from", dest="first", type=int, metavar="POSITION", help="from here on")
    log.add_argument("-n", "--most", type=int, default=20, help="how many at most (20)")
    snapshot = commands.add_parser("snapshot", parents=[common], help="the whole state as a file")
    actions = snapshot.add_subparsers(dest="action", required=True, metavar="ACTION")
    save = actions.add_parser("save", parents=[common], help="write it")
    save.add_argument("file", type=pathlib.Path)
    show = actions.add_parser("show", parents=[common], help="check a file, and tell what it is of")
    show.add_argument("file", type=pathlib.Path)
    restore = actions.add_parser(
        "restore", parents=[common], help="have a node that was never started begin with it"
    )
    restore.add_argument("file", type=pathlib.Path)
    restore.add_argument(
        "--config", required=True, type=pathlib.Path, help="the configuration of the node"
    )
    restore.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    restore.add_argument(
        "--from-cluster", default="", metavar="NAME", help="the cluster it is of, if it is another"
    )


def state(options: argparse.Namespace, node: NodeClient) -> tuple[Any, str]:
    """Where the state is, and what is under it."""
    del options
    answer, one = node.get("/state", StateAnswer)
    return answer, _told(one)


def members(options: argparse.Namespace, node: NodeClient) -> tuple[Any, str]:
    """Who decides; or change it, and wait until that is committed."""
    if options.action is None:
        answer, one = node.get("/state", StateAnswer)
        return answer["consensus"], _members(one)
    body: dict[str, Any] = {"nodes": options.nodes}
    if options.action == "promote" and options.remove:
        body["remove"] = options.remove
    if options.action == "add" and options.force:
        body["force"] = True
    answer, one = node.post(f"/members/{options.action}", body, StateAnswer)
    return answer, _members(one)


def log(options: argparse.Namespace, node: NodeClient) -> tuple[Any, str]:
    """Entries of the log of the node that is asked."""
    body: dict[str, Any] = {"most": options.most}
    if options.first is not None:
        body["first"] = options.first
    answer, found = node.post("/log", body, LogAnswer)
    if not found.entries:
        return answer, f"the log ends at {found.last}"
    rows = [_entry(one) for one in found.entries]
    return answer, table(["position", "term", "", "kind", "at", "what"], rows)


def snapshot(options: argparse.Namespace, node: NodeClient) -> tuple[Any, str]:
    """Save, check or restore. Raises Refused for a file that cannot be trusted, or not be used here."""
    try:
        if options.action == "save":
            return _save(options.file, node)
        if options.action == "show":
            return _show(options.file)
        return _restore(options)
    except ConfigError:
        raise
    except FlowError as error:
        raise Refused(0, {"message": str(error)}) from error


def _told(one: StateAnswer) -> str:
    engine, applied = one.consensus, one.state
    blocks = engine.height is not None
    where = f"view {engine.view}" if blocks else f"in term {engine.term}"
    led = f"; {engine.leader or 'nobody'} leads {where}" if engine.role else ""
    of = f" of cluster {engine.cluster}" if engine.cluster else ""
    lines = [
        f"node {one.node}{of}: {engine.type}{f', {engine.role}' if engine.role else ''}{led}",
        f"committed {engine.commit}, applied {applied.position}"
        f" ({max(0, engine.commit - applied.position)} behind), durable {applied.durable_position},"
        f" {applied.disk} bytes",
    ]
    if blocks:
        lines += _blocks(engine)
    kept = engine.storage
    if kept is not None:
        fsync = kept.fsync_seconds
        held = "no snapshot of others" if kept.snapshot is None else f"snapshot at {kept.snapshot}"
        lines.append(f"log {kept.first} to {kept.last}, {kept.bytes} bytes, {held}")
        lines.append(
            f"fsync p50 {seconds(fsync.p50)}, p99 {seconds(fsync.p99)} of {fsync.count}; commit p50"
            f" {seconds(engine.commit_seconds.p50)}, p99 {seconds(engine.commit_seconds.p99)} of"
            f" {engine.commit_seconds.count};"
            f" {'views given up' if blocks else 'stood for election'} {engine.elections} times"
        )
    said = (engine.stopped, engine.trouble, applied.trouble)
    lines += [f"note: {why}" for why in said if why]
    if engine.voters or engine.nodes:
        lines += ["", _members(one)]
    return "\n".join(lines)


def _blocks(engine: EngineLine) -> list[str]:
    """Where blocks are decided by voters that may lie: which one, and who was found to."""
    lines = [
        f"block {engine.height}, epoch {engine.epoch}: {engine.faults} of {len(engine.voters)} voters may"
        f" lie; the state is certified at block {engine.checkpoint}"
    ]
    lines += [
        f"EVIDENCE: {name} lies: it has signed {how}" for name, how in engine.evidence.items()
    ]
    lines += [
        f"EVIDENCE: {name} has sent {count} states that are not what was certified"
        for name, count in engine.bad_snapshots.items()
    ]
    return lines


def _members(one: StateAnswer) -> str:
    engine = one.consensus
    if engine.nodes:
        return f"consensus type {engine.type!r}: its members decide; on it are {', '.join(engine.nodes)}"
    if not engine.voters:
        return f"consensus type {engine.type!r}: this node decides alone"
    rows = []
    for name in sorted({*engine.voters, *engine.outgoing, *engine.learners}):
        voter = name in engine.voters
        role = "voter" if voter else "learner" if name in engine.learners else "leaving"
        known = engine.followers.get(name)
        if name in engine.evidence:
            role = "lies"
        if name == engine.leader:
            has = engine.commit if engine.height is None else engine.height
            row = [name, "leader" if voter else role, str(has), "0", ""]
        elif known is not None:
            heard = "" if known.active else "not heard"
            row = [name, role, str(known.match), str(known.lag), heard]
        elif name == engine.name and engine.height is not None:
            row = [name, role, str(engine.height), "0", "this node"]
        else:
            row = [name, role, "-", "-", ""]
        rows.append(row)
    return table(["member", "role", "has", "behind", ""], rows, state=1, colours=STATES)


def _entry(one: dict[str, Any]) -> list[str]:
    what = one.get("note") or json.dumps(one.get("command"), ensure_ascii=False)
    if len(what) > _ENTRY:
        what = f"{what[:_ENTRY]}…"
    state_ = "" if one["committed"] else "not committed"
    at = _date(one["time"]) if "time" in one else ""
    return [str(one["position"]), str(one["term"]), state_, one["kind"], at, what]


def _date(when: float) -> str:
    return datetime.datetime.fromtimestamp(when, datetime.UTC).isoformat(timespec="seconds")


def _save(path: pathlib.Path, node: NodeClient) -> tuple[Any, str]:
    from flowcore.sqlite import sync_folder
    from flowcore.state import read_about, unpacked

    new = path.with_name(path.name + ".new")
    try:
        try:
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                size = node.download("/snapshot", {}, file)
                file.flush()
                os.fsync(file.fileno())
            for _ in unpacked(new):  # what came is what was sent
                pass
            about = read_about(new)
            new.replace(path)
            sync_folder(path.parent)
        except OSError as error:
            raise ValueError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        new.unlink(missing_ok=True)
    found = {**msgspec.to_builtins(about), "bytes": size, "file": str(path)}
    return found, f"{path}: the state of {about.node} at {about.position}, {size} bytes"


def _show(path: pathlib.Path) -> tuple[Any, str]:
    from flowcore.state import check_archive

    about = check_archive(path)
    of = f" of cluster {about.cluster}" if about.cluster else ""
    text = f"{path}: the state of {about.node}{of} at {about.position} (term {about.term}), taken"
    return msgspec.to_builtins(about), f"{text} {_date(about.time)}, as written"


def _restore(options: argparse.Namespace) -> tuple[Any, str]:
    import trio

    from flowcore.assembly import read
    from flowcore.flow import restore

    made = read(options.config, options.set)

    async def run() -> Any:
        return await restore(made, options.file, from_cluster=options.from_cluster)

    about = trio.run(run)
    folder = made.config.node.data_dir
    text = f"{folder}: node {made.config.node.name} begins at {about.position}; start it"
    return {**msgspec.to_builtins(about), "data_dir": str(folder)}, text
