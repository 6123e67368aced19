"""flowserve processes of a bft cluster, one of them a build that lies."""

from __future__ import annotations

import contextlib
import json
import pathlib
from collections.abc import Generator

from support.cluster import Cluster
from support.node import ROOT

LIAR = f"{ROOT}/tests/support/bft/lying_plugin.py"
MORE = """
[consensus]
type = "bft"
voters = @voters@
[router]
gate = "similarity"
[requests]
guards = ["book"]
[guard.book]
type = "audit"
file = "audit-@name@.jsonl"
"""


@contextlib.contextmanager
def lying_nodes(
    folder: pathlib.Path, names: tuple[str, ...], liar: str, more: str = ""
) -> Generator[Cluster]:
    """Nodes of which one lies; `more` is TOML that each has besides."""
    text = MORE.replace("@voters@", json.dumps(names)) + more
    made = Cluster(folder, names, "", text, "mesh")
    made.prepare()
    for name in names:
        path = folder / f"{name}.toml"
        path.write_text(path.read_text().replace("@name@", name))
    path = folder / f"{liar}.toml"
    text = path.read_text().replace('type = "bft"', 'type = "bft_liar"')
    path.write_text(f"[plugins]\nfiles = [{json.dumps(LIAR)}]\n{text}")
    try:
        made.start(*names)
        yield made
    finally:
        made.close()


def evidence(made: Cluster, name: str) -> dict[str, str]:
    """Who lies, as a node says."""
    _, answer = made.ask(name, "/state")
    found: dict[str, str] = answer["consensus"]["evidence"]
    return found
