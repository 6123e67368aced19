"""The one file that says what an index consists of, and how it is read again."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import numpy as np

from flow_vectors.local import files
from flow_vectors.local.graphs import GraphMaker, reopened
from flow_vectors.local.rows import ALIVE, Front, Segment, Snapshot, read_rows
from flowcore.errors import DamagedState, OtherSpace
from flowcore.routing import Identity, Space

logger = logging.getLogger(__name__)

STATE = "state"


@attrs.frozen(eq=False)
class Loaded:
    """What was read from disk."""

    front: Front
    segments: tuple[Segment, ...] = ()
    position: int = 0
    opened: str = "new"
    """In words: `new`, `as saved`, or why it is empty."""


def write_state(folder: pathlib.Path, space: Space, now: Snapshot, position: int) -> None:
    """Write what there is at a snapshot; no change may come meanwhile. Raises OSError."""
    kept = np.flatnonzero(now.died == ALIVE)
    about = {
        "space": told(space),
        "position": position,
        "segments": [[one.name, len(one.ids)] for one in now.segments],
    }
    alive = [np.packbits(one.died == ALIVE) for one in now.segments]
    arrays = [
        ("ids", "<i8", (len(kept),)),
        ("rows", "<f4", (len(kept), space.identity.dimensions)),
        *(
            (f"alive {one.name}", "|u1", bits.shape)
            for one, bits in zip(now.segments, alive, strict=True)
        ),
    ]
    with files.writing(folder / STATE, about, arrays) as writer:
        writer.put(now.ids[kept].astype("<i8", copy=False))
        writer.put(now.rows[kept].astype("<f4", copy=False))
        for bits in alive:
            writer.put(bits)


def load(folder: pathlib.Path, space: Space, maker: GraphMaker | None) -> Loaded:
    """What was saved last; empty, with the reason, if any of it cannot be trusted. Raises OtherSpace."""
    empty = Front.empty(space.identity.dimensions)
    if not (folder / STATE).exists():
        left = [path.name for path in folder.glob("*.rows")]
        return Loaded(empty, opened="new: what is there was never saved" if left else "new")
    try:
        about, arrays = files.read(folder / STATE)
        check_space(folder.name, about["space"], space)
        segments = []
        for name, count in about["segments"]:
            segment = read_rows(folder, name)
            if len(segment.ids) != count:
                raise DamagedState(f"{name}.rows has {len(segment.ids)} rows, {count} were saved")
            bits = np.unpackbits(arrays[f"alive {name}"], count=count)
            segment.kill(np.flatnonzero((bits == 0) & (segment.died == ALIVE)), 0)
            segments.append(segment)
    except DamagedState as error:
        logger.error("index %s: %s: it is opened empty, and must be filled again", folder, error)
        return Loaded(empty, opened=f"empty: {error}")
    if maker is not None:
        for one in segments:
            one.graph = reopened(maker, folder, one.name, one.rows, space.metric)
    empty.append(np.array(arrays["ids"]), np.array(arrays["rows"]))
    return Loaded(empty, tuple(segments), about["position"], "as saved")


def told(space: Space) -> dict[str, Any]:
    """A space as plain data."""
    return attrs.asdict(space)


def check_space(name: str, saved: Mapping[str, Any], space: Space) -> None:
    """Raise OtherSpace if what is saved is of another space."""
    if dict(saved) != told(space):
        other = Space(identity=Identity(**saved["identity"]), metric=saved["metric"])
        raise OtherSpace(
            f"index {name!r} holds vectors of {other.identity}, compared by {other.metric}; asked for are"
            f" those of {space.identity}, compared by {space.metric}: run `flowctl memory reembed`, or"
            " configure what it was made with"
        )


def sweep(folder: pathlib.Path, used: Callable[[str], bool]) -> None:
    """Remove the files of segments that are not used any more."""
    for path in list(folder.iterdir()):
        if path.name != STATE and not used(path.name.partition(".")[0]):
            path.unlink(missing_ok=True)


def on_disk(folder: pathlib.Path) -> int:
    """Bytes of an index's files."""
    total = 0
    for path in folder.glob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue  # swept meanwhile
    return total
