"""A namespace of memory as a map: its patterns as points in a plane, so that what is alike lies together.

The plane is that of the two directions in which the vectors differ most (principal component analysis,
Pearson 1901). It is exact; how much of all difference it shows is told with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from flowcore.interfaces import Host

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Matrix = npt.NDArray[np.float32]

POINTS = 1000
"""Most points of a map: the patterns that were put last."""
_TEXT = 200

_one_at_a_time = trio.CapacityLimiter(1)


async def map_of(host: Host, namespace: str, most: int, text: str = "") -> dict[str, Any]:
    """The latest `most` patterns of a namespace, each with a place; `text` gets one, too, if it is given.

    Patterns of another embedder than this node's have no place in the plane, and are counted. Raises
    CallError where there is no router, and for a text that is too long.
    """
    from flowcore.state import ReadLevel

    router, state = host.router, host.state
    counts = (await state.counts(level=ReadLevel.STALE)).namespaces
    page = await state.list_patterns(
        namespace, order="time", descending=True, limit=most, level=ReadLevel.STALE
    )
    identity = router.embedder.identity
    placed = [
        one
        for one in page.patterns
        if one.embedder == str(identity) and len(one.vector) == 4 * identity.dimensions
    ]
    query = None
    if text:
        router.memory.check_text(text)
        (query,) = await router.embedder.embed([text])
    vectors = [one.vector for one in placed]
    places, shares, asked = await trio.to_thread.run_sync(
        _placed, vectors, query, limiter=_one_at_a_time
    )
    return {
        "namespace": namespace,
        "namespaces": {name: one.patterns for name, one in sorted(counts.items())},
        "count": counts[namespace].patterns if namespace in counts else 0,
        "foreign": len(page.patterns) - len(placed),
        "shares": shares,
        "asked": asked,
        "points": [
            {
                "key": one.key,
                "text": one.text[:_TEXT],
                "expert": one.expert,
                "time": one.time,
                "x": x,
                "y": y,
            }
            for one, (x, y) in zip(placed, places, strict=True)
        ],
    }


def _placed(
    vectors: list[bytes], query: Matrix | None
) -> tuple[list[list[float]], list[float], list[float] | None]:
    """(places, the share of all variance that each axis shows, the place of the query)."""
    import numpy as np

    if not vectors:
        return [], [0.0, 0.0], None if query is None else [0.0, 0.0]
    matrix = np.frombuffer(b"".join(vectors), "<f4").reshape(len(vectors), -1)
    middle = matrix.mean(axis=0)
    centred = (matrix - middle).astype(np.float64)
    axes, variances = principal_axes(centred)
    whole = float((centred**2).sum())
    shares = [float(one) / whole if whole > 0 else 0.0 for one in variances]
    asked = None if query is None else ((query - middle) @ axes.T).round(5).tolist()
    return (centred @ axes.T).round(5).tolist(), [round(one, 4) for one in shares], asked


def principal_axes(centred: npt.NDArray[np.float64]) -> tuple[Any, Any]:
    """The two directions, (2, dimensions), and the sums of squares along them, (2,), greatest first.

    `centred` is (n, dimensions) with a mean of zero; of its two products with itself the smaller one is
    taken apart. An axis that is not there (n of 1) is zeros. Which way an axis points is settled by its
    greatest part, so that the same patterns give the same map.
    """
    import numpy as np

    count, dimensions = centred.shape
    axes, sums = np.zeros((2, dimensions)), np.zeros(2)
    if count < dimensions:
        values, found = np.linalg.eigh(centred @ centred.T)
        found = centred.T @ found
    else:
        values, found = np.linalg.eigh(centred.T @ centred)
    for place, column in enumerate(range(len(values) - 1, max(len(values) - 3, -1), -1)):
        length = float(np.linalg.norm(found[:, column]))
        if values[column] <= 1e-9 * max(1.0, float(values[-1])) or length == 0.0:
            continue
        axis = found[:, column] / length
        axes[place] = axis * np.sign(axis[np.abs(axis).argmax()])
        sums[place] = values[column]
    return axes, sums
