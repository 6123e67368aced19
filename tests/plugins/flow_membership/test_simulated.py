"""What a swarm comes to believe, on a simulated network: the same engine as on sockets, a few seeds each.

Many seeds: `make simulate-swim SEEDS=1000`.
"""

from __future__ import annotations

import pytest

from benchmarks.gossip_simulation import NEAR, Simulation
from flow_membership.swim.settings import SwimConfig
from flowcore.swarm import MemberState
from flowcore.testing import Link, uniform

LOSSY = Link(latency=NEAR, loss=0.1)
SEEDS = (1, 2, 3)


def beliefs(sim: Simulation, of: str) -> list[MemberState]:
    """What anybody came to believe of a node, in order."""
    return [one.member.state for one in sim.seen if one.member.name == of and one.by != of]


def believes(sim: Simulation, by: str, of: str) -> MemberState | None:
    swim = sim.nodes[by].swim
    assert swim is not None
    member = swim.members().get(of)
    return None if member is None else member.state


def dead_for_all(sim: Simulation, of: str) -> bool:
    return all(believes(sim, node.name, of) is MemberState.DEAD for node in sim.live())


def incarnations_only_rise(sim: Simulation) -> bool:
    last: dict[tuple[str, str], int] = {}
    for one in sim.seen:
        at = (one.by, one.member.name)
        if one.member.incarnation < last.get(at, 0):
            return False
        last[at] = one.member.incarnation
    return True


@pytest.mark.parametrize("seed", SEEDS)
def test_members_that_know_one_of_them_find_all(seed: int) -> None:
    sim = Simulation(64, seed, link=LOSSY)
    for number, name in enumerate(sim.nodes):
        sim.after(number * 0.05, lambda name=name: sim.start(name))  # type: ignore[misc]
    sim.run(64 * 0.05)
    assert sim.run_until(sim.agreed, most=20) >= 0


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("nodes", [2, 3, 5, 64])
@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_the_dead_are_known_by_all_within_five_seconds(seed: int, nodes: int, loss: float) -> None:
    """As the profile `local` promises; on the simulated clock."""
    sim = Simulation(nodes, seed, link=Link(latency=NEAR, loss=loss))
    sim.start_acquainted()
    sim.run(3)
    sim.crash("node-01")
    assert sim.run_until(lambda: dead_for_all(sim, "node-01"), most=5) >= 0


def test_nobody_is_suspected_where_nothing_is_lost() -> None:
    sim = Simulation(64, 5)
    sim.start_acquainted()
    sim.run(20)
    assert {one.member.state for one in sim.seen} <= {MemberState.ALIVE}


def test_nobody_is_suspected_at_five_per_cent_loss_on_long_ways() -> None:
    """Five nodes, 50 ± 20 ms one way, 5 minutes on the simulated clock."""
    sim = Simulation(5, 6, link=Link(latency=uniform(0.03, 0.07), loss=0.05))
    sim.start_acquainted()
    sim.run(300)
    assert {one.member.state for one in sim.seen} <= {MemberState.ALIVE}


@pytest.mark.parametrize("seed", SEEDS)
def test_who_leaves_is_never_suspected_or_dead(seed: int) -> None:
    sim = Simulation(32, seed, link=LOSSY)
    sim.start_acquainted()
    sim.run(2)
    sim.seen.clear()
    sim.leave("node-09")
    sim.run(10)
    assert set(beliefs(sim, "node-09")) == {MemberState.LEFT}
    assert len(beliefs(sim, "node-09")) == 31


@pytest.mark.parametrize("seed", SEEDS)
def test_after_a_partition_all_agree_again(seed: int) -> None:
    sim = Simulation(32, seed, link=LOSSY)
    sim.start_acquainted()
    sim.run(2)
    names = list(sim.nodes)
    sim.cut(set(names[:11]), set(names[11:]))
    sim.run(15)
    assert {len(sim.view(name)) for name in names[:11]} == {11}
    assert {len(sim.view(name)) for name in names[11:]} == {21}
    sim.heal()
    assert sim.run_until(sim.agreed, most=10) >= 0
    assert incarnations_only_rise(sim)
    sim.seen.clear()
    sim.run(10)
    assert MemberState.DEAD not in {one.member.state for one in sim.seen}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("sides", [(1, 4), (2, 3)], ids=str)
def test_both_sides_of_a_cut_know_it_within_five_seconds(seed: int, sides: tuple[int, int]) -> None:
    sim = Simulation(5, seed)
    sim.start_acquainted()
    sim.run(2)
    names = list(sim.nodes)
    few, many = set(names[: sides[0]]), set(names[sides[0] :])
    sim.cut(few, many)

    def known() -> bool:
        return all(set(sim.view(name)) == few for name in few) and all(
            set(sim.view(name)) == many for name in many
        )

    assert sim.run_until(known, most=5) >= 0


def test_one_node_that_was_cut_off_comes_back() -> None:
    sim = Simulation(32, 4)
    sim.start_acquainted()
    alone = {"node-07"}
    sim.cut(alone, set(sim.nodes) - alone)
    sim.run(15)
    assert len(sim.view("node-07")) == 1
    sim.heal()
    assert sim.run_until(sim.agreed, most=10) >= 0


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cut_between_two_is_seen_by_nobody(seed: int) -> None:
    """Others pass the probes on, both where both ways are cut and where one is."""
    for both_ways in (True, False):
        sim = Simulation(16, seed)
        sim.start_acquainted()
        sim.cut({"node-01"}, {"node-02", "node-03"}, both_ways=both_ways)
        sim.run(20)
        assert {one.member.state for one in sim.seen} <= {MemberState.ALIVE}


def test_who_hears_nobody_but_is_heard_is_found_out() -> None:
    sim = Simulation(16, 3)
    sim.start_acquainted()
    deaf = {"node-01"}
    sim.cut(set(sim.nodes) - deaf, deaf, both_ways=False)
    sim.run(15)
    others = [name for name in sim.nodes if name != "node-01"]
    assert all(believes(sim, name, "node-01") is MemberState.DEAD for name in others)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_restart_is_newer_than_all_that_was_said_of_it(seed: int) -> None:
    sim = Simulation(16, seed, link=LOSSY)
    sim.start_acquainted()
    for _ in range(5):
        sim.run(1)
        sim.crash("node-03")
        sim.run(sim.chance.choice([0.01, 0.5, 6.0]))
        sim.start("node-03")
    assert sim.run_until(sim.agreed, most=15) >= 0
    assert incarnations_only_rise(sim)


def test_a_restart_that_has_lost_its_disk_goes_above_what_others_say() -> None:
    sim = Simulation(8, 2)
    sim.start_acquainted()
    sim.nodes["node-03"].about = b"after"
    sim.run(2)
    swim = sim.nodes["node-03"].swim
    assert swim is not None
    for round_ in range(3):
        swim.tell(b"before %d" % round_, sim.now)
    sim.run(2)
    sim.crash("node-03")
    sim.run(6)
    sim.nodes["node-03"].reserved = 0
    sim.start("node-03")
    assert sim.run_until(sim.agreed, most=10) >= 0
    sim.run(2)
    for node in sim.live():
        assert node.swim is not None
        assert node.swim.members()["node-03"].about == b"after"
        assert not node.swim.beliefs.conflicts


def test_what_a_member_tells_comes_to_all() -> None:
    sim = Simulation(64, 8, link=LOSSY)
    sim.start_acquainted()
    swim = sim.nodes["node-05"].swim
    assert swim is not None
    for version in range(3):
        swim.tell(b"version %d" % version + bytes(490), sim.now)
        sim.run(0.05)

    def come() -> bool:
        return all(
            node.swim is not None and node.swim.members()["node-05"].about.startswith(b"version 2")
            for node in sim.live()
        )

    assert sim.run_until(come, most=10) >= 0


def test_a_node_that_was_stopped_blames_nobody() -> None:
    """As after SIGSTOP for ten seconds: it is dead for the others, and alive again, and nobody else is."""
    sim = Simulation(16, 9)
    sim.start_acquainted()
    sim.run(2)
    sim.pause("node-04", 10)
    others = [name for name in sim.nodes if name != "node-04"]

    def known() -> bool:
        return all(believes(sim, name, "node-04") is MemberState.DEAD for name in others)

    assert sim.run_until(known, most=5) >= 0
    sim.run(10)
    assert sim.run_until(sim.agreed, most=5) >= 0
    assert {one.member.name for one in sim.seen if one.member.state is not MemberState.ALIVE} == {
        "node-04"
    }


def test_two_nodes_of_one_name_are_told() -> None:
    """Both run on copies of one disk: all others and both of them show it, and gossip stays bounded."""
    sim = Simulation(8, 11)
    sim.start_acquainted()
    sim.run(2)
    twin = sim.add("twin", named="node-03")
    sim.nodes[twin].reserved = sim.nodes["node-03"].reserved
    sim.start(twin)
    before = sum(sim.bytes.values())
    sim.run(30)
    shown = [
        name
        for name, node in sim.nodes.items()
        if node.swim is not None and "node-03" in node.swim.beliefs.conflicts
    ]
    assert set(shown) == {*sim.nodes}
    assert (sum(sim.bytes.values()) - before) / 30 / len(sim.nodes) < 10_000


def wrongly_dead(*, lifeguard: bool) -> int:
    """How many were held for dead while four others of 32 were held up again and again."""
    sim = Simulation(32, 12, lifeguard=lifeguard)
    sim.start_acquainted()
    slow = list(sim.nodes)[:4]
    for name in slow:
        for number in range(4):
            sim.after(number * 5, lambda name=name: sim.block(name, 3.0))  # type: ignore[misc]
    sim.run(22)
    wrong = {
        (one.member.name, one.member.incarnation)
        for one in sim.seen
        if one.member.state is MemberState.DEAD and one.member.name not in slow
    }
    return len(wrong)


@pytest.mark.long
def test_lifeguard_takes_fewer_for_dead_where_some_are_slow() -> None:
    """Section 5 of the paper: the same seed with it and without."""
    without = wrongly_dead(lifeguard=False)
    assert without > 0
    assert wrongly_dead(lifeguard=True) * 4 <= without


def test_the_dead_are_forgotten_in_time() -> None:
    sim = Simulation(5, 13, config=SwimConfig(profile="local", remember=20.0))
    sim.start_acquainted()
    sim.crash("node-01")
    sim.leave("node-02")
    sim.run(15)
    assert believes(sim, "node-00", "node-01") is MemberState.DEAD
    assert believes(sim, "node-00", "node-02") is MemberState.LEFT
    sim.run(20)
    assert believes(sim, "node-00", "node-01") is None
    assert believes(sim, "node-00", "node-02") is None


def test_incarnations_beyond_what_is_on_disk_wait_for_the_disk() -> None:
    sim = Simulation(3, 14)
    sim.start_acquainted()
    swim = sim.nodes["node-00"].swim
    assert swim is not None
    before = swim.incarnation
    swim.oneself.rise(before + 5000)
    assert swim.incarnation == before
    upto = swim.take_reserve()
    assert upto is not None
    assert upto >= before + 5000
    swim.reserve(upto, sim.now)
    assert swim.incarnation == before + 5000
    assert swim.take_reserve() is None
