"""A process that fills an index and saves it without end, saying each position it has saved: to be killed.

`python -m support.dying_index FOLDER KIND`. At position p the index holds the ids 0 to 4 p that are no
multiple of 5, each with the vector of its turn.
"""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import trio

from support.indexes import local, space, vectors

STEP = 4


def content(position: int) -> set[int]:
    """What the index holds at a position."""
    return {one for one in range(position * STEP) if one % 5}


async def main(folder: pathlib.Path, kind: str) -> None:
    async with local(kind, folder).open_index("a", space()) as index:
        position = index.position
        while True:
            numbers = np.arange(position * STEP, position * STEP + STEP)
            await index.add(numbers, vectors(STEP, position))
            await index.remove(numbers[numbers % 5 == 0])
            position += 1
            await index.save(position)
            print(position, flush=True)


if __name__ == "__main__":
    trio.run(main, pathlib.Path(sys.argv[1]), sys.argv[2])
