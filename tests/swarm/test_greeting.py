"""The greeting of two nodes: who they are, what they agree upon, which connection stays."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from flowcore.swarm.links.frames import BrokenProtocol, Hello, encode
from flowcore.swarm.links.greeting import Greeter, Phase, Refused, is_duplicate, refusal
from support.engines import greet, hello


def two(one: dict[str, Any], other: dict[str, Any]) -> tuple[Greeter, Greeter]:
    """Two greeters whose hellos are changed so, having greeted."""
    alpha = Greeter(hello("alpha", **one), "beta", "beta")
    beta = Greeter(hello("beta", **other), "alpha")
    greet(alpha, beta)
    return alpha, beta


@pytest.mark.parametrize(
    ("ours", "theirs", "version"),
    [((1, 1), (1, 1), 1), ((1, 3), (2, 5), 3), ((2, 5), (1, 2), 2), ((1, 4), (4, 9), 4)],
)
def test_an_older_and_a_newer_node_speak_the_highest_version_of_both(
    ours: tuple[int, int], theirs: tuple[int, int], version: int
) -> None:
    for greeter in two(
        {"oldest": ours[0], "newest": ours[1]}, {"oldest": theirs[0], "newest": theirs[1]}
    ):
        assert greeter.agreed is not None
        assert greeter.agreed.version == version


def test_both_know_the_features_that_they_have_in_common() -> None:
    for greeter in two({"features": ("a", "b")}, {"features": ("c", "b")}):
        assert greeter.agreed is not None
        assert greeter.agreed.features == {"b"}


def test_no_common_version_is_refused_with_both_ranges() -> None:
    alpha = Greeter(hello("alpha", oldest=3, newest=5), "beta")
    beta = Greeter(hello("beta", oldest=1, newest=2), "alpha")
    with pytest.raises(Refused, match="speaks versions 1 to 2 of the protocol, this node 3 to 5"):
        alpha.feed(beta.begin())
    with pytest.raises(Refused, match="speaks versions 3 to 5 of the protocol, this node 1 to 2"):
        beta.feed(alpha.begin())


@pytest.mark.parametrize(
    ("theirs", "certified", "code", "says"),
    [
        (
            {"cluster": "other"},
            "beta",
            "cluster",
            "belongs to cluster 'other', this node to 'test'",
        ),
        ({}, "gamma", "name", "says to be 'beta', its certificate 'gamma'"),
        ({"name": "alpha"}, "alpha", "name", "is named 'alpha', as this node itself"),
    ],
)
def test_who_is_not_whom_it_should_be_is_refused(
    theirs: dict[str, Any], certified: str, code: str, says: str
) -> None:
    greeter = Greeter(hello("alpha"), certified)
    with pytest.raises(Refused, match=says) as raised:
        greeter.feed(encode(hello(**({"name": "beta"} | theirs))))
    assert (raised.value.code, raised.value.ours) == (code, True)


def test_another_than_was_dialled_is_refused() -> None:
    greeter = Greeter(hello("alpha"), "beta", "gamma")
    with pytest.raises(Refused, match="is 'beta', and 'gamma' was dialled"):
        greeter.feed(encode(hello("beta")))


def test_the_one_whose_name_comes_first_decides_whoever_dialled() -> None:
    alpha, beta = Greeter(hello("alpha"), "beta"), Greeter(hello("beta"), "alpha")
    alpha.feed(beta.begin())
    beta.feed(alpha.begin())
    assert (alpha.phase, beta.phase) == (Phase.DECIDE, Phase.WAIT)
    beta.feed(alpha.welcome(7) + b"what follows")
    assert (beta.phase, beta.order, beta.rest) == (Phase.DONE, 7, b"what follows")


def test_a_refusal_is_heard_with_its_reason() -> None:
    beta = Greeter(hello("beta"), "alpha")
    beta.feed(encode(hello("alpha")))
    with pytest.raises(Refused, match="'alpha' refuses: there is a link already") as raised:
        beta.feed(refusal("duplicate", "there is a link already"))
    assert (raised.value.code, raised.value.ours) == ("duplicate", False)


def test_a_newer_hello_may_say_more() -> None:
    known = hello("beta", newest=9)
    values = [getattr(known, field) for field in Hello.__struct_fields__]
    body = msgspec.msgpack.encode([0, *values, {"more": [1, 2]}, "and more"])
    greeter = Greeter(hello("alpha"), "beta")
    greeter.feed(len(body).to_bytes(4, "big") + body)
    assert greeter.phase is Phase.DECIDE


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Beta!"},
        {"name": "b" * 64},
        {"address": ""},
        {"address": "beta 7400"},
        {"boot": b"short"},
        {"number": -1},
        {"others": tuple(range(17))},
        {"oldest": 0},
        {"oldest": 2, "newest": 1},
        {"streams": -1},
        {"window": 1000},
        {"window": 1 << 40},
        {"cluster": "c" * 65},
    ],
)
def test_a_hello_that_cannot_be_breaks_the_protocol(changes: dict[str, Any]) -> None:
    greeter = Greeter(hello("alpha"), changes.get("name", "beta"))
    with pytest.raises(BrokenProtocol):
        greeter.feed(encode(hello(**({"name": "beta"} | changes))))


@pytest.mark.parametrize(
    ("changes", "duplicate"),
    [
        ({"others": (5,)}, True),  # it knows of the other one
        ({"number": 4}, True),  # it was made before, so it could not know
        ({}, False),  # it has none any more
        ({"others": (4, 6)}, False),
        ({"others": (5,), "boot": b"another start..."}, False),  # it was started anew
    ],
)
def test_a_second_connection_is_a_duplicate_unless_the_first_is_gone_for_the_peer(
    changes: dict[str, Any], duplicate: bool
) -> None:
    standing = hello("beta", number=5)
    assert is_duplicate(standing, hello("beta", **({"number": 9} | changes))) is duplicate
