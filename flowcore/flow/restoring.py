"""A node's first start from a snapshot: put where its log is, before it is started.

The state is then what the log begins with, as if everything before had been compacted. It goes into a folder
in which nothing is yet: what is there, others may have been promised.
"""

from __future__ import annotations

import pathlib
from collections.abc import AsyncGenerator

import trio

from flowcore.assembly import Reading
from flowcore.errors import FlowError, StateUnavailable, UntrustedFile
from flowcore.flow.build import open_parts
from flowcore.flow.node import Flow
from flowcore.state import (
    STATE_FILE,
    About,
    SnapshotInfo,
    Storage,
    TakesRestored,
    check_archive,
    unpacked,
)


async def restore(made: Reading, path: pathlib.Path, *, from_cluster: str = "") -> About:
    """Put a snapshot where the node of this configuration begins; what it was of.

    `from_cluster` is the cluster it is of, where that is meant to be another one. Raises UntrustedFile for a
    file that is damaged, newer or another cluster's, StateUnavailable where the node has a state already.
    """
    about = await trio.to_thread.run_sync(check_archive, path)
    own = cluster_of(made)
    if about.cluster not in ("", own, from_cluster):
        raise UntrustedFile(
            f"{path} is of cluster {about.cluster!r}, and this node is of {own!r}; if that is meant, say"
            f" --from-cluster {about.cluster}"
        )
    folder = made.config.node.data_dir
    if (folder / STATE_FILE).exists():
        raise StateUnavailable(f"{folder / STATE_FILE} is there: this node has a state already")
    flow = Flow(made.config, made.plan, made.plugins)
    kinds = [one.kind for one in flow.plan.components]
    if not {"storage", "consensus"} & set(kinds):
        raise StateUnavailable(
            "this node keeps no hard state: it has none of [state], [consensus] and [storage]"
        )
    info = SnapshotInfo(position=about.position, term=about.term)
    kind = "storage" if "storage" in kinds else "consensus"
    refused: FlowError | None = None  # what leaves the block may come out of it in a group
    async with open_parts(flow, made.folder, kind) as part:
        try:
            if kind == "storage":
                await _into(part, info, path)
            elif isinstance(part, TakesRestored):
                await part.restore(info, _pieces(path))
            else:
                refused = StateUnavailable("its consensus takes no snapshot to begin with")
        except FlowError as error:
            refused = error
    if refused is not None:
        raise refused
    return about


def cluster_of(made: Reading) -> str:
    """The cluster that a node is of, by its configuration; empty where it is alone."""
    chosen = [one.selection.config for one in made.plan.of_kind("consensus")]
    said = getattr(chosen[0], "cluster", "") if chosen else ""
    return said or ("" if made.config.swarm is None else made.config.swarm.cluster)


async def _into(storage: Storage, info: SnapshotInfo, path: pathlib.Path) -> None:
    if storage.last or storage.hard_state or storage.snapshot is not None:
        raise StateUnavailable(
            f"this node has a log already, up to {storage.last}: put its data folder away first"
        )
    await storage.save_snapshot(info, _pieces(path))
    await storage.reset(info.position, info.term)


async def _pieces(path: pathlib.Path) -> AsyncGenerator[bytes]:
    pieces = unpacked(path)
    while (piece := await trio.to_thread.run_sync(next, pieces, None)) is not None:
        yield piece
