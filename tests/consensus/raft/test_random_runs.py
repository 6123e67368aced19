"""Short runs in which everything goes wrong at random: what is committed is the same everywhere, for good.

The simulation goes deeper; this finds in a second what is plainly broken.
"""

from __future__ import annotations

from random import Random

import pytest

from flow_consensus.raft import Change, EngineSettings, Refused, Role
from flowcore.state import LogEntry
from support.raft.cluster import Cluster, Disk, Node


class Watched(Cluster):
    """Remembers what each position holds and who led, and asserts that neither ever differs."""

    def __init__(self, settings: EngineSettings) -> None:
        super().__init__(settings)
        self.quiet = True
        self.committed: dict[int, LogEntry] = {}
        self.leaders: dict[int, str] = {}
        self.votes: dict[tuple[str, int], str] = {}

    def _apply(self, node: Node, entry: LogEntry) -> None:
        super()._apply(node, entry)
        assert self.committed.setdefault(entry.position, entry) == entry, "two things are committed"

    def check(self) -> None:
        for name, node in self.nodes.items():
            engine = node.engine
            if engine.role is Role.LEADER:
                assert self.leaders.setdefault(engine.term, name) == name, "two leaders in a term"
                for position in range(engine.log.start + 1, max(self.committed, default=0) + 1):
                    later = self.committed[position].term > engine.term
                    assert later or engine.log.term(position) == self.committed[position].term, (
                        "a leader lacks what is committed"
                    )


def run(seed: int, steps: int, *, heartbeat_ticks: int = 1) -> Watched:
    chance = Random(seed)
    names = ["a", "b", "c", "d", "e"][: chance.choice([3, 3, 5])]
    settings = EngineSettings(
        election_ticks=5,
        heartbeat_ticks=heartbeat_ticks,
        batch_entries=chance.choice([1, 3, 100]),
        window=chance.choice([1, 2, 8]),
        memory_bytes=chance.choice([300, 10_000]),
        pre_vote=chance.random() < 0.7,
        check_quorum=chance.random() < 0.7,
    )
    cluster = Watched(settings)
    for name in names:
        cluster.start(name, Disk(), tuple(names))
    cluster.start("x", Disk())
    number = 0
    for _ in range(steps):
        up = sorted(cluster.nodes)
        act = chance.random()
        waiting = sorted(link for link, queue in cluster.links.items() if queue)
        if act < 0.6 and waiting:
            link = chance.choice(waiting)
            queue = cluster.links[link]
            at = 0 if chance.random() < 0.8 else chance.randrange(len(queue))
            message = queue[at]
            fate = chance.random()
            if fate > 0.05:
                del queue[at]
            if fate < 0.9:
                cluster.step(*link, message)
        elif act < 0.75 and up:
            cluster.nodes[chance.choice(up)].engine.tick()
        elif act < 0.85 and up:
            writing = [one for one in up if cluster.nodes[one].writing is not None]
            if writing:
                cluster.persist(chance.choice(writing))
            cluster.nodes[chance.choice(up)].slow = chance.random() < 0.5
        elif act < 0.95 and up:
            engine = cluster.nodes[chance.choice(up)].engine
            try:
                kind = chance.random()
                if kind < 0.7:
                    number += 1
                    engine.propose([b"%d" % number])
                elif kind < 0.8:
                    joint = chance.choice([None, True])
                    who = chance.choice([*names, "x"])
                    sets = {chance.choice(["voters", "learners", "remove"]): [who]}
                    engine.change_voters(Change(**sets, joint=joint))  # type: ignore[arg-type]
                elif kind < 0.9:
                    engine.compact(min(engine.log.given, engine.log.start + chance.randrange(9)))
                else:
                    engine.transfer_leadership(chance.choice(names))
            except Refused:
                number += 0
        elif act < 0.97 and up and len(cluster.down) < 2:
            cluster.crash(chance.choice(up))
        elif cluster.down:
            name = chance.choice(sorted(cluster.down))
            cluster.start(name, cluster.down.pop(name))
        cluster.settle()
        cluster.check()
    return cluster


def heal(cluster: Watched) -> None:
    """Everybody is up, every disk is fast, nothing is lost: somebody leads, and all get there."""
    for name in sorted(cluster.down):
        cluster.start(name, cluster.down.pop(name))
    for name, node in cluster.nodes.items():
        node.slow = False
        if node.writing is not None:
            cluster.persist(name)
    for _ in range(200):
        for node in cluster.nodes.values():
            node.engine.tick()
        cluster.stabilise()
        cluster.check()
    leaders = [one.engine for one in cluster.nodes.values() if one.engine.role is Role.LEADER]
    leader = max(leaders, key=lambda one: one.term)
    assert leader.log.commit == leader.log.last
    assert not leader.membership.joint
    for name in leader.membership.members:
        assert cluster.nodes[name].engine.log.commit == leader.log.commit, f"{name} lags"
        assert cluster.nodes[name].state == cluster.nodes[leader.name].state


@pytest.mark.parametrize("seed", range(60))
def test_what_is_committed_is_committed(seed: int) -> None:
    heal(run(seed, 1500))


@pytest.mark.parametrize("seed", range(20))
def test_as_long_as_a_node_is_calm_time_alone_makes_it_do_nothing(seed: int) -> None:
    cluster = run(seed, 400, heartbeat_ticks=3)
    for _ in range(30):
        for node in cluster.nodes.values():
            engine = node.engine
            for _ in range(engine.calm - 1):
                engine.tick()
                assert not engine.ready()
            engine.tick()
        cluster.settle()
