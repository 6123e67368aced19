"""The engines of the overlay one by one: what was seen, the graph, ways on it, links that are wanted."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow_topologies.mesh import Mesh
from flow_topologies.ring import Ring, RingConfig
from flow_topologies.star import Star, StarConfig
from flowcore.swarm.overlay.casts import reached_children
from flowcore.swarm.overlay.frames import Report, encode
from flowcore.swarm.overlay.numbers import MOST, Numbers
from flowcore.swarm.overlay.proofs import Proofs
from flowcore.swarm.overlay.reports import Drawn, Reports
from flowcore.swarm.overlay.routes import Routes, distances
from flowcore.swarm.overlay.seen import WINDOW, Seen, Window
from flowcore.swarm.overlay.wanting import Wanting
from support.swarms import Keys

NAMES = tuple("abcdefgh")
INFINITE = float("inf")

# ---- what was seen


@given(st.lists(st.integers(1, 3 * WINDOW), max_size=200))
def test_a_window_says_of_each_number_once_that_it_is_new(numbers: list[int]) -> None:
    window, seen, highest = Window(), set[int](), 0
    for number in numbers:
        old = number in seen or number <= highest - WINDOW
        assert window.has(number) == old
        if not old:
            window.add(number)
            seen.add(number)
            highest = max(highest, number)


def test_a_start_that_is_over_does_not_come_back() -> None:
    seen = Seen()
    for boot in range(5):
        assert not seen.has(boot, 1)
        seen.add(boot, 1)
    assert all(seen.has(boot, 99) for boot in range(4))
    assert not seen.has(4, 99)


def test_numbers_never_come_twice_also_to_who_was_forgotten() -> None:
    numbers: Numbers[str] = Numbers()
    assert [numbers.next("a"), numbers.next("a"), numbers.next("b")] == [1, 2, 1]
    numbers.forget([])
    assert numbers.next("a") == 3  # there is room
    for number in range(MOST):
        numbers.next(f"n{number}")
    numbers.forget(["b"])
    assert len(numbers) == 1
    assert numbers.next("b") == 2
    assert numbers.next("a") == 4
    assert numbers.next("c") == 4


# ---- the graph

SAID = st.tuples(st.sampled_from(NAMES), st.frozensets(st.sampled_from(NAMES)))


@given(st.lists(SAID, max_size=40))
def test_a_link_is_drawn_if_both_of_its_ends_have_said_so_last(
    said: list[tuple[str, frozenset[str]]],
) -> None:
    drawn, last = Drawn(), dict[str, frozenset[str]]()
    for node, links in said:
        if not links:  # it is forgotten
            if node in last:
                drawn.erase(node)
                del last[node]
            continue
        last[node] = links - {node}
        drawn.draw(node, last[node])
        expected = {
            one: {other for other in others if one in last.get(other, ())}
            for one, others in last.items()
        }
        assert drawn.links == expected


EDGES = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=20)


def graph(edges: list[tuple[str, str]]) -> dict[str, set[str]]:
    links: dict[str, set[str]] = {name: set() for name in NAMES}
    for one, other in edges:
        if one != other:
            links[one].add(other)
            links[other].add(one)
    return links


@given(EDGES, EDGES, st.sampled_from((Mesh(), Star(StarConfig()), Ring(RingConfig()))))
def test_where_all_know_the_same_each_hop_comes_nearer_and_each_who_can_be_reached_is(
    edges: list[tuple[str, str]], more: list[tuple[str, str]], topology: Mesh | Star | Ring
) -> None:
    firm, every = graph(edges), graph(edges + more)
    routes = {name: Routes(name, NAMES, topology, firm=firm, every=every) for name in NAMES}
    for start in NAMES:
        near, far = distances(firm, start), distances(every, start)
        assert set(routes[start].reachable) == far.keys() - {start}
        assert routes[start].covered == (near.keys() == far.keys())
        for target in far.keys() - {start}:
            for which in (0, -1):  # whichever of the ways is taken at each node
                way = [start]
                while way[-1] != target and len(way) <= len(NAMES):
                    way.append(routes[way[-1]].next_hops(target)[which])
                assert len(way) == len(set(way))
                assert all(other in every[one] for one, other in pairwise(way))
                if target in near:
                    assert len(way) - 1 == near[target]
                    assert all(other in firm[one] for one, other in pairwise(way))
            second = routes[start].second_ways(target)
            assert set(second) >= set(routes[start].next_hops(target))
        for target in NAMES:
            if target not in far:
                assert routes[start].next_hops(target) == ()
                assert routes[start].second_ways(target) == ()


def test_of_ways_that_are_as_short_the_topologys_comes_first() -> None:
    links = graph([("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")])

    class Over(Mesh):
        def next_hops(self, node, target, members):  # type: ignore[no-untyped-def]
            return ("c", "b")

    routes = Routes("a", tuple("abcd"), Over(), firm=links, every=links)
    assert routes.next_hops("d") == ("c", "b")
    assert routes.is_around("d", "b")
    assert not routes.is_around("d", "c")


@given(st.sets(st.sampled_from(NAMES)), st.sampled_from(NAMES))
def test_a_broadcast_goes_past_those_who_cannot_be_reached(lost: set[str], root: str) -> None:
    ring = Ring(RingConfig(successors=1))
    reachable = {name: 1 for name in NAMES if name not in lost}
    got = [root]
    for node in got:
        got += reached_children(ring, root, node, NAMES, reachable)
    assert sorted(got) == sorted({root, *reachable})


# ---- reports

KEYS = Keys()


def reports(name: str, version: int = 1, boot: int = 5) -> Reports:
    return Reports(name, boot, version, Proofs("flow", KEYS.sign(name), KEYS.verify))


def test_a_report_goes_to_those_who_have_not_had_it() -> None:
    a, b = reports("a"), reports("b")
    report = a.tell(["b", "c"], ["d"])
    assert report is not None
    assert a.tell(["c", "b"], ["d"]) is None  # nothing is new
    assert b.take(report) is report
    assert b.take(report) is None
    assert b.onward(report, ["a", "c", "d", "e", "f"], "e") == ["f"]
    assert b.firm.links["a"] == set()
    b.tell(["a"], [])
    assert b.firm.links == {"a": {"b"}, "b": {"a"}}


def test_digests_bring_what_is_missing_and_no_more() -> None:
    a, b = reports("a"), reports("b")
    a.tell(["b"], [])
    assert b.behind(a.digest())
    for report in a.newer(b.digest()):
        b.take(report)
    assert not b.behind(a.digest())
    assert a.behind(b.digest())
    assert a.newer(b.digest()) == []


def test_a_node_with_a_new_certificate_is_met_by_its_report() -> None:
    known: dict[str, bytes] = {}

    def learn(certificate: bytes) -> str | None:
        name = certificate.decode().removeprefix("certificate of ")
        known[name] = certificate
        return name

    other = Reports(
        "a", 5, 1, Proofs("flow", KEYS.sign("a"), KEYS.verify, lambda name: b"certificate of a")
    )
    mine = Proofs(
        "flow",
        KEYS.sign("b"),
        lambda name, data, signature: name in known and KEYS.verify(name, data, signature),
        known.get,
        learn,
    )
    b = Reports("b", 6, 1, mine)
    lie = Report("a", 5, 9, (), (), b"certificate of c", bytes(64))
    assert b.take(lie) is None
    assert b.take(other.own) is other.own
    assert b.unproven == 1


def test_reports_are_for_one_swarm() -> None:
    elsewhere = Reports("a", 5, 1, Proofs("other", KEYS.sign("a"), KEYS.verify))
    b = reports("b")
    assert b.take(elsewhere.own) is None
    assert b.unproven == 1


def test_what_is_known_is_bounded_and_can_be_forgotten() -> None:
    b = reports("b")
    for number in range(50):
        name = f"n{number}"
        said = encode((1, 1, ("b",), ()))
        proofs = Proofs("flow", KEYS.sign(name), KEYS.verify)
        signature = proofs.make("report", name, "", said)
        assert b.take(Report(name, 1, 1, ("b",), (), b"", signature)) is not None
    assert b.count == 51
    b.keep_only(["n3"])
    assert b.count == 2
    assert set(b.every.links) == {"b", "n3"}


# ---- the links that are wanted


def wanting(topology: Mesh | Star | Ring, *members: str) -> Wanting:
    made = Wanting("a", topology, detour_after=1.0, retire_after=2.0)
    made.follow({name: f"{name}:1" for name in members}, 0.0)
    return made


def test_a_hub_without_a_link_is_gone_around_and_taken_again() -> None:
    one = wanting(Star(StarConfig(hub="h")), "b", "c", "h")
    assert one.wanted() == {"h": "h:1"}
    assert one.due(0.0) == 1.0
    one.tick(1.0, covered=False)
    assert one.failing(1.0) == {"h"}
    # without it, this node would be the hub itself: it links to all who are left
    assert set(one.wanted()) == {"b", "c", "h"}
    one.up("b", "b:1", 1.1)
    one.up("h", "h:1", 1.2)
    one.tick(1.2, covered=True)
    assert one.firm() == ["h"]
    assert one.spare() == ["b"]
    assert set(one.wanted()) == {"b", "h"}  # b for a while
    assert one.due(1.2) == pytest.approx(3.2)
    one.tick(3.2, covered=True)
    assert set(one.wanted()) == {"h"}
    assert one.spare() == ["b"]  # it stands until the links let it go
    one.down("b", 3.5)
    assert one.spare() == []
    assert one.due(3.5) == INFINITE


def test_an_old_link_is_kept_while_streams_go_over_it_or_the_new_ones_do_not_lead_to_all() -> None:
    one = wanting(Star(StarConfig(hub="h")), "b", "h")
    one.up("h", "h:1", 0.0)
    one.tick(0.0, covered=True)
    one.streams("h", +1)
    one.use(Star(StarConfig(hub="b")), 1.0)
    one.up("b", "b:1", 1.1)
    one.tick(50.0, covered=False)
    assert set(one.wanted()) == {"b", "h"}
    one.tick(51.0, covered=True)
    one.tick(60.0, covered=True)
    assert set(one.wanted()) == {"b", "h"}
    one.streams("h", -1)
    one.tick(60.0, covered=True)
    assert set(one.wanted()) == {"b"}


def test_who_moves_is_wanted_at_the_new_address_and_who_leaves_no_more() -> None:
    one = wanting(Mesh(), "b", "c")
    assert one.wanted() == {"b": "b:1", "c": "c:1"}
    one.follow({"b": "b:2"}, 1.0)
    assert one.wanted() == {"b": "b:2"}
    assert one.members == ("a", "b")
