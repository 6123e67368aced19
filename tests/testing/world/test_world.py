"""A world: one seed is one run, what fails is what was asked to fail, and a crash takes what it may take."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from flowcore.errors import UntrustedFile
from flowcore.testing import Faults, Host, Journal, Link, Nemesis, World, constant, normal, uniform

NAMES = ["a", "b", "c"]


class Gossip:
    """Counts, tells everybody what it has counted, and keeps it on its disk."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.journal = Journal(host.disk)
        self.count = int(self.journal.records[-1]) if self.journal.records else 0
        self.durable = self.count
        self.heard: list[tuple[str, Any]] = []
        host.timer("tick", 0.1)

    def on_message(self, sender: str, message: Any) -> None:
        self.heard.append((sender, message))

    def on_timer(self, timer: str) -> None:
        assert timer == "tick"
        self.host.timer("tick", 0.1)
        self.count += 1
        count = self.count
        try:
            self.journal.append(b"%d" % count)
        except OSError:
            self.host.stop("the disk is full")
            return

        def done(error: OSError | None) -> None:
            if error is not None:
                self.host.stop(str(error))
                return
            self.durable = count
            for name in NAMES:
                self.host.send(name, count)

        self.journal.sync(done)


class Silent:
    def __init__(self, host: Host) -> None:
        self.heard: list[tuple[float, str, Any]] = []
        self.fired: list[tuple[float, str]] = []
        self.host = host

    def on_message(self, sender: str, message: Any) -> None:
        self.heard.append((round(self.host.now, 6), sender, message))

    def on_timer(self, timer: str) -> None:
        self.fired.append((round(self.host.now, 6), timer))


def two(link: Link, seed: int = 0) -> tuple[World, Silent, Silent]:
    world = World(seed, link=link)
    found: list[Silent] = []

    def start(host: Host) -> Silent:
        found.append(Silent(host))
        return found[-1]

    for name in "ab":
        world.add(name, start)
    return world, found[0], found[1]


def story(seed: int) -> tuple[list[str], dict[str, int], int]:
    link = Link(latency=normal(0.02, 0.02), loss=0.1, duplicate=0.1, reorder=0.1)
    world = World(seed, link=link, trace=100_000)
    told: Counter[str] = Counter()
    for name in NAMES:
        world.add(name, Gossip)

    def nothing_acknowledged_is_lost() -> None:
        for name in NAMES:
            process = world.nodes[name].process
            if isinstance(process, Gossip):
                assert process.count >= told[name], f"{name} has forgotten {told[name]}"
                told[name] = max(told[name], process.durable)

    world.checks.append(nothing_acknowledged_is_lost)
    nemesis = Nemesis(world, NAMES)
    world.run(until=60.0)
    nemesis.stop()
    world.run(until=62.0)
    assert all(world.nodes[name].up for name in NAMES)
    for name in NAMES:
        process = world.nodes[name].process
        assert isinstance(process, Gossip)
        assert {sender for sender, _ in process.heard} == set(NAMES)
    return list(world.lines()), nemesis.done, world.steps


def test_one_seed_is_one_run() -> None:
    first, second = story(5), story(5)
    assert first == second
    assert first[0] != story(6)[0]


def test_every_fault_happens_and_nothing_durable_is_lost() -> None:
    done: Counter[str] = Counter()
    for seed in range(12):
        done.update(story(seed)[1])
    kinds = {"crash", "outage", "pause", "partition", "isolate", "cut", "slow"}
    assert kinds | {"sync", "full", "skew"} == set(done)


def test_a_check_that_fails_tells_seed_step_and_time() -> None:
    world = World(77)

    def check() -> None:
        assert world.steps < 3

    world.checks.append(check)
    for when in (1.0, 2.0, 3.0, 4.0):
        world.at(when, lambda: None)
    with pytest.raises(AssertionError) as caught:
        world.run()
    assert caught.value.__notes__ == ["in seed 77, at step 3, 3.000000 s"]


def test_messages_take_their_time_and_overtake_only_where_they_may() -> None:
    world, _, b = two(Link(latency=uniform(0.0, 1.0)))
    for number in range(100):
        world.send("a", "b", number)
    world.run()
    assert sorted(number for _, _, number in b.heard) == list(range(100))
    assert [number for _, _, number in b.heard] != list(range(100))
    assert max(when for when, _, _ in b.heard) <= 1.0

    world, _, b = two(Link(latency=uniform(0.0, 1.0), ordered=True))
    for number in range(100):
        world.send("a", "b", number)
    world.run()
    assert [number for _, _, number in b.heard] == list(range(100))


def test_loss_duplication_and_delay_are_as_often_as_asked() -> None:
    link = Link(latency=constant(0.01), loss=0.2, duplicate=0.1, reorder=0.3, held=constant(1.0))
    world, _, b = two(link, seed=3)
    for number in range(20_000):
        world.send("a", "b", number)
    world.run()
    times = Counter(number for _, _, number in b.heard)
    assert abs(len(times) / 20_000 - 0.8) < 0.02
    assert abs(sum(1 for count in times.values() if count == 2) / len(times) - 0.1) < 0.02
    late = sum(1 for when, _, _ in b.heard if when > 1)
    assert abs(late / len(b.heard) - 0.3) < 0.02
    assert (world.sent, world.lost, world.delivered) == (20_000, 20_000 - len(times), len(b.heard))


def test_cuts_are_one_way_partitions_are_not_and_all_heals() -> None:
    world, a, b = two(Link(latency=constant(0.0)))
    links = world.links

    def came() -> tuple[bool, bool]:
        a.heard.clear()
        b.heard.clear()
        world.send("a", "b", 1)
        world.send("b", "a", 2)
        world.run()
        return bool(b.heard), bool(a.heard)

    assert (came(), str(links)) == ((True, True), "whole")
    links.cut("a", "b")
    assert (came(), str(links)) == ((False, True), "a -/> b")
    links.mend("a", "b")
    assert came() == (True, True)
    links.partition(["a"], ["b", "c"])
    assert (came(), str(links)) == ((False, False), "a | b c")
    links.partition(["a"])  # b is of no side
    assert came() == (False, False)
    links.partition(["a", "b"], ["c"])
    assert came() == (True, True)
    links.partition()
    links.isolate("a", hears=True)
    assert (came(), str(links)) == ((False, True), "nobody hears a")
    links.isolate("a", speaks=True)
    assert (came(), str(links)) == ((True, False), "a hears nobody")
    links.separate("a", "b")
    links.slow("b", 3.0)
    links.heal()
    before = world.now
    assert came() == (True, True)
    assert world.now == before
    links.slow("b", 3.0)
    assert came() == (True, True)
    assert world.now == before + 3.0
    with pytest.raises(ValueError, match="one side only"):
        links.partition(["a"], ["a", "b"])


def test_timers_run_by_the_nodes_clock_and_not_beyond_a_crash() -> None:
    world, a, _ = two(Link())
    node = world.nodes["a"]
    node.clock.rate, node.clock.offset = 2.0, 100.0
    a.host.timer("one", 4.0)
    a.host.timer("two", 4.0)
    a.host.timer("two", 6.0)  # instead
    a.host.timer("never", 1.0)
    a.host.cancel("never")
    world.run(until=10.0)
    assert a.fired == [(104.0, "one"), (106.0, "two")]
    node.clock.rate = 0.5
    node.clock.offset = -1000.0
    assert (a.host.monotonic, a.host.now) == (20.0, -980.0)
    with pytest.raises(ValueError, match="expected a rate above 0, not 0"):
        node.clock.rate = 0
    node.clock.rate = 2.0
    a.host.timer("one", 1.0)
    node.crash()
    assert not a.host.alive
    node.restart()
    a.host.send("b", "from the dead")
    world.run(until=20.0)
    assert len(a.fired) == 2
    assert world.sent == 0


def test_a_node_that_hangs_gets_all_of_it_when_it_goes_on() -> None:
    world, a, _ = two(Link(latency=constant(0.1)))
    node = world.nodes["a"]
    synced: list[float] = []
    node.disk.append("f", b"x")
    node.disk.sync(lambda error: synced.append(world.now))
    node.pause()
    a.host.timer("t", 1.0)
    world.send("b", "a", "m")
    world.run(until=5.0)
    assert (a.heard, a.fired, synced) == ([], [], [])
    node.resume()
    world.run()
    assert (a.heard, a.fired, synced) == ([(5.0, "b", "m")], [(5.0, "t")], [5.0])
    node.pause()
    world.send("b", "a", "lost with it")
    world.run()
    node.crash()
    node.restart()
    world.run()
    assert len(a.heard) == 1


def test_a_process_that_stops_or_refuses_leaves_its_node_down_with_the_reason() -> None:
    world = World()

    def start(host: Host) -> Silent:
        if host.disk.read("bad"):
            raise UntrustedFile("it is bad")
        return Silent(host)

    node = world.add("a", start)
    process = node.process
    assert isinstance(process, Silent)
    node.disk.append("bad", b"x")
    node.disk.sync(lambda error: process.host.stop("had enough"))
    world.run()
    assert (node.up, node.why, node.refused) == (False, "had enough", None)
    assert not node.restart()
    assert node.why == "it is bad"
    assert isinstance(node.refused, UntrustedFile)
    node.disk.wipe()
    assert node.restart()
    assert node.why == ""


def test_a_run_ends_at_its_time_its_steps_or_where_it_is_stopped() -> None:
    world = World()
    for second in range(1, 11):
        world.at(float(second), lambda: None)
    assert not world.run(until=2.5)
    assert (world.now, world.steps) == (2.5, 2)
    assert not world.run(steps=3)
    assert (world.now, world.steps) == (5.0, 5)
    assert world.run(stop=lambda: world.steps == 7)
    assert world.now == 7.0
    with pytest.raises(ValueError, match=r"expected a time from 7\.0 s on, not 3"):
        world.at(3, lambda: None)
    with pytest.raises(ValueError, match="at least 0, not -1"):
        world.after(-1, lambda: None)
    world.run()
    assert not world.step()


def test_nonsense_is_refused() -> None:
    world, _, _ = two(Link())
    with pytest.raises(ValueError, match="there is a node 'a' already"):
        world.add("a", Silent)
    with pytest.raises(ValueError, match=r"loss: expected a probability, 0 to 1, not 1\.5"):
        Link(loss=1.5)
    with pytest.raises(ValueError, match="expected seconds, at least 0, not -1"):
        constant(-1)
    with pytest.raises(ValueError, match="expected at least 2, not 1"):
        uniform(2, 1)
    world.send("a", "nobody", 1)
    world.run()
    assert world.lost == 1


def test_a_nemesis_does_nothing_that_has_no_weight() -> None:
    world = World(1)
    for name in NAMES:
        world.add(name, Silent)
    others = ("outage", "pause", "partition", "isolate", "cut", "slow", "sync", "full", "skew")
    nothing = dict.fromkeys(others, 0.0)
    nemesis = Nemesis(world, NAMES, Faults(**nothing))  # type: ignore[arg-type]
    world.run(until=60.0)
    assert set(nemesis.done) == {"crash"}
    assert world.links.reaches("a", "b")
    world = World(1)
    world.add("a", Silent)
    assert Nemesis(world, ["a"], Faults(crash=0.0, **nothing)).done == {}  # type: ignore[arg-type]
    world.run()
