"""What a gate keeps while it learns something else, and how it learns from nothing but right and wrong.

Class-incremental: CLINC150's ten domains one after the other, the intents of each new. Domain-incremental:
ten agents, one for each domain, whose work changes in five waves of new intents. After each phase all intents
so far are asked for; final accuracy is the mean over phases at the end, forgetting (Chaudhry et al. 2018) the
mean over all but the last of the best accuracy that a phase ever had less what it has at the end.

Stream: 20,000 requests, one after the other; the gate begins with descriptions, chooses one, and is told
whether that was right. Regret is against the best fixed policy: the same gate with the weights that it has
after it was told all right answers of the stream five times over, which no longer learns.

`SMALL=1` in the environment takes a part: for development, not for results.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from benchmarks import plots
from benchmarks.datasets import Labelled, Vectorised, clinc, domains, missing
from benchmarks.report import Figure, absent
from benchmarks.shift import AFTER, BEFORE, KEPT, shift
from benchmarks.teaching import NEAR, SEED, asked, new_gate, teach
from flow_gates.moe.settings import EwcSettings, LearningSettings, MoeConfig, ReplaySettings
from flowcore.routing import Gate, Lesson, Near

if TYPE_CHECKING:
    from flowcore.routing import Vectors

SMALL = bool(os.environ.get("SMALL"))
REQUESTS = 2_000 if SMALL else 20_000
MOST = 900 if SMALL else None
"""Texts that accuracy is measured on after each phase."""
LESSONS = 3_000 if SMALL else None
PASSES = 5
WAVES = 5
ALIKE = REQUESTS // 4
"""Requests of the stream over which trying out is compared with not doing so."""

OFF: dict[str, Any] = {
    "ewc": EwcSettings(enabled=False),
    "replay": ReplaySettings(kind="off"),
}
NAIVE = MoeConfig(**OFF, learning=LearningSettings(others=1.0))
LEARNERS: dict[str, MoeConfig] = {
    "naive": NAIVE,
    "EWC++ alone": attrs.evolve(NAIVE, ewc=EwcSettings()),
    "replay alone": attrs.evolve(NAIVE, replay=ReplaySettings()),
    "EWC++ and replay": MoeConfig(learning=LearningSettings(others=1.0)),
    "labels trick alone": MoeConfig(**OFF),
    "prototypes, EWC++, labels trick": MoeConfig(replay=ReplaySettings(kind="prototypes")),
    "the defaults": MoeConfig(),
}
DEFAULTS = "the defaults"


@attrs.frozen(kw_only=True)
class Phases:
    """Experts, and what is learned in which phase."""

    kind: str
    said: dict[str, tuple[str, ...]]
    there: list[list[str]]
    """The experts that are there in each phase."""
    lessons: list[Labelled]
    tests: list[Labelled]


def run() -> list[Figure]:
    """Per cent right at the end, points forgotten, and regret; plots go to docs/figures."""
    why = missing()
    if not why:
        try:
            embedder = Vectorised("MiniLM")
        except FileNotFoundError as error:
            why = str(error)
    if why:
        return [
            Figure(name="data and model", value=None, unit="%", bar=100, peers={"": absent(why)})
        ]
    bars = {"class-incremental": (92.5, 4.5), "domain-incremental": (94.0, 3.5)}
    figures = []
    for phases in (by_class(), by_domain()):
        curves = {}
        for name, config in LEARNERS.items():
            matrix = in_sequence(embedder, phases, config)
            curves[name] = seen_so_far(matrix)
            figures += _sequence_figures(
                phases.kind, name, matrix, bars[phases.kind] if name == DEFAULTS else (None, None)
            )
        joint = jointly(embedder, phases)
        figures.append(Figure(name=f"{phases.kind}: joint: final", value=joint, unit="%"))
        plots.sequence(phases.kind, curves, joint)
    return figures + stream(embedder) + shift(embedder, SMALL)


def setup() -> dict[str, str]:
    """How it is measured."""
    return {
        "gate": f"moe, seed {SEED}; `the defaults` are its defaults, the others differ as they say",
        "embedder": "all-MiniLM-L6-v2",
        "phases": "each lesson once, in an order drawn by chance; consolidated after each phase",
        "asked": "the gate alone, without patterns; CLINC150's test set",
        "joint": f"all lessons of all phases together, {PASSES} times, in an order drawn by chance",
        "stream": f"{REQUESTS} requests, train, validation and test set shuffled; patterns of what was right;"
        " experts without side effects, so that those little known may be tried",
        "trying out": f"the first {ALIKE} requests of the stream, once more by a gate that tries nobody out",
        "shift": f"10 agents, {BEFORE} lessons; a third of the intents change hands, {AFTER} more;"
        f" trained anew on the latest {KEPT}",
        "small": "yes: a part of each set" if SMALL else "no",
    }


def by_class() -> Phases:
    """Ten phases of 15 new intents."""
    data = clinc()
    names = list(domains().values())
    test = data.test.part(MOST)
    return Phases(
        kind="class-incremental",
        said=data.experts,
        there=[[one for group in names[: at + 1] for one in group] for at in range(len(names))],
        lessons=[_of(data.train.part(LESSONS), group) for group in names],
        tests=[_of(test, group) for group in names],
    )


def by_domain() -> Phases:
    """Five phases, in each of which every agent gets three new intents to do."""
    data = clinc()
    agents = {intent: name for name, intents in domains().items() for intent in intents}
    waves = [
        [one for intents in domains().values() for one in intents[at::WAVES]] for at in range(WAVES)
    ]
    test = data.test.part(MOST)
    return Phases(
        kind="domain-incremental",
        said={name: (name.replace("_", " "),) for name in domains()},
        there=[list(domains())] * WAVES,
        lessons=[_renamed(_of(data.train.part(LESSONS), wave), agents) for wave in waves],
        tests=[_renamed(_of(test, wave), agents) for wave in waves],
    )


def _of(labelled: Labelled, names: Sequence[str]) -> Labelled:
    wanted = set(names)
    return labelled.at([row for row, one in enumerate(labelled.right) if one in wanted])


def _renamed(labelled: Labelled, names: dict[str, str]) -> Labelled:
    return attrs.evolve(labelled, right=[names[one] for one in labelled.right])


def in_sequence(embedder: Vectorised, phases: Phases, config: MoeConfig) -> np.ndarray:
    """Shape (phases, phases): after each phase, the accuracy on each phase so far, in per cent."""
    gate = new_gate(embedder, {}, config)
    count = len(phases.lessons)
    matrix = np.full((count, count), np.nan)
    for at, lessons in enumerate(phases.lessons):
        gate.set_experts(embedder.experts({name: phases.said[name] for name in phases.there[at]}))
        teach(gate, lessons, embedder(lessons.texts), seed=at)
        gate.consolidate()
        for before in range(at + 1):
            matrix[at, before] = accuracy(gate, phases.tests[before], embedder)
    return matrix


def accuracy(gate: Gate, test: Labelled, embedder: Vectorised) -> float:
    """How often the gate's first choice is right, in per cent."""
    vectors = embedder(test.texts)
    right = [
        gate.rank(asked(text, vector), 1).choices[0].expert == expert
        for text, vector, expert in zip(test.texts, vectors, test.right, strict=True)
    ]
    return 100 * float(np.mean(right))


def seen_so_far(matrix: np.ndarray) -> list[float]:
    """After each phase, the mean accuracy on all phases so far."""
    return [float(np.nanmean(row)) for row in matrix]


def forgetting(matrix: np.ndarray) -> float:
    """In points: the best that each phase ever had less what it has at the end."""
    return float(np.mean(np.nanmax(matrix[:, :-1], axis=0) - matrix[-1, :-1]))


def _sequence_figures(
    kind: str, name: str, matrix: np.ndarray, bars: tuple[float | None, float | None]
) -> list[Figure]:
    final = seen_so_far(matrix)[-1]
    return [
        Figure(name=f"{kind}: {name}: final", value=final, unit="%", bar=bars[0], least=True),
        Figure(
            name=f"{kind}: {name}: forgetting", value=forgetting(matrix), unit="points", bar=bars[1]
        ),
    ]


def _together(parts: Sequence[Labelled]) -> Labelled:
    return Labelled(
        texts=[text for part in parts for text in part.texts],
        right=[right for part in parts for right in part.right],
    )


def jointly(embedder: Vectorised, phases: Phases) -> float:
    """The mean accuracy over phases of a gate that learned all of them at once."""
    lessons = _together(phases.lessons)
    gate = new_gate(embedder, phases.said)
    for seed in range(PASSES):
        teach(gate, lessons, embedder(lessons.texts), seed)
    return float(np.mean([accuracy(gate, test, embedder) for test in phases.tests]))


# ---- a stream of requests


def stream(embedder: Vectorised) -> list[Figure]:
    """Accuracy over the stream, and the regret against two policies that do not learn."""
    data = clinc()
    requests = _together([data.train, data.test]).part(REQUESTS, seed=3)
    if len(requests.texts) < REQUESTS:
        more = requests.part(REQUESTS - len(requests.texts), seed=4)
        requests = _together([requests, more])
    vectors = embedder(requests.texts)
    learned = follow(new_stream_gate(embedder, data.experts), requests, vectors)
    begun = requests.at(range(ALIKE))
    still = follow(new_stream_gate(embedder, data.experts), begun, vectors[:ALIKE], explore=False)
    best = new_stream_gate(embedder, data.experts)
    for seed in range(PASSES):
        teach(best, requests, vectors, seed)
    fixed = _right(best, requests, vectors)
    cold = _right(new_stream_gate(embedder, data.experts), requests, vectors)
    plots.regret(learned, fixed, cold)
    tenth = REQUESTS // 10
    regret = float(fixed.sum() - learned.sum())
    late = float(fixed[-tenth:].sum() - learned[-tenth:].sum())
    return [
        Figure(name="stream: right, of all", value=100 * float(learned.mean()), unit="%"),
        Figure(
            name="stream: right, of the first tenth",
            value=100 * float(learned[:tenth].mean()),
            unit="%",
        ),
        Figure(
            name="stream: right, of the last tenth",
            value=100 * float(learned[-tenth:].mean()),
            unit="%",
        ),
        Figure(name="stream: right, best fixed policy", value=100 * float(fixed.mean()), unit="%"),
        Figure(name="stream: right, descriptions alone", value=100 * float(cold.mean()), unit="%"),
        Figure(name="stream: regret", value=regret, unit="requests"),
        Figure(
            name=f"stream: regret, first {ALIKE:,}",
            value=float(fixed[:ALIKE].sum() - learned[:ALIKE].sum()),
            unit="requests",
        ),
        Figure(
            name=f"stream: regret, first {ALIKE:,}, nobody tried out",
            value=float(fixed[:ALIKE].sum() - still.sum()),
            unit="requests",
        ),
        Figure(
            name="stream: regret in the last tenth", value=100 * late / tenth, unit="% of requests"
        ),
    ]


def new_stream_gate(embedder: Vectorised, said: dict[str, tuple[str, ...]]) -> Gate:
    """A gate whose experts do no harm when they are tried."""
    gate = new_gate(embedder, {})
    gate.set_experts(embedder.experts(said, side_effects=False))
    return gate


def follow(gate: Gate, requests: Labelled, vectors: Vectors, *, explore: bool = True) -> np.ndarray:
    """Shape (requests,): whether each choice was right; the gate is told that, and no more.

    With `explore` the first choice may be one of which little is known.
    """
    right = np.zeros(len(requests.texts))
    kept: list[int] = []
    store = np.zeros_like(vectors)
    for row, (text, answer) in enumerate(zip(requests.texts, requests.right, strict=True)):
        vector = vectors[row]
        near: list[Near] = []
        if kept:
            cosines = store[: len(kept)] @ vector
            some = np.argpartition(-cosines, min(NEAR, len(kept)) - 1)[:NEAR]
            best = some[np.argsort(-cosines[some], kind="stable")].tolist()
            near = [
                Near(id=at, expert=requests.right[kept[at]], similarity=float(cosines[at]))
                for at in best
            ]
        ranking = gate.rank(attrs.evolve(asked(text, vector, near), explore=explore), 1)
        choice = ranking.choices[0].expert
        right[row] = choice == answer
        if right[row]:
            store[len(kept)] = vector
            kept.append(row)
        gate.learn(
            Lesson(
                text=text,
                vector=vector,
                expert=choice,
                reward=right[row],
                propensity=ranking.propensity,
            )
        )
    return right


def _right(gate: Gate, requests: Labelled, vectors: Vectors) -> np.ndarray:
    """Shape (requests,): whether each choice is right, of a gate that does not learn."""
    return np.array(
        [
            gate.rank(asked(text, vector), 1).choices[0].expert == answer
            for text, vector, answer in zip(requests.texts, vectors, requests.right, strict=True)
        ],
        float,
    )
