"""What becomes a figure where peers are measured, fail, or are not here."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import pytest

from benchmarks.contenders import OURS, PYPI, SHARED, TRIO
from benchmarks.edge import FIRST, SECONDS, Group, _failing_alone, _first_figures, _further_figures
from benchmarks.load import HANDSHAKE, Load, LoadError
from benchmarks.report import absent

LOAD = Load(rate=5000, cpu=100, tree_cpu=110, p50=1, p99=2, share=0.2)


def _group(**loads: Sequence[float]) -> Group:
    """A group of contenders with these CPU microseconds, round by round."""
    group = Group("stdio", HANDSHAKE)
    for name, rounds in loads.items():
        for connections in SECONDS:
            group.loads[name, connections] = [attrs.evolve(LOAD, cpu=cpu) for cpu in rounds]
    return group


def test_a_ratio_has_its_bar_and_is_of_the_rounds() -> None:
    group = _group(**{OURS.name: [100, 200, 100], PYPI: [600, 600, 400], TRIO: [900, 900, 900]})
    group.hindered[SHARED] = "is not installed: .peers is missing"
    cpu, tree, pypi, trio, shared = _first_figures(group)
    assert (cpu.value, cpu.bar, cpu.met) == (100, 160, True)
    assert (tree.value, tree.bar) == (110, None)
    assert (pypi.value, pypi.bar, pypi.met) == (4, 5, False)
    assert (trio.value, trio.bar, trio.met) == (9, 10, False)
    assert (shared.value, shared.bar, shared.met) == (None, 15, False)
    assert shared.peers == {SHARED: absent("is not installed: .peers is missing")}
    assert cpu.peers[SHARED] == shared.peers[SHARED]


def test_each_number_of_connections_has_its_rate_and_latencies() -> None:
    figures = _further_figures(_group(**{OURS.name: [100], PYPI: [600]}))
    assert len(figures) == 3 * len(SECONDS)
    assert all(list(one.peers) == [PYPI] for one in figures)


def test_a_peer_that_fails_is_named_and_its_half_a_measurement_left_out() -> None:
    group = _group(**{OURS.name: [100, 100], PYPI: [600]})
    group.hindered |= {TRIO: "is not installed", SHARED: "is not installed"}
    pypi = attrs.evolve(OURS, name=PYPI)
    with _failing_alone(pypi, group):
        raise LoadError("the connection was closed")
    assert group.hindered[PYPI] == "failed: the connection was closed"
    assert _first_figures(group)[0].peers[PYPI].value is None
    assert all(not one.peers for one in _further_figures(group))
    assert group.median(OURS.name, FIRST, "cpu") == 100


def test_flowserve_itself_must_not_fail() -> None:
    with pytest.raises(LoadError), _failing_alone(OURS, _group()):
        raise LoadError("the answer was wrong")
