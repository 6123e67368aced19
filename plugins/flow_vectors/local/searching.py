"""A search: the front and small segments exactly, the others by their graphs, in one answer."""

from __future__ import annotations

import math

import attrs
import numpy as np

from flow_vectors.checking import Ids, Mask, Vectors
from flow_vectors.local.rows import Segment, Snapshot
from flow_vectors.nearest import Scores, Where, asked, joined, nearest, scores
from flowcore.routing import Metric

NARROW = "exact search: the filter leaves few"
REMOVED = "exact search: many are removed"
BUILDING = "exact search: the graph is not built yet"

_WIDEN = 4
"""How many times more candidates are asked for when too few of them count."""
_MOST = 2048
"""Candidates beyond which it is faster to look at each row."""
_SHARE = 4
"""A graph is asked for at most one of so many of its rows."""


@attrs.define(eq=False)
class Task:
    """What is searched for."""

    query: Vectors
    k: int
    metric: Metric
    where: Where | None = None


@attrs.define(eq=False)
class Found:
    """An answer, and what it fell back on."""

    ids: Ids
    scores: Scores
    fallbacks: tuple[str, ...] = ()


def exact(now: Snapshot, task: Task) -> Found:
    """Every vector is looked at."""
    answers = [_front(now, task)] + [_each(one, now.version, task) for one in now.segments]
    return Found(*joined([ids for ids, _ in answers], [found for _, found in answers], task.k))


def search(now: Snapshot, task: Task, least: int) -> Found:
    """By graphs where there are any; segments of fewer rows than `least` need none."""
    ids: list[Ids] = []
    found: list[Scores] = []
    fallbacks: set[str] = set()
    worst = -math.inf
    for segment in now.segments:
        if segment.graph is not None:
            answer = _by_graph(segment, now.version, task, fallbacks)
        else:
            if len(segment.ids) >= least:
                fallbacks.add(BUILDING)
            answer = _each(segment, now.version, task)
        ids.append(answer[0])
        found.append(answer[1])
        if len(answer[1]) == task.k:
            worst = max(worst, float(answer[1][-1]))
    if len(now.ids):  # last, for hardly any of it is nearer than what graphs have found
        some = _front(now, task, worst)
        if len(some[0]):
            ids.append(some[0])
            found.append(some[1])
    return Found(*joined(ids, found, task.k), tuple(fallbacks))


def _front(now: Snapshot, task: Task, least: float = -math.inf) -> tuple[Ids, Scores]:
    """The best of the front, of those that score `least` or more."""
    mask = now.front_mask
    return nearest(now.ids, now.rows, mask, task.query, task.k, task.metric, task.where, least)


def _each(segment: Segment, version: int, task: Task) -> tuple[Ids, Scores]:
    mask = segment.mask(version)
    return nearest(segment.ids, segment.rows, mask, task.query, task.k, task.metric, task.where)


def _by_graph(
    segment: Segment, version: int, task: Task, fallbacks: set[str]
) -> tuple[Ids, Scores]:
    """The best of a graph's candidates, by their own vectors; more of them until enough count."""
    assert segment.graph is not None
    most = min(_MOST, len(segment.ids) // _SHARE)
    count = task.k
    # as many as if none were dead, on average
    times = len(segment.ids) / segment.alive if 0 < segment.dead < len(segment.ids) else 1.0
    while count <= most:
        rows = segment.graph.candidates(task.query, count, times)
        rows.sort()  # the order of the file
        ids, kept = _counting(segment, rows, version, task.where)
        if len(ids) >= task.k:
            near = scores(segment.rows.take(kept, axis=0), task.query, task.metric)
            # of equal ones those of smaller ids
            if segment.order is None:
                order = np.negative(near).argsort(kind="stable")[: task.k]
            else:
                order = np.lexsort((ids, np.negative(near)))[: task.k]
            return ids[order], near[order]
        if len(rows) < count:
            break  # it has no more to give
        count *= _WIDEN
    if task.where is not None:
        fallbacks.add(NARROW)
    elif segment.alive > task.k:
        fallbacks.add(REMOVED)
    return _each(segment, version, task)


def _counting(segment: Segment, rows: Ids, version: int, where: Where | None) -> tuple[Ids, Ids]:
    """Those of the rows that count, as ids and as rows."""
    if segment.dead:
        alive: Mask = segment.died[rows] > version
        rows = rows[alive]
    ids = segment.ids[rows]
    if where is not None and len(ids):
        wanted = asked(ids, where)
        ids, rows = ids[wanted], rows[wanted]
    return ids, rows
