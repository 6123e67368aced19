"""`static`: the members are those that are configured, and each is there as long as it answers.

Every node asks every other one over mutual TLS, so this is for a handful of nodes whose addresses do not
change. One that does not answer is shown as suspected, and then as dead, since when; it is asked on.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any

import attrs
import msgspec
import trio
from msgspec import Struct

from flow_membership import incarnations
from flow_membership.unreadable import UNREADABLE
from flowcore.config import Duration, setting
from flowcore.config import validators as v
from flowcore.errors import LinkFailed
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.swarm import MOST_ABOUT, Member, Membership, MemberState, SwarmPort, is_address

logger = logging.getLogger(__name__)

_VERSION = 1
_LOOKS = 4
"""Times in an interval that is looked at who has been silent for too long."""
_LEAST_GAP = 0.1
"""Seconds between two questions to one node at least, however often this node has something to tell."""


def _are_addresses(nodes: object) -> bool:
    return isinstance(nodes, Mapping) and all(
        isinstance(one, str) and is_address(one) for one in nodes.values()
    )


@attrs.frozen(kw_only=True)
class StaticConfig:
    """The nodes there are, and when one that does not answer is held for dead."""

    nodes: dict[str, str] = setting(
        factory=dict,
        validator=v.Check(_are_addresses, "names and their host:port"),
        help="every node of the swarm by its name, and where it takes links: `host:port`; this one may be"
        " among them",
    )
    interval: Duration = setting(
        1.0,
        validator=v.gt(0),
        help="who has not been heard for so long is asked whether it is there",
    )
    timeout: Duration = setting(
        2.0, validator=v.gt(0), help="who does not answer for so long is suspected"
    )
    dead_after: Duration = setting(
        5.0, validator=v.gt(0), help="who has not been heard for so long is held for dead"
    )

    def __attrs_post_init__(self) -> None:
        if self.dead_after <= self.interval:
            raise ValueError(
                f"dead_after is {self.dead_after:g} s (expected more than interval, {self.interval:g} s)"
            )


class _Word(Struct, array_like=True, frozen=True):
    """What a node says of itself, as a question or an answer to it."""

    version: int
    cluster: str
    incarnation: int
    left: bool
    about: bytes
    refused: str = ""


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(_Word)


@attrs.define(eq=False)
class _Node:
    """A configured node other than this one."""

    member: Member
    heard: float
    """When it was heard the last time, or this node began."""
    why: str = "not heard yet"
    """Why it was not heard the last time; empty if it was."""
    sooner: trio.Event = attrs.field(factory=trio.Event)
    answers: int = 0
    failures: int = 0


class Static:
    """`Membership` by configuration."""

    def __init__(self, config: StaticConfig) -> None:
        self._config = config
        self._nodes: dict[str, _Node] = {}
        self._port: SwarmPort | None = None
        self._me: Member | None = None
        self._about = b""
        self._left = False
        self._incarnation = 0
        self._members: Mapping[str, Member] | None = MappingProxyType({})
        self.refused = 0
        """Words that could not be read, were of another swarm, or of nobody who is configured."""

    async def run(
        self,
        port: SwarmPort,
        changed: Callable[[Member], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Ask until cancelled. Raises StorageFailed or UntrustedFile if no incarnation can be kept."""
        folder = port.data_dir
        before = await trio.to_thread.run_sync(incarnations.last_reserved, folder)
        self._incarnation = before + 1
        await trio.to_thread.run_sync(incarnations.reserve, folder, before + 2)
        now = trio.current_time()
        self._port, self._changed, self._left = port, changed, False
        self._me = self._as_member(now)
        self._nodes = {
            name: _Node(
                Member(
                    name=name, address=address, state=MemberState.SUSPECT, incarnation=0, since=now
                ),
                now,
            )
            for name, address in sorted(self._config.nodes.items())
            if name != port.name
        }
        said = self._config.nodes.get(port.name, port.address)
        if said != port.address:
            logger.warning(
                "membership says that this node is at %s, and it is at %s", said, port.address
            )
        self._members = None
        try:
            changed(self._me)
            for node in self._nodes.values():
                changed(node.member)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._look)
                for node in self._nodes.values():
                    nursery.start_soon(self._watch, node)
                task_status.started()
        finally:
            self._port = None

    def _as_member(self, now: float) -> Member:
        assert self._port is not None
        return Member(
            name=self._port.name,
            address=self._port.address,
            state=MemberState.LEFT if self._left else MemberState.ALIVE,
            incarnation=self._incarnation,
            since=now,
            about=self._about,
        )

    # ---- asking

    async def _watch(self, node: _Node) -> None:
        """Ask a node whenever it has been silent for an interval, or there is something to tell it."""
        assert self._port is not None
        wait = 0.0
        while True:
            with trio.move_on_after(wait):
                await node.sooner.wait()
            node.sooner = trio.Event()
            await self._asked(node)
            # not all at the same time, and the other side's question saves one
            await trio.sleep(min(_LEAST_GAP, self._config.interval))
            silent = trio.current_time() - node.heard
            wait = max(0.0, self._config.interval * self._port.chance.uniform(0.8, 1.2) - silent)
            if node.why:
                wait = max(wait, self._config.interval / 2)

    async def _asked(self, node: _Node) -> None:
        assert self._port is not None
        name, why = node.member.name, ""
        try:
            with trio.fail_after(self._config.timeout):
                there, data = await self._port.exchange(node.member.address, self._word())
        except trio.TooSlowError:
            why = f"no answer within {self._config.timeout:g} s"
        except LinkFailed as error:
            why = str(error)
        else:
            another = f"{there!r} is there, not {name!r}"
            why = self._hear(node, data) if there == name else another
        node.why = why
        if why:
            node.failures += 1
            if node.member.state is MemberState.ALIVE and name not in self._port.linked():
                self._becomes(node, state=MemberState.SUSPECT)
        else:
            node.answers += 1

    async def _look(self) -> None:
        """See who has a link, and who has been silent for too long."""
        assert self._port is not None
        while True:
            linked, now = self._port.linked(), trio.current_time()
            for name, node in self._nodes.items():
                state = node.member.state
                if state is MemberState.LEFT:
                    continue
                if name in linked:
                    node.heard = now
                    if state is not MemberState.ALIVE:
                        self._becomes(node, state=MemberState.ALIVE)
                elif state.present and now - node.heard >= self._config.dead_after:
                    logger.warning(
                        "member %r at %s is dead: %s",
                        name,
                        node.member.address,
                        node.why or "silent",
                    )
                    self._becomes(node, state=MemberState.DEAD)
            await trio.sleep(self._config.interval / _LOOKS)

    # ---- hearing

    def _word(self) -> bytes:
        assert self._port is not None
        return _encode(
            _Word(_VERSION, self._port.cluster, self._incarnation, self._left, self._about)
        )

    def _hear(self, node: _Node, data: bytes) -> str:
        """Take a node's word; why it is not taken, if it is not."""
        assert self._port is not None
        try:
            word = _decoder.decode(data)
        except UNREADABLE as error:
            self.refused += 1
            return f"what it says cannot be read: {error}"
        if word.refused:
            return word.refused[:200]
        if word.cluster != self._port.cluster:
            self.refused += 1
            return f"it is of swarm {word.cluster[:64]!r}"
        if len(word.about) > MOST_ABOUT or word.incarnation > incarnations.MOST_INCARNATION:
            self.refused += 1
            return "it says more than fits"
        if word.incarnation < node.member.incarnation:
            return ""  # it was under way while the node left, or started again
        node.heard = trio.current_time()
        node.why = ""
        self._becomes(
            node,
            state=MemberState.LEFT if word.left else MemberState.ALIVE,
            about=word.about,
            incarnation=word.incarnation,
        )
        return ""

    def _becomes(self, node: _Node, **what: Any) -> None:
        before = node.member
        after = attrs.evolve(before, **what)
        if after.state is not before.state:
            after = attrs.evolve(after, since=trio.current_time())
        if after == before:
            return
        node.member = after
        self._members = None
        if after != attrs.evolve(before, incarnation=after.incarnation):
            self._changed(after)

    # ---- what the swarm asks

    async def answer(self, name: str, data: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        node = self._nodes.get(name)
        if self._port is None or node is None:
            self.refused += 1
            why = "membership does not run here" if node else f"{name!r} is not configured here"
            return _encode(_Word(_VERSION, "", 0, False, b"", why))
        why = self._hear(node, data)
        if why:
            return _encode(_Word(_VERSION, "", 0, False, b"", why))
        return self._word()

    def members(self) -> Mapping[str, Member]:
        if self._members is None:
            found = {name: node.member for name, node in self._nodes.items()}
            if self._me is not None:
                found[self._me.name] = self._me
            self._members = MappingProxyType(dict(sorted(found.items())))
        return self._members

    def tell(self, about: bytes) -> None:
        if len(about) > MOST_ABOUT:
            raise ValueError(f"{len(about)} bytes to tell (expected at most {MOST_ABOUT})")
        if about != self._about:
            self._about = about
            self._tell_all()

    def _tell_all(self) -> None:
        """Let everybody know what this node says of itself now."""
        if self._port is None or self._me is None:
            return
        state = MemberState.LEFT if self._left else MemberState.ALIVE
        since = self._me.since if state is self._me.state else trio.current_time()
        self._me = self._as_member(since)
        self._members = None
        self._changed(self._me)
        for node in self._nodes.values():
            node.sooner.set()

    async def leave(self) -> None:
        if self._port is not None and not self._left:
            self._left = True
            self._incarnation += 1
            self._tell_all()
            port, word = self._port, self._word()
            with trio.move_on_after(self._config.timeout):
                async with trio.open_nursery() as nursery:
                    for node in self._nodes.values():
                        if node.member.state.present:
                            nursery.start_soon(_farewell, port, node.member.address, word)
        await trio.lowlevel.checkpoint()

    def status(self) -> dict[str, Any]:
        """Who is there, and why others are not; times in seconds."""
        if self._port is None:
            return {"type": "static", "running": False}
        now = trio.current_time()
        states = [node.member.state for node in self._nodes.values()]
        return {
            "type": "static",
            "running": True,
            "incarnation": self._incarnation,
            "members": {state.value: states.count(state) for state in MemberState},
            "nodes": {
                name: {
                    "state": node.member.state.value,
                    "for": round(now - node.member.since, 3),
                    "heard": round(now - node.heard, 3),
                    "why": node.why,
                    "answers": node.answers,
                    "failures": node.failures,
                }
                for name, node in self._nodes.items()
            },
            "refused": self.refused,
        }


async def _farewell(port: SwarmPort, address: str, word: bytes) -> None:
    try:
        await port.exchange(address, word)
    except LinkFailed as error:
        logger.info("%s was not told that this node leaves: %s", address, error)


@asynccontextmanager
async def open_static(config: StaticConfig, context: Context) -> AsyncGenerator[Membership]:
    """The configured nodes; the swarm runs it."""
    del context
    yield Static(config)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("membership", "static", StaticConfig, open_static))
