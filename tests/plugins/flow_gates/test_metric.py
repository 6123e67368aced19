"""How vectors are compared is learned from the examples of all experts, when a gate is trained anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest

from flow_gates.moe.gate import MoeGate, MoeGates
from flow_gates.moe.metric import EXAMPLES, fit, gains, unit
from flow_gates.moe.settings import MoeConfig, ReplaySettings
from flowcore.errors import DamagedState
from flowcore.routing import Expert, Identity, Lesson, Query
from support.gating import HASHED

if TYPE_CHECKING:
    from flowcore.routing import Vectors

SIZE = 32
SENTENCES = Identity(name="sentences", version="test", dimensions=SIZE)
EXPERTS = 40


class World:
    """Requests whose vectors say what is meant in a few directions, and how it is worded in all others."""

    def __init__(self, seed: int = 0) -> None:
        self._chance = np.random.default_rng(seed)
        self._meanings = self._chance.standard_normal((EXPERTS, SIZE)).astype(np.float32)
        self._meanings[:, SIZE // 4 :] = 0.0
        self._experts = [
            Expert(name=f"e{one}", texts=(f"e{one}",), vectors=self.vectors([one], 0.9))
            for one in range(EXPERTS)
        ]

    def vectors(self, experts: list[int], wording: float = 0.7) -> Vectors:
        noise = self._chance.standard_normal((len(experts), SIZE)).astype(np.float32)
        noise[:, : SIZE // 4] *= 0.3
        return unit(self._meanings[experts] + np.float32(wording) * noise)

    def experts(self) -> list[Expert]:
        """They say nothing in words that a request has, too."""
        return list(self._experts)

    def lessons(self, each: int, those: range = range(EXPERTS)) -> list[Lesson]:
        rows = [one for _ in range(each) for one in those]
        return [
            Lesson(text="", vector=vector, expert=f"e{one}", reward=1.0)
            for one, vector in zip(rows, self.vectors(rows), strict=True)
        ]


def gate(world: World, identity: Identity = SENTENCES, **settings: Any) -> MoeGate:
    made = MoeGates(MoeConfig(**settings)).make(identity, 1)
    assert isinstance(made, MoeGate)
    made.set_experts(world.experts())
    return made


def practise(made: MoeGate, lessons: list[Lesson]) -> None:
    """As a node does that trains a gate anew."""
    for again in (False, True, True):
        for one in lessons:
            made.learn(attrs.evolve(one, again=again))
    made.consolidate()


def asked(vector: Vectors) -> Query:
    return Query(text="", vector=vector, explore=False)


def right(made: MoeGate, lessons: list[Lesson]) -> float:
    """The share of them whose expert is ranked first."""
    found = [made.rank(asked(one.vector), 1).choices[0].expert == one.expert for one in lessons]
    return sum(found) / len(found)


def test_few_examples_of_many_experts_tell_together_what_is_wording() -> None:
    world = World()
    lessons, others = world.lessons(3), world.lessons(10)
    with_, without = gate(world), gate(world, metric=False)
    for made in (with_, without):
        practise(made, lessons)
    assert with_.status()["metric_fitted"]
    assert not without.status()["metric_fitted"]
    assert right(with_, others) > right(without, others) + 0.05


def test_who_comes_later_is_found_by_what_it_says_under_the_same_map() -> None:
    world = World()
    made = MoeGates(MoeConfig()).make(SENTENCES, 1)
    assert isinstance(made, MoeGate)
    known, later = range(EXPERTS - 10), range(EXPERTS - 10, EXPERTS)
    experts = world.experts()
    made.set_experts(experts[: len(known)])
    practise(made, world.lessons(3, known))
    made.set_experts(experts[len(known) :])
    assert right(made, world.lessons(10, later)) > 0.7
    made.set_experts(experts)
    assert {one.expert for one in made.rank(asked(experts[-1].vectors[0]), 3).choices} >= {"e39"}


def test_a_map_and_its_prototypes_are_kept() -> None:
    world = World()
    made = gate(world)
    practise(made, world.lessons(3))
    new = [*world.experts(), attrs.evolve(world.experts()[0], name="new")]
    made.set_experts(new)
    for one in world.lessons(1):
        made.learn(one)
    other = gate(world)
    other.restore(made.snapshot())
    other.set_experts(new)
    for one in world.lessons(2):
        assert other.rank(asked(one.vector), 5) == made.rank(asked(one.vector), 5)
        made.learn(one)
        other.learn(one)
    assert other.snapshot() == made.snapshot()


def test_the_same_lessons_give_the_same_map() -> None:
    snapshots = []
    for _ in range(2):
        world = World()
        made = gate(world)
        practise(made, world.lessons(3))
        snapshots.append(made.snapshot())
    assert snapshots[0] == snapshots[1]


def test_an_expert_that_is_forgotten_leaves_nothing_to_who_takes_its_row() -> None:
    world = World()
    settings = MoeConfig().learning
    made = gate(world, learning=attrs.evolve(settings, absent=0))
    lessons = world.lessons(3)
    practise(made, lessons)
    rest = world.experts()[1:]
    made.set_experts(rest)
    made.learn(next(one for one in lessons if one.expert == "e1"))
    stranger = Expert(name="stranger", texts=("stranger",), vectors=-rest[0].vectors)
    made.set_experts([*rest, stranger])
    gone = [one for one in lessons if one.expert == "e0"]
    first = [made.rank(asked(one.vector), 1).choices[0].expert for one in gone]
    assert "stranger" not in first
    assert "e0" not in first


def test_where_experts_had_more_lessons_than_are_kept_there_is_no_map() -> None:
    world = World()
    made, enough = (gate(world, replay=ReplaySettings(per_expert=each)) for each in (2, 3))
    lessons = world.lessons(3)
    for one in (made, enough):
        practise(one, lessons)
    assert not made.status()["metric_fitted"]
    assert enough.status()["metric_fitted"]


@pytest.mark.parametrize("replay", ["prototypes", "off"])
def test_without_examples_there_is_no_map(replay: str) -> None:
    world = World()
    made = gate(world, replay=ReplaySettings(kind=replay))
    practise(made, world.lessons(2))
    assert not made.status()["metric_fitted"]


def test_vectors_that_know_only_words_have_no_map() -> None:
    made = MoeGates(MoeConfig()).make(attrs.evolve(HASHED, dimensions=SIZE), 1)
    world = World()
    made.set_experts(world.experts())
    assert isinstance(made, MoeGate)
    practise(made, world.lessons(2))
    assert not made.status()["metric_fitted"]


def test_a_gate_that_was_not_trained_anew_learns_as_ever() -> None:
    world = World()
    lessons = world.lessons(3)
    made, plain = gate(world), gate(world, metric=False)
    for one in lessons:
        made.learn(one)
        plain.learn(one)
    made.consolidate()
    plain.consolidate()
    assert made.snapshot() == plain.snapshot()


def test_a_snapshot_with_sums_for_more_experts_than_there_are_is_refused() -> None:
    world = World()
    made = gate(world)
    practise(made, world.lessons(2))
    metric = made._learner.network.metric
    assert metric.sums is not None
    rows = len(made._learner.slots.names)
    made._learner.network.metric.sums = np.concatenate([metric.sums, metric.sums])
    kept = gate(world)
    kept.restore(made.snapshot())  # what is nobody's is not kept
    made._learner.slots.names.append("one more")
    with pytest.raises(DamagedState):
        kept.restore(made.snapshot())
    assert len(kept._learner.slots.names) == rows


def test_an_example_is_nearer_to_what_it_is_part_of() -> None:
    world = World()
    examples = world.vectors([0, 0, 0])
    pointing = np.repeat(examples.sum(axis=0, keepdims=True), 3, axis=0)
    found = gains(np.eye(SIZE, dtype=np.float32), examples, pointing)
    assert found.shape == (3,)
    assert (found > 0).all()


def test_one_example_or_more_than_are_looked_at_can_be_fitted() -> None:
    alone = fit(
        np.ones((1, 2), np.float32),
        np.zeros(1, np.int64),
        np.zeros((1, 1), np.float32),
        np.ones((1, 2), np.float32),
    )
    assert alone == pytest.approx(np.eye(2))
    world = World()
    made = gate(world, replay=ReplaySettings(per_expert=EXAMPLES // EXPERTS + 2))
    for one in world.lessons(EXAMPLES // EXPERTS + 2):
        made._learner.replay.offer(
            made._learner.slots.places[one.expert],
            one.vector,
            made._texts[""],
            made._learner.network.score(
                one.vector, made._texts[""], made._learner.network.cells(made._texts[""])
            ),
            np.arange(1),
        )
    assert len(made._learner.replay) > EXAMPLES
    made._learner.taught = dict.fromkeys(range(EXPERTS), 1)
    made.learn(attrs.evolve(world.lessons(1)[0], again=True))
    assert made.status()["metric_fitted"]
