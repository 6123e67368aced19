"""What a gate has learned stands in what it answers and in what is kept of it, part by part."""

from __future__ import annotations

import random

import attrs
import numpy as np

from flow_gates.moe.gate import MoeGate, MoeGates
from flow_gates.moe.settings import EwcSettings, LearningSettings, MoeConfig
from flowcore.routing import Expert, Lesson, Query, Ranking
from support.gating import HASHED

NAMES = [f"e{number}" for number in range(24)]
OWN = {name: "".join(random.Random(name).choices("aeioubdfgklmnprst", k=7)) for name in NAMES}
ALIKE = np.full(HASHED.dimensions, HASHED.dimensions**-0.5, np.float32)
"""The vector of every expert and text here: what tells them apart are words."""


def gate(config: MoeConfig) -> MoeGate:
    made = MoeGates(config).make(HASHED, 1)
    assert isinstance(made, MoeGate)
    made.set_experts(
        [Expert(name=name, texts=(name,), vectors=ALIKE[np.newaxis]) for name in NAMES]
    )
    return made


def asked(of: MoeGate, text: str) -> Ranking:
    return of.rank(Query(text=text, vector=ALIKE, explore=False), 8)


def lessons(seed: int, count: int) -> list[Lesson]:
    """Each expert is asked for by a word of its own, among others."""
    chance = random.Random(seed)
    made = []
    for _ in range(count):
        name = chance.choice(NAMES)
        text = f"{OWN[name]} {chance.choice(('now', 'please', 'soon'))} {chance.randint(0, 9)}"
        made.append(Lesson(text=text, vector=ALIKE, expert=name, reward=1.0))
    return made


def test_words_alone_are_learned_and_kept() -> None:
    config = MoeConfig(learning=LearningSettings(vectors=0.0))
    made, other = gate(config), gate(config)
    later = lessons(2, 40)
    assert sum(asked(made, one.text).choices[0].expert == one.expert for one in later) < 10

    for one in lessons(1, 300):
        made.learn(one)

    assert all(asked(made, one.text).choices[0].expert == one.expert for one in later)
    other.restore(made.snapshot())

    for one in later:
        assert asked(other, one.text) == asked(made, one.text)


def test_a_gate_taken_up_in_the_middle_of_intervals_goes_on_as_the_other_one() -> None:
    config = MoeConfig(ewc=EwcSettings(interval=3))
    made = gate(config)
    told = lessons(3, 240)
    for at in range(0, len(told), 60):
        for one in told[at : at + 60]:
            made.learn(one)
        other = gate(attrs.evolve(config))
        other.restore(made.snapshot())
        for one in lessons(at, 30):
            other.learn(one)
        whole = gate(config)
        for one in [*told[: at + 60], *lessons(at, 30)]:
            whole.learn(one)
        whole.consolidate()
        other.consolidate()
        assert whole.snapshot() == other.snapshot()
