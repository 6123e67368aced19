"""A gate's state taken out of its parts for a snapshot, and given back to them."""

from __future__ import annotations

import numpy as np

from flow_gates.moe.ewc import ARRAYS
from flow_gates.moe.learner import Learner
from flow_gates.moe.replay import Example
from flow_gates.moe.scope import KEPT
from flow_gates.moe.snapshot import FORM, State, array, packed, raw, unpacked
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
    words = {
        row: (raw(buckets.astype(np.int32)), raw(values))
        for row, (buckets, values) in network.words_of(rows).items()
    }
    return packed(
        State(
            form=FORM,
            embedder=str(learner.identity),
            settings=learner.form,
            names=learner.slots.names,
            gone=learner.slots.gone,
            lessons=learner.lessons,
            taught=learner.taught,
            drawn=learner.chance.drawn,
            active=np.flatnonzero(learner.active).tolist(),
            weights=raw(network.weights[:rows]),
            words=words,
            ewc={name: raw(getattr(ewc, name)[:rows]) for name in ARRAYS},
            ewc_points=ewc.points,
            ewc_moves=raw(ewc.moves[:rows]),
            examples=[
                (place, replay.seen[place], [_told(one) for one in examples])
                for place, examples in replay.examples.items()
            ],
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
        )
    )


def given(learner: Learner, data: bytes) -> None:
    """Give a gate the state of a snapshot. Raises DamagedState before anything is changed."""
    state = unpacked(data, str(learner.identity), learner.form)
    dimensions = learner.identity.dimensions
    rows = len(state.names)
    weights = array(state.weights, np.float32, rows, dimensions)
    moves = array(state.ewc_moves, np.int32, rows)
    arrays = {name: array(state.ewc[name], np.float32, rows, dimensions) for name in ARRAYS}
    words = {
        row: (array(places, np.int32, -1), array(values, np.float32, -1))
        for row, (places, values) in state.words.items()
    }
    examples = {
        place: [_read(place, one, dimensions) for one in kept] for place, _, kept in state.examples
    }
    means = {place: array(one, np.float32, 2, dimensions) for place, one in state.means.items()}
    temperature, observed, bins = state.temperature
    threshold, width, seen, inside, outside = state.scope
    judged, short, long, lessons, seen_means, replayed = state.track
    of_bins = array(bins, np.float64, *learner.calibration.bins.shape)
    of_scope = array(inside, np.float64, KEPT), array(outside, np.float64, KEPT)
    of_track = array(seen_means, np.float32, 2, dimensions)
    if any(not 0 <= row < rows for row in (*words, *examples, *state.active, *state.taught)):
        raise DamagedState(f"expected rows below {rows}")

    learner.slots.restore(state.names, state.gone)
    learner.lessons, learner.taught = state.lessons, state.taught
    learner.chance.drawn = state.drawn
    learner.network.restore(weights, words)
    learner.ewc.restore(arrays, state.ewc_points, moves)
    learner.ewc.grow(learner.network.rows)
    learner.settle()
    learner.active[:] = False
    learner.active[state.active] = True
    learner.replay.means = means
    learner.replay.restore(examples, {place: count for place, count, _ in state.examples})
    calibration, scope, track = learner.calibration, learner.scope, learner.track
    calibration.temperature, calibration.lessons, calibration.bins = temperature, observed, of_bins
    scope.threshold, scope.width, scope.seen = threshold, width, seen
    scope.inside, scope.outside = of_scope
    track.judged, track.short, track.long = judged, short, long
    track.lessons, track.means, track.replayed = lessons, of_track, replayed


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
