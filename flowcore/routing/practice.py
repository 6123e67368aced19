"""In which order a gate that is trained anew goes over its lessons.

One step for each lesson leaves much of it unlearned where lessons are few, and the last ones count most. So a
new gate goes over them some more times, each time in another order, so that lessons which came sorted do not
stay so: what they have to tell is then learned nearly to the end. An eighth is held back meanwhile. When it
comes, the gate has not seen it, and is otherwise as good as done: what it measures by lessons that are new to
it, such as from when on nobody is there for a request, it measures by these.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

PRACTISED = 20_000
"""Lessons that are gone over again at most: of more there is enough in one pass; they have to be held."""
_HELD_BACK = 8
"""One of so many."""


def practice(lessons: int, times: int, seed: int) -> Iterator[tuple[list[int], bool]]:
    """Which lessons, in which order, and whether they are learned again; each is learned anew once.

    The same for the same seed.
    """
    rows = range(lessons)
    if not times:
        yield list(rows), False
        return
    chance = random.Random(seed)
    first = [row for row in rows if row % _HELD_BACK != _HELD_BACK - 1]
    yield first, False
    for _ in range(times - 1):
        order = first[:]
        chance.shuffle(order)
        yield order, True
    yield list(rows[_HELD_BACK - 1 :: _HELD_BACK]), False
    order = list(rows)
    chance.shuffle(order)
    yield order, True
