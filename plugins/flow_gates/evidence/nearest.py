"""What patterns that are near to a query say: a vote for the experts they are of, weighed by similarity.

A pattern of similarity s and weight w counts w k(s) with the kernel k(s) = exp((s - 1) / width): a nearest
neighbour rule by kernel (Nadaraya 1964, Watson 1964). An expert's share is

    share(e) = sum over its patterns of w k(s) / (k(far) + sum over all patterns of |w| k(s)),

-1 to 1. The kernel of a similarity that says nothing, `far`, stands below as if it were one more pattern, so
that patterns which are all far away say little, rather than much to whoever is the least far.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from flowcore.routing import Near

if TYPE_CHECKING:
    from flow_gates.settings import NearestSettings


def shares(
    near: Sequence[Near], places: Mapping[str, int], settings: NearestSettings
) -> dict[int, float]:
    """The share of each expert that patterns vote for, by its place in `places`; others are left out.

    Patterns with a similarity or weight that is not finite count for nothing.
    """
    steep = 1 / settings.width
    total = math.exp((settings.far - 1) * steep)
    votes: dict[int, float] = {}
    for one in near:
        place = places.get(one.expert)
        similarity, weight = one.similarity, one.weight
        if place is None:
            continue
        if not (-1.0 <= similarity <= 1.0 and -1.0 <= weight <= 1.0):
            if not math.isfinite(similarity) or not math.isfinite(weight):
                continue
            similarity = min(max(similarity, -1.0), 1.0)
            weight = min(max(weight, -1.0), 1.0)
        vote = weight * math.exp((similarity - 1.0) * steep)
        votes[place] = votes.get(place, 0.0) + vote
        total += abs(vote)
    return {place: vote / total for place, vote in votes.items()}
