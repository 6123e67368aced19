"""Which segments become one, and which get a graph: the logarithmic method (Bentley, Saxe 1980).

A segment is merged with others when all that is smaller has grown to its size, so each row is written about
as often as the collection has doubled. A graph that can be gone on with is merged sooner, when all that is
smaller has an eighth of its rows: only theirs are added to it, and to copy a row takes a hundredth of that.
What has died in it stays in it, as nobody's, until it is too much: then it is built anew. Sans-IO.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from flow_vectors.local.rows import Segment

_SMALL = 4
"""So many segments without a graph are left alone if they are too small for one."""
_HOLES, _MASKED = 0.3, 0.4
"""A segment of which a greater share is dead is written again, and its graph built anew; the second where the
graph can be gone on with, for then that is all that it is built anew for."""
_GROWN = 8
"""How many times as many rows a graph may have that is gone on with for others."""
_LITTLE, _MUCH = 32, 8
"""Where there is nothing else to do, graphs are put into the greatest one if they have at least one of so
many of its rows: where it can be gone on with, and where it must be built anew."""


@attrs.frozen
class Plan:
    """Segments that are to be one; one alone gets its graph, or is freed of what is dead in it."""

    inputs: tuple[Segment, ...]
    graph: bool
    """Whether what comes of it gets a graph."""
    at_once: bool
    """Whether it takes the place of its inputs before it has a graph: none of them has one, either."""
    base: Segment | None = None
    """The one whose graph is gone on with."""


def plan(segments: Sequence[Segment], least: int | None, grows: bool = False) -> Plan | None:
    """What to do next, None if all is well. Segments of `least` rows and more get graphs; None: none does.

    With `grows` a graph can be gone on with.
    """
    plain = [one for one in segments if one.graph is None]
    graphs = sorted((one for one in segments if one.graph is not None), key=lambda one: one.alive)
    if least is None:
        return _of_rows(segments)
    total = sum(one.alive for one in plain)
    chosen = plain if total >= least or len(plain) > _SMALL else []
    if chosen:
        for one in graphs:
            times = _GROWN if grows and _sound(one, grows) else 1
            if total >= least and one.alive <= total * times:
                chosen = [*chosen, one]
                total += one.alive
        return Plan(
            tuple(chosen),
            graph=total >= least,
            at_once=all(one.graph is None for one in chosen),
            base=_base(chosen) if grows else None,
        )
    return _holes(segments, least, grows)


def in_one(segments: Sequence[Segment], grows: bool = False) -> Plan | None:
    """What to do when there is nothing to do: have one graph rather than several, if that is worth it.

    Where the greatest graph can be gone on with, only the rows of the others cost time, and to write all of
    them a little; where it cannot, all of it is built anew.
    """
    graphs = sorted((one for one in segments if one.graph is not None), key=lambda one: one.alive)
    if len(graphs) < 2:
        return None
    base = graphs[-1] if grows and _sound(graphs[-1], grows) else None
    rows = sum(one.alive for one in graphs[:-1])
    if rows * (_MUCH if base is None else _LITTLE) < graphs[-1].alive:
        return None
    return Plan(tuple(graphs), graph=True, at_once=False, base=base)


def _sound(one: Segment, grows: bool) -> bool:
    """Whether not too much of it is dead."""
    most = _MASKED if grows and one.graph is not None else _HOLES
    return one.dead <= most * len(one.ids)


def _base(chosen: Sequence[Segment]) -> Segment | None:
    """The one of the most rows whose graph can be gone on with."""
    graphs = [one for one in chosen if one.graph is not None and _sound(one, True)]
    return max(graphs, key=lambda one: one.alive, default=None)


def _of_rows(segments: Sequence[Segment]) -> Plan | None:
    ordered = sorted(segments, key=lambda one: one.alive)
    if len(ordered) > _SMALL:
        chosen, total = ordered[:2], sum(one.alive for one in ordered[:2])
        for one in ordered[2:]:
            if one.alive <= total:
                chosen.append(one)
                total += one.alive
        return Plan(tuple(chosen), graph=False, at_once=True)
    return _holes(segments, None, False)


def _holes(segments: Sequence[Segment], least: int | None, grows: bool) -> Plan | None:
    for one in segments:
        if not _sound(one, grows):
            return Plan(
                (one,),
                graph=least is not None and one.alive >= least,
                at_once=one.graph is None,
            )
    return None
