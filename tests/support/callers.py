"""Callers of a swarm who never stop, and who note of each call whom they asked, when, and what came of it."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Generator, Iterable

import attrs

from support.cluster import Cluster, Refused

DONE, BROKEN = 0, 1
"""Codes of a result, and of a connection that broke; all others are those of typed errors."""
EXPIRED, UNAVAILABLE, UNKNOWN = -31051, -31053, -31054
PAUSE = 0.15
"""Seconds between a caller's calls."""


@attrs.frozen
class Call:
    """One call, as its caller saw it."""

    request: str
    asked: str
    """The node that was asked."""
    agent: str
    began: float
    """On the clock `time.monotonic`, as `ended`."""
    ended: float
    code: int
    told: str
    """The node that did it, or what its error says."""


@attrs.define(eq=False)
class Callers:
    """Made by `calling`."""

    nodes: Cluster
    tool: str
    asked: set[str]
    """Nodes that are asked now; a caller who waits for an answer goes on waiting."""
    calls: list[Call] = attrs.field(factory=list)
    _over: threading.Event = attrs.field(factory=threading.Event)

    def run(self, asked: str, agent: str) -> None:
        """Ask one node for one agent, again and again until it is over."""
        # a few calls at a time are enough: it is not their number that shows something
        for number in itertools.takewhile(lambda _: not self._over.wait(PAUSE), itertools.count()):
            if asked in self.asked:
                self.calls.append(self._call(f"{asked}-{agent}-{number}", asked, agent))

    def _call(self, request: str, asked: str, agent: str) -> Call:
        began = time.monotonic()
        try:
            result = self.nodes.call(asked, f"{agent}.{self.tool}", request=request)
        except Refused as refused:
            error = refused.args[1]["error"]
            code, told = error["code"], error["message"]
        except OSError as error:
            code, told = BROKEN, repr(error)
        else:
            code, told = DONE, result["content"][0]["text"]
        return Call(request, asked, agent, began, time.monotonic(), code, told)

    def end(self) -> None:
        """Ask nobody any more."""
        self._over.set()

    def recovered(self, since: float, asked: Iterable[str], agents: Iterable[str]) -> float | None:
        """Seconds after `since` by which each of these nodes has been asked for each of these agents, and got
        a result, and no call after that failed; None while that is not so."""
        worst = 0.0
        for pair in itertools.product(asked, agents):
            good = None
            for call in sorted(self.calls, key=lambda one: one.began):
                if (call.asked, call.agent) == pair and call.began >= since:
                    if call.code != DONE:
                        good = None
                    elif good is None:
                        good = call.ended
            if good is None:
                return None
            worst = max(worst, good - since)
        return worst


@contextlib.contextmanager
def calling(
    nodes: Cluster, asked: Iterable[str], agents: Iterable[str], tool: str
) -> Generator[Callers]:
    """A caller for each of these nodes and each of these agents."""
    callers = Callers(nodes, tool, set(asked))
    pairs = itertools.product(sorted(callers.asked), agents)
    threads = [threading.Thread(target=callers.run, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    try:
        yield callers
    finally:
        callers.end()
        for thread in threads:
            thread.join(60)
