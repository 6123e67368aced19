"""The world changes: what training the gate anew on the lessons that are kept is worth.

Ten agents do CLINC150's domains, one each, and the gate learns that. Then a third of the intents change
hands: each goes to the next agent. New lessons say so. The gate that goes on has learned both, the old first;
the one that is trained anew, as after drift, is made of the latest lessons, as many as are kept, in their
order, and holds on to them. Both are asked for all intents as they are now, without patterns.
"""

from __future__ import annotations

import attrs
import numpy as np

from benchmarks.datasets import Labelled, Vectorised, clinc, domains
from benchmarks.report import Figure
from benchmarks.teaching import asked, new_gate, train
from flowcore.routing import Gate, Lesson

BEFORE = 6_000
AFTER = 1_500
KEPT = 3_000
"""The latest lessons, which a retraining has."""


def changed_hands() -> tuple[dict[str, str], dict[str, str]]:
    """Who does each intent: at first, and when each third intent has gone to the next agent."""
    agents = list(domains())
    first = {intent: agent for agent, intents in domains().items() for intent in intents}
    then = {
        intent: agents[(agents.index(agent) + 1) % len(agents)] if at % 3 == 0 else agent
        for at, (intent, agent) in enumerate(first.items())
    }
    return first, then


def shift(embedder: Vectorised, small: bool) -> list[Figure]:
    """Per cent right before the change, after it, with new lessons, and trained anew."""
    parts = (BEFORE // 6, AFTER // 6, KEPT // 6) if small else (BEFORE, AFTER, KEPT)
    before, after, kept = parts
    data = clinc()
    first, then = changed_hands()
    whole = data.train.part(before + after, seed=5)
    old = _told(whole.at(range(before)), first)
    new = _told(whole.at(range(before, before + after)), then)
    test = data.test.part(900 if small else None)
    gate = _gate(embedder)
    _teach(gate, embedder, old)
    rows = [("before", _right(gate, embedder, _told(test, first)))]
    rows.append(("when the work has changed hands", _right(gate, embedder, _told(test, then))))
    _teach(gate, embedder, new)
    rows.append(("after new lessons", _right(gate, embedder, _told(test, then))))
    texts, right = [*old.texts, *new.texts], [*old.right, *new.right]
    anew = _gate(embedder)
    latest = Labelled(texts=texts[-kept:], right=right[-kept:])
    train(anew, latest, embedder(latest.texts))
    rows.append(("trained anew", _right(anew, embedder, _told(test, then))))
    return [Figure(name=f"shift: right {what}", value=value, unit="%") for what, value in rows]


def _told(labelled: Labelled, who: dict[str, str]) -> Labelled:
    return attrs.evolve(labelled, right=[who[one] for one in labelled.right])


def _gate(embedder: Vectorised) -> Gate:
    return new_gate(embedder, {name: (name.replace("_", " "),) for name in domains()})


def _teach(gate: Gate, embedder: Vectorised, lessons: Labelled) -> None:
    vectors = embedder(lessons.texts)
    for text, expert, vector in zip(lessons.texts, lessons.right, vectors, strict=True):
        gate.learn(Lesson(text=text, vector=vector, expert=expert, reward=1.0))


def _right(gate: Gate, embedder: Vectorised, test: Labelled) -> float:
    vectors = embedder(test.texts)
    found = [gate.rank(asked(text, one), 1) for text, one in zip(test.texts, vectors, strict=True)]
    hits = [one.choices[0].expert == right for one, right in zip(found, test.right, strict=True)]
    return 100 * float(np.mean(hits))
