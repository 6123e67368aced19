"""Who is found by what experts say of themselves, before anything is learned."""

from __future__ import annotations

import attrs
import msgspec
import numpy as np
import pytest

from flow_gates.cold import SimilarityGate, SimilarityGates
from flow_gates.settings import SimilarityConfig
from flowcore.routing import Near, Query
from support.gating import HASHED, TOOLS, embed, expert, lesson, query


def gate(**settings: object) -> SimilarityGate:
    made = SimilarityGates(SimilarityConfig(**settings)).make(HASHED, 1)  # type: ignore[arg-type]
    assert isinstance(made, SimilarityGate)
    made.set_experts([expert(name, text) for name, text in TOOLS.items()])
    return made


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("will it rain in Paris tomorrow", "weather.forecast"),
        ("transfer 200 euros to my mother", "bank.transfer"),
        ("who changed this file last, in the git history", "git.log"),
        ("what time is it in Tokyo", "time.now"),
    ],
)
def test_descriptions_are_enough_to_begin_with(text: str, right: str) -> None:
    ranking = gate().rank(query(text), 3)
    assert ranking.choices[0].expert == right
    assert ranking.in_scope


def test_what_is_like_nothing_is_out_of_scope() -> None:
    assert not gate().rank(query("zzz qqq xxyyzz"), 3).in_scope


def test_it_says_what_spoke_for_a_choice() -> None:
    near = [Near(id=1, expert="git.log", similarity=0.9)]
    ranking = gate().rank(attrs.evolve(query("show the log"), near=near), 1)
    reasons = ranking.choices[0].reasons
    assert ranking.choices[0].expert == "git.log"
    assert reasons.keys() == {"described", "words", "nearest"}
    assert all(share > 0 for share in reasons.values())


def test_patterns_decide_where_words_do_not() -> None:
    asked = query("the usual, please")
    near = [Near(id=one, expert="music.play", similarity=0.97) for one in range(3)]
    assert gate().rank(attrs.evolve(asked, near=near), 1).choices[0].expert == "music.play"
    wrong = [msgspec.structs.replace(one, weight=-1.0) for one in near]
    ranking = gate().rank(attrs.evolve(asked, near=wrong), len(TOOLS))
    assert ranking.choices[-1].expert == "music.play"


def test_an_expert_that_says_much_is_not_preferred_for_it() -> None:
    made = gate()
    everything = " ".join(TOOLS.values())
    made.set_experts(
        [*(expert(name, text) for name, text in TOOLS.items()), expert("all.tools", everything)]
    )
    for name, text in TOOLS.items():
        assert made.rank(query(text), 1).choices[0].expert == name


def test_it_says_that_it_learns_nothing() -> None:
    made = gate()
    made.learn(lesson("play", "music.play"))
    made.learn(lesson("play", "nobody", reward=0.5))
    assert made.status()["learns"] is False
    assert (made.status()["lessons"], made.status()["right"]) == (2, 1.5)


def test_a_text_without_a_word_ranks_nobody_as_sure() -> None:
    ranking = gate().rank(Query(text="", vector=np.zeros(HASHED.dimensions, np.float32)), 2)
    assert len(ranking.choices) == 2
    assert not ranking.in_scope


def test_vectors_need_not_have_the_length_of_one() -> None:
    asked = query("play a song")
    longer = Query(text=asked.text, vector=embed(asked.text) * 1e6)
    assert gate().rank(longer, 3).known == pytest.approx(gate().rank(asked, 3).known, abs=1e-6)
