"""What the agents of other nodes are at: pools, queues, durations, breakers, restarts, the last trouble.

Asked of those nodes while somebody looks, and not before. A node tells the rows that are another than they
were when it was last asked, by a number that grows, so that a thousand idle agents cost little. What one
that does not answer told before counts as unknown after `STALE`: nothing old is shown as if it were true.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

import attrs
import msgspec
import trio

from flowcore.errors import StreamBroken, SwarmError
from flowcore.federation.wire import WrongMessage, pack, state_of, unpack
from flowcore.swarm import Lane, Overlay, Stream, receive_whole, send_whole

logger = logging.getLogger(__name__)

SERVICE = "agents"
FRESH = 0.5
"""Seconds for which what a node has told is taken for what is; it looks at itself no more often, either."""
PATIENCE = 0.3
"""Seconds that who looks waits for others, at most."""
FETCH = 5.0
"""Seconds after which a node that does not answer is asked anew."""
STALE = 5.0
"""Seconds after which what was told is not known any more."""
_AT_ONCE = 25
"""Agents that are looked at without others having their turn: less than a millisecond."""
_LONGEST = 1000
"""Characters of an agent's last trouble."""

Count = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]


class PoolTold(msgspec.Struct, frozen=True):
    """The pool of an agent."""

    workers: Count
    starting: Count
    active: Count
    waiting: Count
    waits: Count
    refused: Count
    most: Count
    queue: Count


class DurationsTold(msgspec.Struct, frozen=True):
    """How long its calls took."""

    count: Count
    mean: Seconds | None
    p50: Seconds | None
    p99: Seconds | None
    longest: Seconds | None


class AgentTold(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an agent is at."""

    name: str
    state: str
    calls: Count
    succeeded: Count
    failed: Count
    faulty: Count
    expired: Count
    cancelled: Count
    lost: Count
    refused: Count
    lives: Count
    crashes: Count
    durations: DurationsTold
    pool: PoolTold | None
    since: Seconds = 0.0
    """Seconds that it had been in its state, when it was looked at."""
    trouble: str | None = None
    breaker: Annotated[str, msgspec.Meta(max_length=40)] = ""


class Asking(msgspec.Struct, frozen=True, array_like=True):
    """What was told before: of which life of the node, and up to which number."""

    boot: int = 0
    number: Count = 0


class Told(msgspec.Struct, frozen=True, array_like=True):
    """The agents that are another than they were then."""

    boot: int
    number: Count
    count: Count
    """How many agents there are in all."""
    agents: tuple[AgentTold, ...]


class Showing:
    """Tells other nodes what this one's agents are at."""

    def __init__(
        self, boot: int, rows: Callable[[], Iterator[Mapping[str, Any]]], apart: frozenset[str]
    ) -> None:
        """`rows` gives the status of each agent; those in `apart` each node has for itself."""
        self._boot = boot
        self._rows = rows
        self._apart = apart
        self._kept: dict[str, tuple[int, AgentTold]] = {}
        self._number = 0
        self._at = -math.inf
        self._looking = trio.Lock()

    async def serve(self, node: str, head: bytes, stream: Stream) -> None:
        """Tell another node: the handler of a stream, whose head is `Asking`."""
        try:
            async with stream:
                try:
                    asking = unpack(head, Asking)
                except WrongMessage as error:
                    stream.reset(str(error))
                    return
                await self._look()
                after = asking.number if asking.boot == self._boot else 0
                fresh = tuple(one for number, one in self._kept.values() if number > after)
                await send_whole(
                    stream, pack(Told(self._boot, self._number, len(self._kept), fresh))
                )
        except StreamBroken as error:
            logger.debug("node %s wants to know no more of the agents here: %s", node, error)

    async def _look(self) -> None:
        """Look at all agents, unless that was done lately, by whoever asked."""
        async with self._looking:
            if trio.current_time() - self._at < FRESH:
                return
            seen = set()
            for count, row in enumerate(self._rows(), 1):
                name = row["name"]
                if name not in self._apart:
                    seen.add(name)
                    self._note(name, row)
                if count % _AT_ONCE == 0:
                    await trio.lowlevel.checkpoint()
            for name in self._kept.keys() - seen:
                del self._kept[name]
            self._at = trio.current_time()

    def _note(self, name: str, row: Mapping[str, Any]) -> None:
        trouble = row.get("trouble")
        told = msgspec.convert({**row, "trouble": trouble and trouble[:_LONGEST]}, AgentTold)
        known = self._kept.get(name)
        if known is None or msgspec.structs.replace(known[1], since=told.since) != told:
            self._number += 1
            self._kept[name] = (self._number, told)


@attrs.define(eq=False)
class _Node:
    """What a node has told."""

    boot: int = 0
    number: int = 0
    at: float = -math.inf
    """When it told last."""
    rows: dict[str, tuple[AgentTold, float]] = attrs.field(factory=dict)
    """With when each was told."""
    began: float = -math.inf
    answered: trio.Event | None = None
    """Set once the question under way has its answer, or will have none."""

    def take(self, told: Told, now: float) -> None:
        if told.boot != self.boot or not self.number:
            self.rows.clear()
        self.rows.update({one.name: (one, now) for one in told.agents})
        self.boot, self.at = told.boot, now
        # some are no more: next time all are told, and no others kept
        self.number = told.number if len(self.rows) == told.count else 0


class Looking:
    """Asks other nodes what their agents are at, and knows what they said."""

    def __init__(self, overlay: Overlay, largest: Callable[[], int]) -> None:
        """`largest` gives how many bytes an answer may have."""
        self._overlay = overlay
        self._largest = largest
        self._nodes: dict[str, _Node] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Have somebody to ask for whoever looks, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None

    async def look(self) -> None:
        """Ask all nodes that can be reached; who does not answer within `PATIENCE` is not waited for."""
        now, waiting = trio.current_time(), []
        reachable = self._overlay.reachable().keys() - {self._overlay.name}
        for gone in self._nodes.keys() - reachable:
            del self._nodes[gone]
        for name in sorted(reachable):
            node = self._nodes.setdefault(name, _Node())
            if node.answered is None and now - node.at >= FRESH and self._nursery is not None:
                node.answered, node.began = trio.Event(), now
                self._nursery.start_soon(self._ask, name, node, node.answered)
            if node.answered is not None and now - node.began < PATIENCE:
                waiting.append(node.answered)
        with trio.move_on_after(PATIENCE):
            for answered in waiting:
                await answered.wait()

    async def _ask(self, name: str, node: _Node, answered: trio.Event) -> None:
        try:
            with trio.fail_after(FETCH):
                head = pack(Asking(node.boot, node.number))
                opening = self._overlay.open(name, SERVICE, head, Lane.CONTROL)
                async with await opening as stream:
                    told = unpack(await receive_whole(stream, self._largest()), Told)
            for one in told.agents:
                state_of(one.state)
            node.take(told, trio.current_time())
        except (SwarmError, StreamBroken, WrongMessage, trio.TooSlowError) as error:
            logger.debug("node %s does not tell what its agents are at: %s", name, error)
        finally:
            node.answered = None
            answered.set()

    def joined(self, place: dict[str, Any]) -> dict[str, Any]:
        """An agent elsewhere, with what its node told of it lately; `ago` are seconds since it was told."""
        now = trio.current_time()
        node = self._nodes.get(place["node"])
        if node is None or now - node.at > STALE or place["name"] not in node.rows:
            return place
        if place["state"] == "stopped":  # with its node: nothing of it is true any more
            return place
        told, at = node.rows[place["name"]]
        found = {**msgspec.to_builtins(told), "ago": round(now - node.at, 3)}
        available = state_of(told.state).available and state_of(place["state"]).available
        # a change is announced at once: the newer word is that
        found["state"] = told.state if available else place["state"]
        found["since"] = round(told.since + now - at, 3)
        return {**place, "trouble": None, "breaker": "", **found}
