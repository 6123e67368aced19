"""Five real nodes, each on a host of its own, of which some die, stop and are cut off, under load.

A host is a network namespace; where this machine lets us have none, all are on loopback, and what is a cut
cable elsewhere is rehearsed by the nodes themselves. Whatever happens: each request has an answer, none is
run twice, and in the end all agree again. How long each thing took is printed, and measured by
`make benchmark-topologies`.
"""

from __future__ import annotations

import contextlib
import itertools
import pathlib
import signal
import time
from collections.abc import Generator, Iterable

import attrs
import pytest

from support import ledger
from support.callers import BROKEN, DONE, EXPIRED, UNAVAILABLE, UNKNOWN, Callers, calling
from support.cluster import REHEARSED, Cluster, cluster
from support.namespaces import hindrance, namespaces

FIVE = ("alpha", "beta", "delta", "epsilon", "gamma")
TOPOLOGIES = {
    "mesh": "mesh",
    "star": "star",
    "ring": '{ type = "ring", successors = 1 }',
    "hierarchical": '{ type = "hierarchical", branching = 2 }',
}
"""By name. With their usual settings a ring of five would be a mesh, and a tree of five a star."""


@attrs.define(eq=False)
class Trial:
    """A swarm under load, and what is done to it."""

    nodes: Cluster
    callers: Callers
    killed: list[str] = attrs.field(factory=list)
    took: dict[str, float] = attrs.field(factory=dict)

    def lose(self, *names: str, how: int = signal.SIGKILL) -> None:
        """Nodes are killed or stopped: all others know it within a while, and do what they did before."""
        left = [one for one in FIVE if one not in names]
        self.callers.asked.difference_update(names)
        began = time.monotonic()
        for name in names:
            if how == signal.SIGKILL:
                self.killed.append(name)
                self.nodes.end(name, how)
            else:
                self.nodes.send(name, how)
        what = f"{' and '.join(names)} got {signal.Signals(how).name}"
        self.agree(left, dict.fromkeys(names, "dead"))
        self.took[f"{what}: dead for all"] = time.monotonic() - began
        self.took[f"{what}: service"] = self.serve(began, left, left)

    def stop(self, name: str, seconds: float) -> None:
        """A node is stopped, and goes on so many seconds later."""
        began = time.monotonic()
        self.lose(name, how=signal.SIGSTOP)
        self.nodes.until(lambda: time.monotonic() >= began + seconds)
        self.nodes.send(name, signal.SIGCONT)
        self.back(name)

    def restart(self, *names: str) -> None:
        """Nodes that were killed are started again."""
        self.nodes.start(*names)
        self.back(*names)

    def back(self, *names: str) -> None:
        """Nodes are there again: all agree, and all can be had."""
        began = time.monotonic()
        self.converge()
        self.callers.asked.update(names)
        self.took[f"{' and '.join(names)} back: all agree"] = time.monotonic() - began
        self.serve(began, FIVE, FIVE)

    def cut_one_way(self, at: str, source: str) -> None:
        """Half of a cable is cut: nobody is dead of it, and all can be had another way; then it is whole."""
        began = time.monotonic()
        self.nodes.cut(at, source)
        what = f"nothing of {source} comes to {at}"
        self.took[f"{what}: service"] = self.serve(began, FIVE, FIVE)
        self.agree(FIVE)
        self.heal(what)

    def part(self, *sides: tuple[str, ...]) -> None:
        """Two sides see nothing of each other, and each goes on with what it has; then they are one again."""
        began = time.monotonic()
        for one, others in (sides, sides[::-1]):
            for at, source in itertools.product(one, others):
                self.nodes.cut(at, source)
        what = f"{' | '.join(' '.join(side) for side in sides)} parted"
        for one, others in (sides, sides[::-1]):
            self.agree(one, dict.fromkeys(others, "dead"))
        self.took[f"{what}: known by all"] = time.monotonic() - began
        self.took[f"{what}: service"] = max(self.serve(began, side, side) for side in sides)
        self.heal(what)

    def heal(self, what: str) -> None:
        """All cables are whole."""
        began = time.monotonic()
        self.nodes.heal()
        self.converge()
        self.took[f"{what}, healed: all agree"] = time.monotonic() - began
        self.serve(began, FIVE, FIVE)

    def serve(self, since: float, asked: Iterable[str], owners: Iterable[str]) -> float:
        """Wait until these nodes, when asked, have what these nodes have; seconds since then."""
        asked, agents = tuple(asked), [f"of-{name}" for name in owners]
        self.nodes.until(lambda: self.callers.recovered(since, asked, agents) is not None)
        # what has become good and bad again meanwhile counts
        return self.callers.recovered(since, asked, agents) or 0.0

    def agree(self, names: Iterable[str], states: dict[str, str] | None = None) -> None:
        """Wait until these nodes all see the same: everybody else is alive."""
        wanted = dict.fromkeys(FIVE, "alive") | (states or {})
        for name in names:
            self.nodes.until(lambda name=name: self.nodes.members(name) == wanted)  # type: ignore[misc]

    def converge(self) -> None:
        """Wait until all members, and all lists of tools, are the same everywhere."""
        self.agree(FIVE)
        whole = {f"of-{name}.write" for name in FIVE} | {"everywhere.write"}
        self.nodes.until(
            lambda: (
                all(whole <= self.nodes.tools(name) for name in FIVE)
                and len({frozenset(self.nodes.tools(name)) for name in FIVE}) == 1
            )
        )


@contextlib.contextmanager
def trial(folder: pathlib.Path, topology: str) -> Generator[Trial]:
    """Five nodes under load; at the end, what must hold whatever was done to them."""
    book = folder / "ledger"
    more = ledger.agent("of-@name@", book, "@name@") + ledger.agent("everywhere", book, "@name@")
    why = hindrance()
    with contextlib.ExitStack() as stack:
        hosts = None if why else stack.enter_context(namespaces(*FIVE))
        nodes = stack.enter_context(
            cluster(
                folder,
                *FIVE,
                topology=TOPOLOGIES[topology],
                agents=more,
                more=REHEARSED if why else "",
                hosts=hosts,
            )
        )
        with calling(nodes, FIVE, [*(f"of-{one}" for one in FIVE), "everywhere"], "write") as load:
            one = Trial(nodes, load)
            yield one
    print(f"\n{topology}, {why or 'in network namespaces'}: {len(load.calls)} calls")
    for what, seconds in one.took.items():
        print(f"  {what} after {seconds:.2f} s")
    _accounted(one, ledger.written(book))


def _accounted(one: Trial, runs: dict[str, int]) -> None:
    """Each call has an answer that is true, and nothing was run twice."""
    assert [request for request, count in runs.items() if count > 1] == []
    for call in one.callers.calls:
        if call.code == DONE:
            assert runs[call.request] == 1, call
        elif call.code == UNAVAILABLE:
            assert runs[call.request] == 0, call
        elif call.code == BROKEN:
            assert call.asked in one.killed, call  # whoever was asked is no more
        else:
            assert call.code in (UNKNOWN, EXPIRED), call


def test_a_killed_hub_and_half_a_cable_lose_no_request(tmp_path: pathlib.Path) -> None:
    with trial(tmp_path, "star") as one:
        one.lose("alpha")  # the hub
        one.restart("alpha")
        one.cut_one_way("delta", "alpha")


@pytest.mark.long
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_whatever_is_done_to_nodes_no_request_is_lost(
    tmp_path: pathlib.Path, topology: str
) -> None:
    """Killed, stopped for 10 s, cut off one way and both ways, and all well again each time."""
    with trial(tmp_path, topology) as one:
        for name in ("alpha", "beta"):  # hub, root; a node in the middle of a tree
            one.lose(name)
            one.restart(name)
        for name in ("alpha", "gamma"):
            one.stop(name, 10)
        one.cut_one_way("delta", "alpha")
        one.cut_one_way("alpha", "gamma")
        one.part(("alpha", "beta"), ("delta", "epsilon", "gamma"))
        one.lose("beta", "delta")  # neighbours in a ring
        one.restart("beta", "delta")
