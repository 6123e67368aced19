"""A gate that learns from outcomes, keeps what it knew, and says when it does not know."""

from __future__ import annotations

import random
from typing import Any

import attrs
import pytest

from flow_gates.moe.gate import MoeGate, MoeGates
from flow_gates.moe.settings import (
    EwcSettings,
    ExplorationSettings,
    LearningSettings,
    MoeConfig,
    ReplaySettings,
)
from flowcore.routing import Near
from support.gating import HASHED, TOOLS, expert, experts, lesson, query

PHASES = {
    "bank.transfer": ("wire {} euros to {}", "pay {} to {}", "{} owes me, give {} my account"),
    "music.play": ("put on {} by {}", "I want to hear {} and {}", "some {} music, like {}"),
    "time.now": ("how late is it in {}, and in {}", "clock of {} and {}", "is it noon in {} or {}"),
    "git.log": ("what happened to {} since {}", "blame {} for {}", "what changed in {} after {}"),
}
WORDS = ["anna", "berta", "cesar", "dora", "emil", "fritz", "gustav", "heinrich", "ida", "julius"]


def gate(**settings: Any) -> MoeGate:
    made = MoeGates(MoeConfig(**settings)).make(HASHED, 1)
    assert isinstance(made, MoeGate)
    made.set_experts(experts())
    return made


def first(of: MoeGate, text: str) -> str:
    return of.rank(attrs.evolve(query(text), explore=False), 1).choices[0].expert


def said(expert_: str, seed: int, count: int) -> list[str]:
    """Requests for an expert, in words that its description does not have."""
    chance = random.Random(seed)
    return [chance.choice(PHASES[expert_]).format(*chance.sample(WORDS, 2)) for _ in range(count)]


def test_feedback_changes_decisions() -> None:
    made = gate()
    text = "the usual for friday evening"
    assert first(made, text) != "music.play"
    for _ in range(5):
        made.learn(lesson(text, "music.play"))
    assert first(made, text) == "music.play"
    assert first(made, "the usual, this friday") == "music.play"


def test_an_expert_that_fails_is_no_longer_chosen() -> None:
    made = gate()
    text = "send the report by mail"
    assert first(made, text) == "mail.send"
    for _ in range(30):
        made.learn(lesson(text, "mail.send", reward=0.0))
    assert first(made, text) != "mail.send"
    assert first(made, "Play a song") == "music.play"


def test_with_no_lessons_it_says_so() -> None:
    status = gate().status()
    assert status["lessons"] == 0
    assert status["accuracy"] is None
    assert status["forgetting"] is None
    assert status["calibration_error"] is None
    assert status["threshold_fitted"] is False


def phases(made: MoeGate) -> float:
    """Learn one expert after the other; the share of all their requests that are told right at the end."""
    for name in PHASES:
        for text in said(name, 1, 60):
            made.learn(lesson(text, name))
        made.consolidate()
    asked = [(text, name) for name in PHASES for text in said(name, 2, 30)]
    return sum(first(made, text) == name for text, name in asked) / len(asked)


NAIVE: dict[str, Any] = {
    "learning": LearningSettings(others=1.0),
    "ewc": EwcSettings(enabled=False),
    "replay": ReplaySettings(kind="off"),
}


def test_what_was_known_is_kept_while_something_else_is_learned() -> None:
    naive = phases(gate(**NAIVE))
    kept = phases(gate())
    assert kept > 0.9
    assert kept >= naive


@pytest.mark.parametrize(
    "change",
    [
        {"ewc": EwcSettings(strength=0.1)},
        {"ewc": EwcSettings(strength=0.1, path=False)},
        {"replay": ReplaySettings()},
        {"replay": ReplaySettings(kind="prototypes")},
    ],
    ids=["ewc", "ewc without path", "examples", "prototypes"],
)
def test_each_means_keeps_more_than_none(change: dict[str, Any]) -> None:
    """One expert's work is taken over by another in like words: what is left of the first."""

    def left(made: MoeGate) -> float:
        old, new = "bank.transfer", "music.play"
        for text in said(old, 1, 60):
            made.learn(lesson(text, old))
        made.consolidate()
        for text in said(old, 1, 8):
            made.learn(lesson(text.replace("euros", "songs"), new))
        asked = [query(text) for text in said(old, 2, 30)]
        ranked = [made.rank(attrs.evolve(one, explore=False), len(TOOLS)) for one in asked]
        return sum(
            choice.probability for one in ranked for choice in one.choices if choice.expert == old
        )

    assert left(gate(**{**NAIVE, **change})) > left(gate(**NAIVE))


def test_forgetting_is_measured() -> None:
    made = gate(
        learning=LearningSettings(others=1.0, vectors=8.0, words=8.0),
        ewc=EwcSettings(enabled=False),
        replay=ReplaySettings(samples=1),
    )
    for text in said("bank.transfer", 1, 60):
        made.learn(lesson(text, "bank.transfer"))
    before = made.status()["forgetting"]
    for text in said("bank.transfer", 1, 60):
        made.learn(lesson(text, "music.play"))
    assert before == 0
    assert made.status()["forgetting"] > 0


def test_drift_is_measured() -> None:
    made = gate()
    for text in said("bank.transfer", 1, 400):
        made.learn(lesson(text, "bank.transfer"))
    still = made.status()["drift"]
    for text in said("git.log", 1, 150):
        made.learn(lesson(text, "git.log"))
    assert made.status()["drift"] > still + 0.03


def test_probabilities_come_to_mean_what_they_say() -> None:
    made = gate()
    chance = random.Random(3)
    for _ in range(400):
        name = chance.choice(list(PHASES))
        made.learn(lesson(chance.choice(said(name, chance.randrange(99), 1)), name))
    assert made.status()["calibration_error"] < 0.1


def test_the_threshold_is_fitted_and_tells_what_is_out_of_scope() -> None:
    made = gate()
    for number in range(40):
        for name in PHASES:
            made.learn(lesson(said(name, number, 1)[0], name))
    assert made.status()["threshold_fitted"]
    inside = [made.rank(query(text), 1) for name in PHASES for text in said(name, 777, 20)]
    outside = [
        made.rank(query(text), 1)
        for text in (
            "does the zebra sleep standing up",
            "recipe for onion soup",
            "qwertz uiop asdf",
            "prove the riemann hypothesis",
            "who won the chess championship",
        )
    ]
    assert sum(one.in_scope for one in inside) >= 0.85 * len(inside)
    assert not any(one.in_scope for one in outside)


def test_an_expert_that_comes_back_knows_what_it_knew() -> None:
    made = gate()
    text = "qwertz uiop"
    for _ in range(10):
        made.learn(lesson(text, "git.log"))
    there = experts()
    made.set_experts([one for one in there if one.name != "git.log"])
    assert first(made, text) != "git.log"
    assert made.status()["remembered"] == 1
    made.set_experts(there)
    assert first(made, text) == "git.log"


def test_one_that_stays_away_is_forgotten() -> None:
    made = gate(learning=LearningSettings(absent=20))
    text = "qwertz uiop"
    for _ in range(10):
        made.learn(lesson(text, "git.log"))
    there = experts()
    made.set_experts([one for one in there if one.name != "git.log"])
    for _ in range(30):
        made.learn(lesson("Play a song", "music.play"))
    made.set_experts([one for one in there if one.name != "git.log"])
    assert made.status()["remembered"] == 0
    made.set_experts([*there, expert("new.one", "Something else")])
    ranking = made.rank(query(text), len(TOOLS) + 1)
    (again,) = (one for one in ranking.choices if one.expert == "git.log")
    assert again.reasons["gate"] == pytest.approx(0.0, abs=1e-5)
    assert first(made, "Something else") == "new.one"


def test_lessons_may_come_before_experts() -> None:
    made = MoeGates(MoeConfig()).make(HASHED, 1)
    for _ in range(20):
        made.learn(lesson("qwertz uiop", "git.log"))
        made.learn(lesson("asdf", "music.play"))
    made.set_experts(experts())
    assert made.rank(query("qwertz uiop"), 1).choices[0].expert == "git.log"


def test_who_comes_later_changes_nothing_that_was_learned() -> None:
    made = gate(replay=ReplaySettings(kind="off"))
    text = "qwertz uiop"
    for _ in range(5):
        made.learn(lesson(text, "git.log"))

    def learned() -> dict[str, float]:
        ranking = made.rank(attrs.evolve(query(text), explore=False), len(TOOLS))
        return {one.expert: one.reasons["gate"] for one in ranking.choices}

    before = learned()
    assert before["git.log"] > 1.0
    # more than there was room for: all that is kept for an expert moves to where it now belongs
    more = [expert(f"late.{number}", f"It came {number} th") for number in range(30)]
    made.set_experts([*experts(), *more])
    after = learned()
    assert {one: after[one] for one in before if one in after} == pytest.approx(
        {one: before[one] for one in before if one in after}, abs=1e-4
    )
    assert after["git.log"] == pytest.approx(before["git.log"], abs=1e-4)


def twins(**settings: Any) -> MoeGate:
    made = gate(**settings)
    said_twice = "Translate a text into another language"
    made.set_experts([expert("one", said_twice), expert("two", said_twice), *experts()])
    return made


def test_load_decides_among_near_equals_and_not_elsewhere() -> None:
    made = twins()
    asked = attrs.evolve(query("translate this text"), explore=False)
    better = made.rank(asked, 1).choices[0].expert
    other = {"one": "two", "two": "one"}[better]
    busy = attrs.evolve(asked, load={better: 1.0})
    chosen = [made.rank(busy, 1).choices[0].expert for _ in range(30)]
    assert chosen[0] == better
    assert chosen[-1] == other
    idle = [made.rank(asked, 1).choices[0].expert for _ in range(30)]
    assert idle[-1] == better
    song = attrs.evolve(query("Play a song, an album"), load={"music.play": 1.0}, explore=False)
    assert {made.rank(song, 1).choices[0].expert for _ in range(50)} == {"music.play"}


def test_who_is_little_known_is_tried_unless_it_does_something() -> None:
    settings = {"exploration": ExplorationSettings(scale=10.0, reach=20.0)}
    made = twins(**settings)
    said_twice = "Translate a text into another language"
    free = [expert("one", said_twice), expert("two", said_twice, side_effects=False), *experts()]
    made.set_experts(free)
    for _ in range(3):
        made.learn(lesson("translate this text", "one"))
    asked = [query(f"translate this text {number}") for number in range(60)]
    ranked = [made.rank(one, 2) for one in asked]
    tried = [one.choices[0].expert for one in ranked if one.explored]
    assert "two" in tried
    assert set(tried) == {"two"}, "who has side effects is never tried"
    assert all(0 < one.propensity <= 1 for one in ranked)
    assert not any(made.rank(attrs.evolve(one, explore=False), 2).explored for one in asked)
    assert not any(twins(**settings).rank(one, 2).explored for one in asked)
    assert [made.rank(one, 2) for one in asked] == ranked, "the same gate asked the same"


def test_lessons_learned_again_teach_more_and_are_not_counted() -> None:
    made = gate()
    given = [lesson(text, name) for name in PHASES for text in said(name, 1, 3)]
    for one in given:
        made.learn(one)
    once, texts = made.status(), [one.text for one in given]
    before = [made.rank(query(text), 1).choices[0].probability for text in texts]
    for one in 3 * given:
        made.learn(attrs.evolve(one, again=True))
    after = [made.rank(query(text), 1).choices[0].probability for text in texts]
    assert sum(after) > sum(before)
    assert [first(made, text) for text in texts] == [one.expert for one in given]
    again = made.status()
    for name in ("lessons", "replayable", "accuracy", "loss", "temperature", "calibration_error"):
        assert again[name] == once[name], name
    other = MoeGates(MoeConfig()).make(HASHED, 1)
    other.set_experts(experts())
    other.restore(made.snapshot())
    near = [Near(id=1, expert="time.now", similarity=0.9)]
    asked = attrs.evolve(query("the usual"), near=near)
    assert other.rank(asked, 3) == made.rank(asked, 3), "how far it has learned them is kept, too"


def test_votes_count_by_the_temperature_once_lessons_were_gone_over() -> None:
    made = gate()
    given = [lesson(text, name) for name in PHASES for text in said(name, 1, 10)]
    for one in given:
        made.learn(one)
    near = [Near(id=1, expert="time.now", similarity=0.9)]
    asked = attrs.evolve(query("the usual"), near=near)

    def vote() -> float:
        choices = made.rank(asked, len(TOOLS)).choices
        return {one.expert: one.reasons["nearest"] for one in choices}["time.now"]

    weight = MoeConfig().nearest.weight
    share = vote() / weight
    for one in given:
        made.learn(attrs.evolve(one, again=True))
    trust = 2 * made.status()["temperature"] ** 2
    assert vote() == pytest.approx(weight * trust * share, rel=1e-3)


def test_patterns_vote() -> None:
    made = gate()
    near = [Near(id=one, expert="time.now", similarity=0.95) for one in range(4)]
    asked = attrs.evolve(query("the usual"), near=near, explore=False)
    choice = made.rank(asked, 1).choices[0]
    assert choice.expert == "time.now"
    assert choice.reasons["nearest"] > 0


def test_reasons_add_up_to_what_orders() -> None:
    made = gate()
    for text in said("git.log", 1, 20):
        made.learn(lesson(text, "git.log"))
    ranking = made.rank(attrs.evolve(query("what changed in anna"), explore=False), len(TOOLS))
    worth = [sum(choice.reasons.values()) for choice in ranking.choices]
    assert worth == sorted(worth, reverse=True)
    assert ranking.choices[0].reasons["gate"] > 0


def test_of_hundreds_of_experts_the_right_one_is_found() -> None:
    made = gate()
    many = {f"tool.{number}": f"handles things of kind {number}x{number}" for number in range(300)}
    made.set_experts([*experts(), *experts(many)])
    assert first(made, "things of kind 217x217") == "tool.217"
    for _ in range(6):
        made.learn(lesson("qwertz uiop", "tool.299"))
    assert first(made, "qwertz uiop") == "tool.299"
