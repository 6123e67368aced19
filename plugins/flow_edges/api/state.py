"""What the `api` edge does with the hard state: where it is, who decides, its log, all of it as a file."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

import msgspec
import trio

from flow_edges.api.answers import read_body
from flowcore.errors import AssemblyError, FlowError, InvalidRequest, TooOld
from flowcore.flow import version
from flowcore.interfaces import Host
from flowcore.state import (
    About,
    Describes,
    KnowsMembers,
    Shown,
    ShowsLog,
    State,
    decode_entry,
    packed,
)
from flowcore.swarm import Member

_HEARD = 2.0
"""Seconds in which a node that was just started is heard of, unless something is wrong."""
_MOST = 1000
"""Entries of the log in one answer."""


class MembersBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /members/ACTION`."""

    nodes: list[str]
    remove: list[str] = []
    """With `promote`: who is taken out in the same step."""
    force: bool = False
    """With `add`: also who is not known to the swarm."""


class LogBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /log`: entries from `first` on; without, the last ones."""

    first: int | None = None
    most: int = 20


def state_of(host: Host) -> State:
    """The node's hard state. Raises InvalidRequest where there is none."""
    try:
        return host.state
    except AssemblyError as error:
        raise InvalidRequest(str(error)) from None


async def show(host: Host) -> dict[str, Any]:
    """Where the state is, and the engine and the log under it."""
    state = state_of(host)
    known = await state.consensus.followers() if isinstance(state.consensus, KnowsMembers) else None
    status = state.status()
    consensus = status.pop("consensus")
    if known is not None:
        consensus["followers"] = dict(known)
    return {"node": host.name, "state": status, "consensus": consensus}


async def add(host: Host, body: MembersBody) -> None:
    """Have nodes get the log, without a vote yet. Raises InvalidRequest for one that was never heard of."""
    state = state_of(host)
    strangers = [] if body.force else sorted(await _unheard(host, set(body.nodes)))
    if strangers:
        known = sorted({host.name, *(host.swarm.members() if host.linked else ())})
        raise InvalidRequest(
            f"{host.name} has not heard of {strangers}, expected some of {known}: start it first, or say"
            " force (flowctl members add --force)"
        )
    await state.consensus.change_voters(add=body.nodes)


async def _unheard(host: Host, nodes: set[str]) -> set[str]:
    """Who of them is not known here, a while after they may have been started."""
    missing, heard = nodes - {host.name}, trio.Event()
    if not missing or not host.linked:
        return missing

    def told(member: Member) -> None:
        missing.discard(member.name)
        if not missing:
            heard.set()

    stop = host.swarm.watch(told)
    try:
        with trio.move_on_after(_HEARD):
            await heard.wait()
    finally:
        stop()
    return missing


async def remove(host: Host, body: MembersBody) -> None:
    """Take nodes out."""
    await state_of(host).consensus.change_voters(remove=body.nodes)


async def promote(host: Host, body: MembersBody) -> None:
    """Have nodes vote, others leaving in the same step."""
    await state_of(host).consensus.change_voters(promote=body.nodes, remove=body.remove)


MEMBERS: Mapping[str, Callable[[Host, MembersBody], Awaitable[None]]] = {
    "add": add,
    "remove": remove,
    "promote": promote,
}
"""By the last part of the path."""


def checked(action: str, body: bytes) -> MembersBody:
    """What to do with whom. Raises InvalidRequest."""
    asked = read_body(body, MembersBody)
    if not asked.nodes:
        raise InvalidRequest("expected the names of nodes")
    if asked.remove and action != "promote":
        raise InvalidRequest("remove goes with promote only")
    if asked.force and action != "add":
        raise InvalidRequest("force goes with add only")
    return asked


async def log(host: Host, body: bytes) -> dict[str, Any]:
    """Entries of this node's log, as they can be read. Raises CallError."""
    asked = read_body(body, LogBody)
    if not 1 <= asked.most <= _MOST:
        raise InvalidRequest(f"expected 1 to {_MOST} entries, not {asked.most!r}")
    engine = state_of(host).consensus
    if not isinstance(engine, ShowsLog):
        raise InvalidRequest(f"consensus type {engine.status()['type']!r} shows no log")
    last = engine.status()["last"]
    first = max(1, last - asked.most + 1) if asked.first is None else asked.first
    if first < 1:
        raise InvalidRequest(f"expected a position from 1 on, not {first!r}")
    try:
        entries = await engine.entries(first, asked.most)
    except TooOld as error:
        if asked.first is not None:
            raise InvalidRequest(str(error)) from None
        begins = engine.status()["storage"]["first"]
        entries = await engine.entries(begins, asked.most)
    return {"node": host.name, "last": last, "entries": [_readable(one) for one in entries]}


def _readable(one: Shown) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "position": one.position,
        "term": one.term,
        "committed": one.committed,
    }
    if not one.data:
        return {**shown, "kind": "engine", "note": one.note}
    try:
        entry = decode_entry(one.data)
    except FlowError as error:
        return {**shown, "kind": "unknown", "note": str(error)}
    return {
        **shown,
        "kind": type(entry.command).__name__,
        "time": entry.time,
        "session": entry.session,
        "sequence": entry.sequence,
        "command": _text(entry.command),
    }


def _text(value: Any) -> Any:
    """What JSON can carry and a person can read: fields by name, and how many bytes are no text."""
    if isinstance(value, msgspec.Struct):
        fields = msgspec.structs.fields(value)
        return {
            one.name: _text(getattr(value, one.name))
            for one in fields
            if getattr(value, one.name) != one.default
        }
    if isinstance(value, bytes):
        try:
            text = value.decode()
        except UnicodeDecodeError:
            return f"{len(value)} bytes"
        return text if text.isprintable() else f"{len(value)} bytes"
    if isinstance(value, Mapping):
        return {str(name): _text(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_text(one) for one in value]
    return value


@asynccontextmanager
async def saved(host: Host) -> AsyncGenerator[AsyncGenerator[bytes]]:
    """The whole state as a file, in pieces: as it is when the first of them is taken."""
    state = state_of(host)
    engine = state.consensus
    async with state.open_snapshot() as (position, pieces):
        cluster, term = "", 1
        if isinstance(engine, Describes):
            cluster = engine.cluster
            term = engine.describe(position).term if position else 1
        about = About(
            cluster=cluster,
            node=host.name,
            position=position,
            term=term,
            time=host.wall(),
            flowcore=version(),
        )
        async with aclosing(packed(about, pieces)) as made:
            yield made
