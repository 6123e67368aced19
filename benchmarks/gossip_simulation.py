"""The engine of `swim` as it is, on the time and the network of `flowcore.testing`: seeded, and fast.

Time is a `Timeline`, and what lies between nodes are its `Links`. What is added here are processes that
crash, stop, are held up and restart, as Lifeguard's experiments need them, and exchanges. Datagrams are
sealed and opened as on a socket. Signatures are a keyed hash of the same length, since they cost most of the
time and are no part of what is looked at here.
"""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Callable

import attrs

from flow_membership.swim.engine import Swim
from flow_membership.swim.oneself import Own
from flow_membership.swim.settings import SwimConfig
from flowcore.swarm import Member, MemberState
from flowcore.testing import Link, Links, Timeline, uniform

CLUSTER = "simulated"


@attrs.frozen
class Signing:
    """A node's name, its keyed hash, and what it knows of others: all certificates."""

    name: str

    def sign(self, data: bytes) -> bytes:
        return hashlib.blake2b(data, key=self.name.encode(), digest_size=64).digest()

    def verify(self, name: str, data: bytes, signature: bytes) -> bool:
        return hashlib.blake2b(data, key=name.encode(), digest_size=64).digest() == signature

    def certificate(self, name: str) -> bytes | None:
        return b"certificate of " + name.encode()

    def learn(self, certificate: bytes) -> str | None:
        before, _, name = certificate.partition(b"certificate of ")
        return None if before or not name else name.decode(errors="replace")


@attrs.frozen(kw_only=True)
class Seen:
    """That a node came to believe something of another."""

    at: float
    by: str
    member: Member


@attrs.define(eq=False)
class Node:
    """One simulated process, through its boots."""

    name: str
    address: str
    swim: Swim | None = None
    paused_until: float = 0.0
    blocked_until: float = 0.0
    boots: int = 0
    reserved: int = 0
    """The highest incarnation on its disk."""
    left: bool = False
    wakes: float = float("inf")
    about: bytes = b""


NEAR = uniform(0.0002, 0.001)
"""Seconds one way, in one room."""


class Simulation:
    """Nodes, the network between them, and everything that happens, in order of time."""

    def __init__(
        self,
        nodes: int,
        seed: int,
        *,
        config: SwimConfig | None = None,
        link: Link | None = None,
        lifeguard: bool = True,
        seeds: int = 1,
    ) -> None:
        self._time = Timeline(seed)
        self._time.now = 1000.0
        self.chance = self._time.random
        self.config = config or SwimConfig(profile="local")
        self.links = Links(link or Link(latency=NEAR))
        self.lifeguard = lifeguard
        self.nodes = {
            f"node-{number:02}": Node(f"node-{number:02}", f"10.0.0.{number}:7400")
            for number in range(nodes)
        }
        self.by_address = {node.address: node for node in self.nodes.values()}
        self._seeds = tuple(node.address for node in self.nodes.values())[:seeds]
        self.seen: list[Seen] = []
        self.bytes: dict[str, int] = defaultdict(int)
        """Sent, by name."""
        self.datagrams: dict[str, int] = defaultdict(int)
        self.exchanges = 0
        self.exchanged_bytes = 0

    def add(self, at: str, named: str = "") -> str:
        """Another process, at an address of its own; with the name of another one if that is `named`."""
        number = len(self.nodes)
        node = Node(named or at, f"10.0.1.{number}:7400")
        self.nodes[at] = self.by_address[node.address] = node
        return at

    # ---- time

    @property
    def now(self) -> float:
        """Seconds on the simulated clock."""
        return self._time.now

    def at(self, when: float, what: Callable[[], None]) -> None:
        self._time.at(when, what)

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        self._time.after(seconds, what)

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        self._time.run(until=self.now + seconds)

    def run_until(self, holds: Callable[[], bool], *, most: float, every: float = 0.05) -> float:
        """Let time pass until something holds; after how many seconds, or -1."""
        began = self.now
        while self.now - began < most:
            if holds():
                return self.now - began
            self.run(every)
        return -1.0

    # ---- processes

    def start(self, name: str) -> None:
        """A boot: it knows its seeds, and what is on its disk."""
        node = self.nodes[name]
        assert node.swim is None, f"{name} runs"
        node.boots += 1
        node.left = False
        first = node.reserved + 1
        node.reserved = first + 100
        node.swim = Swim(
            self.config,
            Own(cluster=CLUSTER, name=node.name, address=node.address, seeds=self._seeds),
            Signing(node.name),
            random.Random(self.chance.getrandbits(64)),
            self.now,
            incarnation=first,
            reserved=node.reserved,
            secret=self.chance.randbytes(32),
            lifeguard=self.lifeguard,
        )
        if node.about:
            node.swim.tell(node.about, self.now)
        self._flush(node)

    def start_acquainted(self) -> None:
        """All start, knowing each other; nothing is news."""
        for name in self.nodes:
            self.start(name)
        running = [node.swim for node in self.nodes.values() if node.swim is not None]
        records = [swim.syncing.read_ask(swim.syncing.ask()).records[0] for swim in running]
        for swim in running:
            for record in records:
                swim.syncing.take(record, "", self.now)
            swim.gossip.clear()
            swim.take_asks()
            swim.beliefs.counts.clear()
            for known in swim.beliefs.known.values():
                known.answered = True
            swim.take_changes()

    def crash(self, name: str) -> None:
        """It is gone, without a word."""
        node = self.nodes[name]
        node.swim = None
        node.wakes = float("inf")

    def leave(self, name: str) -> None:
        """It says farewell, answers on for a moment, and is gone."""
        node = self.nodes[name]
        assert node.swim is not None
        node.swim.leave(self.now)
        node.left = True
        self._flush(node)
        swim = node.swim
        interval = self.config.times().gossip_interval

        def again() -> None:
            if node.swim is swim:
                swim.leave(self.now)
                self._flush(node)

        def gone() -> None:
            if node.swim is swim:
                self.crash(name)

        self.after(2 * interval, again)
        self.after(LEAVE_ROUNDS * interval, gone)

    def pause(self, name: str, seconds: float) -> None:
        """It does nothing for so long: a process that is starved. Then its timers ring first, and what has
        come meanwhile is read after them, which is the worse order."""
        node = self.nodes[name]
        node.paused_until = max(node.paused_until, self.now + seconds)

    def block(self, name: str, seconds: float) -> None:
        """What it sends and what comes to it is held up for so long, while its clock goes on: the anomaly
        with which Lifeguard was measured (section 5.1)."""
        node = self.nodes[name]
        node.blocked_until = max(node.blocked_until, self.now + seconds)

    def cut(self, one: set[str], other: set[str], *, both_ways: bool = True) -> None:
        for a in one:
            for b in other:
                self.links.cut(a, b)
                if both_ways:
                    self.links.cut(b, a)

    def heal(self) -> None:
        self.links.heal()

    # ---- what a process does

    def _when(
        self, node: Node, swim: Swim, do: Callable[[Swim], None], *, timer: bool = False
    ) -> None:
        """Do it in this boot of a node, as soon as the node does anything of that sort."""
        if node.swim is not swim:
            return
        until = node.paused_until if timer else max(node.paused_until + _AFTER, node.blocked_until)
        if until > self.now:
            self.at(until, lambda: self._when(node, swim, do, timer=timer))
            return
        do(swim)
        self._flush(node)

    def _flush(self, node: Node) -> None:
        swim = node.swim
        assert swim is not None
        for address, datagram in swim.take_datagrams():
            self._post(node, address, datagram)
        for member in swim.take_changes():
            self.seen.append(Seen(at=self.now, by=node.name, member=member))
        for address in swim.take_asks():
            self._exchange(node, swim, address)
        upto = swim.take_reserve()
        if upto is not None:
            node.reserved = max(node.reserved, upto)
            swim.reserve(upto, self.now)
        if swim.due < node.wakes:
            node.wakes = due = max(swim.due, self.now)
            self.at(due, lambda: self._wake(node, swim, due))

    def _wake(self, node: Node, swim: Swim, due: float) -> None:
        if node.swim is swim and node.wakes == due:
            self._when(node, swim, lambda swim: self._tick(node, swim), timer=True)

    def _tick(self, node: Node, swim: Swim) -> None:
        node.wakes = float("inf")
        swim.tick(self.now)

    # ---- the network

    def _post(self, sender: Node, address: str, datagram: bytes) -> None:
        self.bytes[sender.name] += len(datagram)
        self.datagrams[sender.name] += 1
        receiver = self.by_address.get(address)
        if receiver is None or receiver.swim is None:
            return
        swim, now = receiver.swim, self.now
        for delay in self.links.delays(sender.name, receiver.name, now, self.chance):
            self.at(
                max(now, sender.blocked_until) + delay,
                lambda: self._when(receiver, swim, lambda one: one.receive(datagram, self.now)),
            )

    def _exchange(self, asker: Node, swim: Swim, address: str) -> None:
        """A question and its answer over TCP and TLS: three round trips, with loss more."""
        other = self.by_address.get(address)
        if other is None or other is asker:
            return
        ask = swim.syncing.ask()
        self.exchanges += 1

        def arrive() -> None:
            if other.swim is None or not self._reach(asker, other):
                return
            there = other.swim
            self._when(other, there, lambda there: answer(there))

        def answer(there: Swim) -> None:
            asked = there.syncing.read_ask(ask)
            for record in asked.records:
                there.syncing.take(record, asker.name, self.now)
            reply = there.syncing.answer(asked)
            self.exchanged_bytes += len(ask) + len(reply)
            self.after(self._way(1), lambda: self._when(asker, swim, lambda one: back(one, reply)))

        def back(one: Swim, reply: bytes) -> None:
            if not self._reach(asker, other):
                return
            one.met(address, other.name, self.now)
            found = one.syncing.read_answer(reply)
            for record in found.records:
                one.syncing.take(record, other.name, self.now)
            if found.wants:
                brought = one.syncing.bring(found.wants)
                self.exchanged_bytes += len(brought)
                there = other.swim
                if there is not None:
                    self.after(
                        self._way(1),
                        lambda: self._when(other, there, lambda there: bring(there, brought)),
                    )

        def bring(there: Swim, brought: bytes) -> None:
            for record in there.syncing.read_ask(brought).records:
                there.syncing.take(record, asker.name, self.now)

        self.after(self._way(5), arrive)

    def _reach(self, one: Node, other: Node) -> bool:
        """Whether both get through to each other."""
        reaches = self.links.reaches
        return reaches(one.name, other.name) and reaches(other.name, one.name)

    def _way(self, times: int) -> float:
        """Seconds of so many ways through TCP, which sends again what is lost."""
        seconds, link = 0.0, self.links.default
        for _ in range(times):
            seconds += link.latency(self.chance)
            while link.loss and self.chance.random() < link.loss:
                seconds += 0.2
        return seconds

    # ---- what came of it

    def live(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.swim is not None and not node.left]

    def view(self, name: str) -> dict[str, MemberState]:
        """Who is present for a node, and as what."""
        swim = self.nodes[name].swim
        assert swim is not None
        found = {one.name: one.state for one in swim.beliefs.present()}
        found[self.nodes[name].name] = swim.me().state
        return found

    def agreed(self) -> bool:
        """Whether all live nodes believe what is true: who lives is alive, and nobody else is present."""
        live = self.live()
        truth = {node.name: MemberState.ALIVE for node in live}
        return all(self.view(node.name) == truth for node in live)


_AFTER = 1e-9
"""Seconds after a pause at which a process begins to read."""
LEAVE_ROUNDS = 6
"""Gossip intervals for which a node that leaves answers on."""
