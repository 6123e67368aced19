"""What holds for every balancer, whatever it prefers."""

from __future__ import annotations

import importlib.metadata
import pkgutil
import random
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import flow_balancers
from flowcore.assembly.registry import FactoryRegistry
from flowcore.interfaces import Balancer, Load

NAMES = sorted(module.name for module in pkgutil.iter_modules(flow_balancers.__path__))


@attrs.define
class Chance:
    """As much of a Context as a balancer may use."""

    random: random.Random


def registry() -> FactoryRegistry:
    """The balancers as the plugins register them."""
    found = FactoryRegistry()
    for name in NAMES:
        with found.providing(name):
            importlib.import_module(f"flow_balancers.{name}").flow_register(found)
    return found


async def opened(name: str, seed: int = 7) -> Balancer:
    """A balancer with its default settings, as an agent's pool gets it."""
    factory = registry().factory("balancer", name)
    async with factory.open(factory.config(), Chance(random.Random(seed))) as balancer:  # type: ignore[arg-type]
        kept: Balancer = balancer
    return kept


def test_there_are_five_and_each_is_announced_as_a_plugin() -> None:
    assert NAMES == ["consistent_hash", "least_connections", "peak_ewma", "round_robin", "weighted"]
    points = importlib.metadata.entry_points(group="flowcore.plugins")
    announced = {point.value for point in points}
    assert {f"flow_balancers.{name}" for name in NAMES} <= announced
    assert Path(flow_balancers.__path__[0]).name == "flow_balancers"


@pytest.mark.parametrize("name", NAMES)
async def test_opens_with_its_defaults_and_takes_the_only_candidate(name: str) -> None:
    balancer = await opened(name)
    assert balancer.pick([Load(3)], None, 0.0) == 0
    assert balancer.pick([Load(3)], b"someone", 0.0) == 0


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
async def test_picks_a_candidate_whatever_has_happened(name: str, data: st.DataObject) -> None:
    balancer = await opened(name)
    alive: list[Load] = []
    running: list[tuple[Load, float]] = []
    now = 0.0
    for step in range(data.draw(st.integers(1, 40))):
        now += data.draw(st.floats(0, 100, allow_nan=False))
        what = data.draw(st.sampled_from(["come", "call", "end", "go"]))
        if what == "come" or not alive:
            alive.append(Load(step, weight=data.draw(st.sampled_from([0.5, 1.0, 3.0]))))
        elif what == "call":
            candidates = data.draw(st.lists(st.sampled_from(alive), min_size=1, unique_by=id))
            affinity = data.draw(st.none() | st.binary(max_size=4))
            index = balancer.pick(candidates, affinity, now)
            assert 0 <= index < len(candidates)
            candidates[index].active += 1
            balancer.started(candidates[index].worker, now)
            running.append((candidates[index], now))
        elif what == "end" and running:
            load, began = running.pop(data.draw(st.integers(0, len(running) - 1)))
            load.active -= 1
            balancer.finished(load.worker, now, now - began, data.draw(st.booleans()))
        elif what == "go":
            gone = alive.pop(data.draw(st.integers(0, len(alive) - 1)))
            running = [one for one in running if one[0] is not gone]
            balancer.removed(gone.worker)


@pytest.mark.parametrize("name", NAMES)
async def test_keeps_nothing_of_workers_that_are_gone(name: str) -> None:
    balancer = await opened(name)
    for generation in range(50):
        fresh = [Load(generation * 3 + number) for number in range(3)]
        for turn in range(6):
            chosen = fresh[balancer.pick(fresh, b"%d" % turn, float(turn))]
            balancer.started(chosen.worker, float(turn))
            balancer.finished(chosen.worker, float(turn), 0.1, turn % 2 == 0)
        for load in fresh:
            balancer.removed(load.worker)
    kept = [value for value in vars(balancer).values() if isinstance(value, (dict, list, set))]
    assert not any(kept)


@pytest.mark.parametrize("name", NAMES)
async def test_the_same_seed_makes_the_same_choices(name: str) -> None:
    async def choices() -> list[int]:
        balancer = await opened(name, seed=11)
        workers = [Load(number) for number in range(9)]
        made = []
        for turn in range(200):
            index = balancer.pick(workers, b"%d" % (turn % 17), float(turn))
            balancer.started(workers[index].worker, float(turn))
            balancer.finished(workers[index].worker, turn + 0.5, 0.01 * (index + 1), True)
            made.append(index)
        return made

    assert await choices() == await choices()
