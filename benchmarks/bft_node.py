"""One node of a bft cluster behind HTTP: as `raft_node`, with `type = "bft"` and the voters' certificates.

`python -m benchmarks.bft_node FOLDER PORT NAME LINKS OTHER ...`
"""

from __future__ import annotations

import functools
import pathlib
import sys

import trio

import flowcore
from benchmarks.raft_node import answer, config
from flowcore.config import Address
from flowcore.http import Limits, open_http_server


async def main(folder: pathlib.Path, port: str, name: str, links: str, others: list[str]) -> None:
    """Serve for ever."""
    made = config(folder, name, links, others)
    voters = made["consensus"]["voters"]
    made["consensus"] = {"type": "bft", "voters": voters, "certificates": str(folder)}
    async with (
        flowcore.open_flow(made) as flow,
        open_http_server(
            functools.partial(answer, flow), Address("127.0.0.1", int(port)), limits=Limits()
        ),
    ):
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:])
