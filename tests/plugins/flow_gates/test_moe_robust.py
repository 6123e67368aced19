"""Whatever a gate is told, it stays a gate: what it ranks is finite, and what is kept is what was."""

from __future__ import annotations

import math

import attrs
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flow_gates.moe.gate import MoeGates
from flow_gates.moe.settings import MoeConfig
from flowcore.errors import RoutingError
from flowcore.routing import Expert, Gate, Identity, Lesson, Near, Query

IDENTITY = Identity(name="any", version="1", dimensions=8)
NAMES = [f"e{number}" for number in range(12)]

numbers = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([0.0, 1.0, 0.5, -1.0, 1e30])
)
vectors = st.lists(
    st.one_of(st.floats(-1, 1), st.sampled_from([0.0, math.nan, math.inf, -3e38])),
    min_size=8,
    max_size=8,
).map(lambda values: np.array(values, np.float32))
names = st.sampled_from([*NAMES, "nobody", ""])
texts = st.one_of(st.text(max_size=30), st.sampled_from(["a b c", "play a song", "\ud800"]))
lessons = st.builds(
    Lesson,
    text=texts,
    vector=vectors,
    expert=names,
    reward=numbers,
    propensity=numbers,
    exclusive=st.booleans(),
    weight=numbers,
)
patterns = st.builds(Near, id=st.just(1), expert=names, similarity=numbers, weight=numbers)
queries = st.builds(
    Query,
    text=texts,
    vector=vectors,
    near=st.lists(patterns, max_size=5),
    load=st.dictionaries(names, numbers, max_size=4),
    explore=st.booleans(),
    allowed=st.one_of(st.none(), st.lists(names, max_size=4)),
)
there = st.lists(st.sampled_from(NAMES), unique=True, max_size=12)
actions = st.lists(
    st.one_of(lessons, lessons, queries, there, st.just("consolidate"), st.just("keep")),
    max_size=40,
)


def expert(name: str) -> Expert:
    place = NAMES.index(name)
    vector = np.eye(8, dtype=np.float32)[place % 8] + np.float32(place / 20)
    return Expert(name=name, texts=(name,), vectors=vector[np.newaxis], side_effects=place % 2 == 0)


@settings(max_examples=150, deadline=None)
@given(actions=actions)
def test_nothing_that_it_is_told_breaks_it(actions: list[object]) -> None:
    gates = MoeGates(MoeConfig())
    gate: Gate = gates.make(IDENTITY, 1)
    now: list[str] = []
    for action in actions:
        try:
            if isinstance(action, Lesson):
                gate.learn(action)
            elif isinstance(action, Query):
                ranking = gate.rank(action, 3)
                assert {one.expert for one in ranking.choices} <= set(now)
                assert all(math.isfinite(one.probability) for one in ranking.choices)
                assert all(
                    math.isfinite(n) for one in ranking.choices for n in one.reasons.values()
                )
                assert math.isfinite(ranking.known)
                assert 0 < ranking.propensity <= 1
            elif isinstance(action, list):
                gate.set_experts([expert(name) for name in action])
                now = action
            elif action == "consolidate":
                gate.consolidate()
            else:
                other = gates.make(IDENTITY, 1)
                other.restore(gate.snapshot())
                other.set_experts([expert(name) for name in now])
                assert other.snapshot() == gate.snapshot()
                gate = other
        except RoutingError:
            pass
    good = Query(text="e1", vector=np.eye(8, dtype=np.float32)[1], explore=False)
    gate.set_experts([expert(name) for name in NAMES])
    ranking = gate.rank(good, 12)
    assert len(ranking.choices) == 12
    assert all(math.isfinite(one.probability) for one in ranking.choices)


@settings(max_examples=30, deadline=None)
@given(lessons=st.lists(lessons, max_size=30))
def test_absurd_weights_do_not_outweigh_a_few_honest_lessons(lessons: list[Lesson]) -> None:
    gate = MoeGates(MoeConfig()).make(IDENTITY, 1)
    gate.set_experts([expert(name) for name in NAMES])
    for one in lessons:
        try:
            gate.learn(attrs.evolve(one, weight=1e300))
        except RoutingError:
            continue
    vector = np.ones(8, np.float32)
    for _ in range(60):
        gate.learn(Lesson(text="please do", vector=vector, expert="e3", reward=1.0))
    ranking = gate.rank(Query(text="please do", vector=vector, explore=False), 1)
    assert ranking.choices[0].expert == "e3"
