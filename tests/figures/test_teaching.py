"""How the routing benchmarks count: accuracy, forgetting, what is in scope, and regret."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest

from benchmarks import datasets, learning, plots, shift
from benchmarks.datasets import Labelled, Vectorised, missing
from benchmarks.teaching import auroc, judge, nearest, teach
from flow_gates.moe.gate import MoeGates
from flow_gates.moe.settings import MoeConfig
from flowcore.routing import Gate
from support.gating import HASHED, TOOLS, embed, experts

TEXTS = Labelled(
    texts=["will it rain", "wire some money", "put on a song", "qwertz uiop"],
    right=["weather.forecast", "bank.transfer", "music.play", "git.log"],
)


def vectors(texts: list[str]) -> Any:
    return np.stack([embed(text) for text in texts])


def gate() -> Gate:
    made = MoeGates(MoeConfig()).make(HASHED, 1)
    made.set_experts(experts())
    return made


def test_vectors_are_made_once_and_taken_up_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setattr(datasets, "KEPT", tmp_path)
    monkeypatch.setattr(datasets, "TOGETHER", 2)
    made = Vectorised("hashed")([*TEXTS.texts, "put on"])
    again = Vectorised("hashed")
    monkeypatch.setattr(Vectorised, "_embed", None)
    assert np.array_equal(again(["put on", *TEXTS.texts]), np.roll(made, 1, axis=0))
    assert np.array_equal(made[:4], vectors(TEXTS.texts))


def test_judged_is_what_was_right() -> None:
    made = gate()
    for seed in range(5):
        teach(made, TEXTS, vectors(TEXTS.texts), seed)
    judged = judge(made, TEXTS, vectors(TEXTS.texts))
    assert (judged.first, judged.among) == (100, 100)
    assert len(judged.known) == len(TEXTS.texts)
    wrong = Labelled(texts=TEXTS.texts, right=["nobody", *TEXTS.right[1:]])
    assert judge(made, wrong, vectors(TEXTS.texts)).first == 75


def test_the_nearest_come_best_first() -> None:
    (near,) = nearest(TEXTS, vectors(TEXTS.texts), vectors(["put on a song, please"]))
    assert near[0].expert == "music.play"
    similar = [one.similarity for one in near]
    assert similar == sorted(similar, reverse=True)


@pytest.mark.parametrize(
    ("inside", "outside", "area"),
    [([3, 4], [1, 2], 100), ([1, 2], [3, 4], 0), ([1, 3], [2, 2], 50), ([1], [1], 50)],
)
def test_auroc(inside: list[float], outside: list[float], area: float) -> None:
    assert auroc(inside, outside) == area


def test_forgetting_is_from_the_best_there_was() -> None:
    matrix = np.array([[90.0, np.nan, np.nan], [95.0, 80.0, np.nan], [85.0, 70.0, 99.0]])
    assert learning.forgetting(matrix) == 10
    assert learning.seen_so_far(matrix) == [90, 87.5, pytest.approx(254 / 3)]


def test_a_stream_tells_the_gate_right_and_wrong_and_no_more() -> None:
    texts = [f"qwertz uiop {number % 4}" for number in range(60)]
    requests = Labelled(texts=texts, right=["git.log"] * 60)
    right = learning.follow(gate(), requests, vectors(texts))
    assert right[:1] == [0]
    assert right[-20:].all()


def test_plots_are_the_same_each_time(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "FOLDER", tmp_path)
    told = []
    for _ in range(2):
        path = plots.sequence("trial", {"naive": [90.0, 50.0], "both": [90.0, 88.0]}, 95.0)
        told.append(path.read_text())
    assert told[0] == told[1]
    assert "naive" in told[0]
    ones = np.ones(50)
    assert plots.regret(ones, ones, 0 * ones).is_file()


def test_every_tool_is_known() -> None:
    assert set(TEXTS.right) <= TOOLS.keys()


@pytest.mark.skipif(bool(missing()), reason="the data lies beside the checkout")
def test_a_third_of_the_work_changes_hands() -> None:
    first, then = shift.changed_hands()
    moved = [intent for intent in first if first[intent] != then[intent]]
    assert len(first) == 150
    assert len(moved) == 50
    assert set(then.values()) == set(first.values())
