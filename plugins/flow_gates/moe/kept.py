"""A gate's state taken out of its parts for a snapshot, and given back to them."""

from __future__ import annotations

import msgspec
import numpy as np

from flow_gates.moe.ewc import ARRAYS
from flow_gates.moe.learner import Learner
from flow_gates.moe.metric import Metric
from flow_gates.moe.network import CELLS
from flow_gates.moe.replay import Example
from flow_gates.moe.scope import KEPT
from flow_gates.moe.snapshot import FORM, Examples, Reader, Row, State, Writer, array, raw
from flowcore.errors import DamagedState
from flowcore.text import BUCKETS, Features


def taken(learner: Learner) -> bytes:
    """The state of a gate as bytes."""
    network, ewc, replay, scope, track = (
        learner.network,
        learner.ewc,
        learner.replay,
        learner.scope,
        learner.track,
    )
    rows = len(learner.slots.names)
    worded = [*network.worded(rows)]
    writer = Writer()
    state = State(
        form=FORM,
        embedder=str(learner.identity),
        settings=learner.form,
        names=learner.slots.names,
        gone=learner.slots.gone,
        lessons=learner.lessons,
        taught=learner.taught,
        drawn=learner.chance.drawn,
        active=np.flatnonzero(learner.active).tolist(),
        ewc_points=ewc.points,
        ewc_moves=raw(np.array(ewc.moves[:rows], np.int32)),
        means={place: raw(sums) for place, sums in replay.means.items()},
        temperature=(
            learner.calibration.temperature,
            learner.calibration.lessons,
            raw(learner.calibration.bins),
        ),
        scope=(
            scope.threshold,
            scope.width,
            scope.seen,
            raw(scope.inside),
            raw(scope.outside),
        ),
        track=(
            track.judged,
            track.short,
            track.long,
            track.lessons,
            raw(track.means),
            track.replayed,
        ),
        worded=len(worded),
        exemplary=len(replay.examples),
        practised=learner.practised,
        mapped=network.metric.fitted,
    )
    writer.put(_packed(state))
    writer.put(raw(network.weights[:rows]))
    for name in ARRAYS:
        writer.put(raw(getattr(ewc, name)[:rows]))
    for row, buckets, values in worded:
        writer.put(_packed(Row(row, raw(buckets.astype(np.int32)), raw(values))))
    for place, examples in replay.examples.items():
        told = [_told(one) for one in examples]
        writer.put(_packed(Examples(place, replay.seen[place], told)))
    metric = network.metric
    if metric.shared is not None and metric.sums is not None:
        writer.put(raw(metric.shared))
        writer.put(raw(metric.sums[:rows]))
    return writer.done()


def given(learner: Learner, data: bytes) -> None:
    """Give a gate the state of a snapshot. Raises DamagedState before anything is changed."""
    reader = Reader(data, str(learner.identity), learner.form)
    state = reader.state
    dimensions = learner.identity.dimensions
    rows = len(state.names)
    weights = array(reader.raw(), np.float32, rows, dimensions)
    arrays = {name: array(reader.raw(), np.float32, rows, dimensions) for name in ARRAYS}
    moves = array(state.ewc_moves, np.int32, rows).tolist()
    words = {}
    for _ in range(state.worded):
        one = reader.take(Row)
        places = array(one.places, np.int32, -1)
        if len(places) and not 0 <= int(places.min()) <= int(places.max()) < CELLS:
            raise DamagedState(f"expected buckets below {CELLS}")
        words[one.row] = (places, array(one.values, np.float32, len(places)))
    examples, seen = {}, {}
    for _ in range(state.exemplary):
        of = reader.take(Examples)
        examples[of.row] = [_read(of.row, one, dimensions) for one in of.examples]
        seen[of.row] = of.seen
    metric = Metric()
    if state.mapped:
        shared = array(reader.raw(), np.float32, dimensions, dimensions)
        metric = Metric(shared, array(reader.raw(), np.float32, -1, dimensions))
        if metric.sums is not None and len(metric.sums) > rows:
            raise DamagedState(f"expected sums of {rows} rows, not {len(metric.sums)}")
    means = {place: array(one, np.float32, 2, dimensions) for place, one in state.means.items()}
    temperature, observed, bins = state.temperature
    threshold, width, fitted, inside, outside = state.scope
    judged, short, long, lessons, seen_means, replayed = state.track
    of_bins = array(bins, np.float64, *learner.calibration.bins.shape)
    of_scope = array(inside, np.float64, KEPT), array(outside, np.float64, KEPT)
    of_track = array(seen_means, np.float32, 2, dimensions)
    if any(not 0 <= row < rows for row in (*words, *examples, *state.active, *state.taught)):
        raise DamagedState(f"expected rows below {rows}")

    learner.slots.restore(state.names, state.gone)
    learner.lessons, learner.taught = state.lessons, state.taught
    learner.practised = state.practised
    learner.chance.drawn = state.drawn
    learner.network.restore(weights, words, metric)
    learner.ewc.restore(arrays, state.ewc_points, moves)
    learner.ewc.grow(learner.network.rows)
    learner.settle()
    learner.active = np.zeros(learner.network.rows, np.bool_)
    learner.active[state.active] = True
    learner.replay.means = means
    learner.replay.restore(examples, seen)
    calibration, scope, track = learner.calibration, learner.scope, learner.track
    calibration.temperature, calibration.lessons, calibration.bins = temperature, observed, of_bins
    scope.threshold, scope.width, scope.seen = threshold, width, fitted
    scope.inside, scope.outside = of_scope
    track.judged, track.short, track.long = judged, short, long
    track.lessons, track.means, track.replayed = lessons, of_track, replayed


def _packed(piece: State | Row | Examples) -> bytes:
    return msgspec.msgpack.encode(piece)


def _told(example: Example) -> tuple[bytes, ...]:
    features = example.features
    parts = (example.vector, features.buckets, features.values, example.rivals, example.said)
    return tuple(raw(part) for part in parts)


def _read(place: int, told: tuple[bytes, ...], dimensions: int) -> Example:
    try:
        vector, buckets, values, rivals, said = told
    except ValueError:
        raise DamagedState(f"expected 5 parts of an example, not {len(told)}") from None
    found = array(buckets, np.int32, -1)
    if len(found) and not 0 <= int(found.min()) <= int(found.max()) < BUCKETS:
        raise DamagedState(f"expected buckets below {BUCKETS}")
    return Example(
        place=place,
        vector=array(vector, np.float32, dimensions),
        features=Features(found, array(values, np.float32, len(found))),
        rivals=array(rivals, np.int64, -1),
        said=array(said, np.float32, -1),
    )
