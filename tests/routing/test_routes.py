"""Routes wait for feedback of who asked, for a while, and not without end."""

from __future__ import annotations

import numpy as np
import pytest

from flowcore.errors import UnknownTarget
from flowcore.routing.routes import Routes

ANN, BEN = ("jwt", "ann"), ("jwt", "ben")
VECTOR = np.ones(4, np.float32)


def filled(keep: float = 10.0, most: int = 3) -> Routes:
    routes = Routes(keep=keep, most=most)
    routes.add("r1", "one", VECTOR, {"a.b": 0.9}, 1.0, ANN, now=0.0)
    routes.add("r2", "two", VECTOR, {"a.b": 0.8}, 0.5, BEN, now=1.0)
    return routes


def test_a_route_is_there_for_its_owner_and_nobody_else() -> None:
    routes = filled()
    assert routes.of("r1", ANN, 5.0).text == "one"
    for owner in (BEN, ("token", "ann")):
        with pytest.raises(UnknownTarget, match="no route 'r1' of yours"):
            routes.of("r1", owner, 5.0)


def test_it_is_forgotten_when_its_time_is_over_or_there_are_too_many() -> None:
    routes = filled()
    with pytest.raises(UnknownTarget):
        routes.of("r1", ANN, 10.0)
    for number in range(5):
        routes.add(f"n{number}", "x", VECTOR, {}, 1.0, ANN, now=2.0)
    assert len(routes) == 3
    with pytest.raises(UnknownTarget):
        routes.of("r2", BEN, 2.0)


def test_the_latest_of_each_owner_is_known_until_it_is_settled() -> None:
    routes = filled()
    routes.add("r3", "three", VECTOR, {}, 1.0, ANN, now=2.0)
    assert routes.last_of(ANN, 3.0) == ("r3", routes.of("r3", ANN, 3.0))
    assert routes.last_of(BEN, 3.0) == ("r2", routes.of("r2", BEN, 3.0))
    routes.settle("r3")
    assert routes.last_of(ANN, 3.0) is None
    assert routes.last_of(("jwt", "eve"), 3.0) is None
    assert routes.last_of(BEN, 100.0) is None


def test_only_the_first_was_drawn() -> None:
    routes = filled()
    routes.add("r3", "x", VECTOR, {"a.b": 0.9, "c.d": 0.1}, 0.25, ANN, now=0.0)
    pending = routes.of("r3", ANN, 1.0)
    assert (pending.propensity_of("a.b"), pending.propensity_of("c.d")) == (0.25, 1.0)
    assert pending.propensity_of("not.there") == 1.0


def test_an_id_of_any_length_is_told_in_short() -> None:
    with pytest.raises(UnknownTarget) as caught:
        filled().of("x" * 10_000, ANN, 0.0)
    assert len(caught.value.message) < 200
