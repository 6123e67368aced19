"""The right one of many: how often the gate finds it, from descriptions and after learning; what it costs.

One configuration, the defaults, for all data sets; thresholds and temperatures are what the gate fitted while
it learned. `SMALL=1` in the environment takes a part of each set: for development, not for results.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import mcp_tasks
from benchmarks.datasets import (
    EMBEDDERS,
    ROOT,
    Dataset,
    Labelled,
    Vectorised,
    clinc,
    missing,
    toole,
)
from benchmarks.report import Figure, Peer, absent
from benchmarks.teaching import NEAR, SEED, asked, auroc, judge, nearest, new_gate, rankings, train
from flow_embedders.projection import Projection
from flowcore.routing import Gate, Lesson
from flowcore.routing.experts import texts_said

SMALL = bool(os.environ.get("SMALL"))
MOST = 600 if SMALL else None
"""Of each test set."""
LESSONS = 3_000 if SMALL else None
EXPERTS = 1000
PARTS = 7
"""Experts made of an intent, where times are measured."""
TOLD = 1_000 if SMALL else 5_000
PEER = ROOT / ".peers" / "routing" / "bin" / "python"
PROGRAM = ROOT / "benchmarks" / "peers_programs" / "semantic_routes.py"

# by embedder: top-1 and top-8, in per cent
BARS: dict[str, dict[str, tuple[float | None, float | None]]] = {
    "hashed": {"CLINC150, descriptions": (52, 70), "CLINC150, all examples": (89, 98)},
    "MiniLM": {
        "CLINC150, descriptions": (69, 92.5),
        "CLINC150, 5 examples": (88.5, None),
        "CLINC150, all examples": (95.5, 99.7),
        "ToolE, descriptions": (58, 84),
        "ToolE, learned": (86.5, 98),
    },
}


def run() -> list[Figure]:
    """Per cent right for each data set and embedder; milliseconds of a ranking and of a lesson."""
    why = missing()
    if why:
        return [
            Figure(name="data sets", value=None, unit="%", bar=100, peers={"data": absent(why)})
        ]
    figures = []
    for name in EMBEDDERS:
        try:
            embedder = Vectorised(name)
        except FileNotFoundError as error:
            told = {name: absent(str(error))}
            figures.append(Figure(name=name, value=None, unit="%", bar=100, peers=told))
            continue
        figures += _of_clinc(embedder)
        figures += _of_toole(embedder)
        figures += _of_tasks(embedder)
    return figures + _times(Vectorised("hashed"))


def setup() -> dict[str, str]:
    """How it is measured."""
    return {
        "gate": f"moe by its defaults, seed {SEED}; lessons in an order drawn by chance, learned as a node"
        " trains its gate anew on them after an import",
        "near": f"the {NEAR} nearest of all lessons by cosine, as the pattern store gives them",
        "descriptions": "no lesson and no pattern; CLINC150: an intent's name as words",
        "ToolE": "a fifth of the queries with one right tool to be judged by, split with seed 0",
        "tasks": "three for each of 186 real MCP tools; from descriptions alone",
        "semantic-router": "1.1, its SemanticRouter by its defaults, given the same MiniLM vectors: its time"
        " is without the model's",
        "times": f"{EXPERTS} experts; each query once; its text has just been hashed by the embedder, as in a"
        " node; one thread",
        "small": "yes: a part of each set" if SMALL else "no",
    }


def _pair(
    embedder: Vectorised, what: str, first: float, among: float, **peers: Peer
) -> list[Figure]:
    bars = BARS[embedder.name].get(what, (None, None))
    name = f"{embedder.name}: {what}"
    return [
        Figure(name=name, value=first, unit="%", bar=bars[0], least=True, peers=peers),
        Figure(name=f"{name}, in the first 8", value=among, unit="%", bar=bars[1], least=True),
    ]


def _of_clinc(embedder: Vectorised) -> list[Figure]:
    whole = clinc()
    test = whole.test.part(MOST)
    queries = embedder(test.texts)
    cold = judge(new_gate(embedder, whole.experts), test, queries)
    figures = _pair(embedder, "CLINC150, descriptions", cold.first, cold.among)
    for shots in (5, 10):
        few = clinc(shots)
        gate, near = _taught(embedder, few, queries)
        found = judge(gate, test, queries, near)
        figures += _pair(embedder, f"CLINC150, {shots} examples", found.first, found.among)
    gate, near = _taught(embedder, whole, queries)
    found = judge(gate, test, queries, near)
    alone = judge(gate, test, queries)
    theirs = _semantic_router(embedder, whole, test) if embedder.name == "MiniLM" else None
    peers = {"semantic-router": theirs[0]} if theirs else {}
    figures += _pair(embedder, "CLINC150, all examples", found.first, found.among, **peers)
    figures.append(_figure(embedder, "CLINC150, all examples, without patterns", alone.first))
    figures.append(_figure(embedder, "CLINC150, all examples, calibration error", found.off))
    outside = whole.outside[:MOST]
    strangers = embedder(outside)
    votes = nearest(whole.train, embedder(whole.train.texts), strangers)
    unknown = [one.known for one in rankings(gate, outside, strangers, votes, 1)]
    area = auroc(found.known, unknown)
    bar = 97.5 if embedder.name == "MiniLM" else None
    figures.append(_figure(embedder, "CLINC150, out of scope: AUROC", area, bar))
    kept = 100 * float(np.mean(np.array(found.known) >= 0.5))
    told = 100 * float(np.mean(np.array(unknown) < 0.5))
    figures.append(_figure(embedder, "CLINC150, in scope and taken for it", kept))
    figures.append(_figure(embedder, "CLINC150, out of scope and told so", told))
    if theirs:
        peer = {"semantic-router": theirs[1]}
        took = _rank_time(gate, test, queries)
        figures.append(
            Figure(name="MiniLM: a route without the model, p50", value=took, unit="ms", peers=peer)
        )
    return figures


def _figure(embedder: Vectorised, what: str, value: float, bar: float | None = None) -> Figure:
    return Figure(name=f"{embedder.name}: {what}", value=value, unit="%", bar=bar, least=True)


def _taught(embedder: Vectorised, data: Dataset, queries: Any) -> tuple[Gate, Any]:
    """A gate that was told all lessons as by an import, and the patterns near to each query."""
    gate = new_gate(embedder, data.experts)
    lessons = data.train.part(LESSONS)
    vectors = embedder(lessons.texts)
    train(gate, lessons, vectors)
    return gate, nearest(lessons, vectors, queries)


def _of_toole(embedder: Vectorised) -> list[Figure]:
    data = toole()
    test = data.test.part(MOST)
    queries = embedder(test.texts)
    cold = judge(new_gate(embedder, data.experts), test, queries)
    gate, near = _taught(embedder, data, queries)
    found = judge(gate, test, queries, near)
    return [
        *_pair(embedder, "ToolE, descriptions", cold.first, cold.among),
        *_pair(embedder, "ToolE, learned", found.first, found.among),
    ]


def _of_tasks(embedder: Vectorised) -> list[Figure]:
    """Tasks for real MCP tools, from what the tools say of themselves."""
    said = {name: texts_said(name, tool) for name, tool in mcp_tasks.tools().items()}
    gate = new_gate(embedder, said)
    figures = []
    for terse in (False, True):
        tasks = mcp_tasks.tasks(terse=terse)[:MOST]
        texts = [task.text for task in tasks]
        ranked = rankings(gate, texts, embedder(texts))
        hits = [
            [choice.expert in task.right for choice in ranking.choices]
            for ranking, task in zip(ranked, tasks, strict=True)
        ]
        name = f"{embedder.name}: tasks of 186 MCP tools" + (", said tersely" if terse else "")
        first = 100 * float(np.mean([hit[0] for hit in hits]))
        among = 100 * float(np.mean([any(hit) for hit in hits]))
        bar = 97.0 if embedder.name == "MiniLM" and not terse else None
        figures.append(Figure(name=name, value=first, unit="%"))
        figures.append(
            Figure(name=f"{name}, in the first 8", value=among, unit="%", bar=bar, least=True)
        )
    return figures


def _rank_time(gate: Gate, test: Labelled, queries: Any) -> float:
    """Milliseconds of a ranking, the median."""
    took = []
    for text, vector in zip(test.texts[:1000], queries, strict=False):
        query = asked(text, vector)
        began = time.perf_counter()
        gate.rank(query, 8)
        took.append(time.perf_counter() - began)
    return median(took) * 1e3


def _times(embedder: Vectorised) -> list[Figure]:
    """A ranking and a lesson with many experts, each of which had lessons before.

    Experts are parts of intents: each of CLINC150's lessons is of the nearest of seven of its intent.
    """
    lessons = clinc().train.part(None)
    vectors = embedder(lessons.texts)
    experts: dict[str, list[int]] = {}
    for row, intent in enumerate(lessons.right):
        own = experts.setdefault(intent, [])
        if len(own) < PARTS:
            own.append(row)
    said: dict[str, tuple[str, ...]] = {
        f"{intent}.{row}": (intent, lessons.texts[row])
        for intent, own in experts.items()
        for row in own
    }
    gate = new_gate(embedder, dict(list(said.items())[:EXPERTS]))

    def lesson(row: int) -> Lesson:
        intent = lessons.right[row]
        own = experts[intent]
        part = own[int(np.argmax(vectors[own] @ vectors[row]))]
        return Lesson(
            text=lessons.texts[row], vector=vectors[row], expert=f"{intent}.{part}", reward=1.0
        )

    for row in range(TOLD):
        gate.learn(lesson(row))
    hashed = Projection(embedder.identity.dimensions)
    learned, ranked = [], []
    for row in range(TOLD, 2 * TOLD):
        one = lesson(row)
        hashed(one.text)
        began = time.perf_counter()
        gate.learn(one)
        learned.append(time.perf_counter() - began)
    for row in range(2 * TOLD, 3 * TOLD):
        query = asked(lessons.texts[row], vectors[row])
        hashed(query.text)
        began = time.perf_counter()
        gate.rank(query, 8)
        ranked.append(time.perf_counter() - began)
    figures = []
    for what, took, bar in (("a ranking", ranked, 0.1), ("a lesson", learned, 0.3)):
        ordered = sorted(took)
        for name, value, limit in (
            ("p50", median(ordered), bar),
            ("p99", ordered[int(0.99 * len(ordered))], None),
        ):
            what_of = f"{what}, {EXPERTS} experts, {name}"
            figures.append(Figure(name=what_of, value=value * 1e3, unit="ms", bar=limit))
    return figures


def _semantic_router(embedder: Vectorised, data: Dataset, test: Labelled) -> tuple[Peer, Peer]:
    """What it is right in, in per cent, and milliseconds a route, in an environment of its own."""
    if not PEER.exists():
        none = absent(f"is not installed: {PEER.relative_to(ROOT)} is missing")
        return none, none
    train = data.train
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part, labelled in (("train", train), ("test", test)):
            np.save(folder / f"{part}.npy", embedder(labelled.texts))
            told = {"texts": labelled.texts, "right": labelled.right}
            (folder / f"{part}.json").write_text(json.dumps(told))
        done = subprocess.run(
            [str(PEER), str(PROGRAM), name], capture_output=True, text=True, check=False
        )
    if done.returncode:
        why = absent(f"failed: {done.stderr.strip().splitlines()[-1:]}")
        return why, why
    found = json.loads(done.stdout.splitlines()[-1])
    return Peer(round(found["right"], 3), None), Peer(round(found["milliseconds"], 4), None)
