"""Every parser of bytes from outside, with some bytes of chance, the same in each run; `make fuzz` has more.

What fuzzing has found is kept here: each was a crash, or was read where it should have been refused.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from flowcore.http import Forwarding, HeaderMap
from support.fuzz_targets import TARGETS, Target
from support.fuzzing import Result, fuzz, mutated, try_one

BY_NAME = {one.name: one for one in TARGETS}
every_target = pytest.mark.parametrize("target", TARGETS, ids=lambda one: one.name)


@every_target
def test_what_is_nearly_right_is_read_or_refused(target: Target) -> None:
    chance = random.Random(20261123)
    for _ in range(150):
        try_one(target, mutated(chance.choice(target.seeds), target.seeds, target.words, chance))


@every_target
@seed(20261123)
@settings(max_examples=40, database=None)
@given(data=st.data())
def test_made_up_bytes_are_read_or_refused(target: Target, data: st.DataObject) -> None:
    words = st.sampled_from((*target.seeds, *target.words, b""))
    parts = data.draw(st.lists(words | st.binary(max_size=20), max_size=8))
    try_one(target, b"".join(parts)[:20_000])


def test_each_target_has_a_seed_that_gets_to_its_end_or_needs_a_key() -> None:
    refused = {one.name for one in TARGETS if not any(try_one(one, data) for data in one.seeds)}
    # these need a signature of now
    assert refused <= {"JWT", "claims of JWT", "headers of JWT", "message signatures"}


FOUND = {
    "a key ring nested too deeply": ("key rings", b"a = " + b"[" * 500),
    "a key's time outside of all years": (
        "key rings",
        BY_NAME["key rings"]
        .seeds[0]
        .replace(b"2026-11-01T00:00:00Z", b"0001-01-01T00:00:00+23:59"),
    ),
    "a JWK whose id is no text": (
        "JWK Sets",
        b'{"keys":['
        + b",".join([b'{"kty":"OKP","crv":"Ed25519","kid":[],"x":"%s"}' % (b"A" * 43)] * 2)
        + b"]}",
    ),
    "zeros before the time of a signature": (
        "signatures",
        BY_NAME["signatures"].seeds[0].replace(b"created=1", b"created=01"),
    ),
    "bits after the end of a signature": (
        "signatures",
        BY_NAME["signatures"].seeds[0].replace(b'A"', b'B"'),
    ),
}


@pytest.mark.parametrize(("name", "data"), FOUND.values(), ids=FOUND)
def test_what_was_found_is_refused(name: str, data: bytes) -> None:
    assert not try_one(BY_NAME[name], data)


def test_an_element_that_ends_with_a_line_is_no_endless_one() -> None:
    """It was read again and again: `$` also matches before a last line feed."""
    headers = HeaderMap({b"forwarded": b"for=10.0.0.2\n"})
    assert Forwarding(("127.0.0.1",), "forwarded").client("127.0.0.1", headers) == "127.0.0.1"


def test_a_parser_that_crashes_is_found(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(str(tmp_path))

    def crashes(data: bytes) -> None:
        if b"ab" in data:
            raise KeyError(data)
        if not data:
            raise ValueError("expected something")

    target = Target("crashing", crashes, (ValueError,), (b"a-b",), (b"b",))
    result: Result = fuzz(target, 20.0, 1)
    assert len(result.findings) == 5
    assert "KeyError" in result.findings[0]
