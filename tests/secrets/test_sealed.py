"""Sealed values: opened with their key, in their place, as they were made; and not otherwise."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowcore.secrets import SealKeys, new_seal_key, read_seal_keys, seal

CANARY = "canary-5e41-sealed"
SETTING = "auth.idp.secret"


def keys(*texts: str) -> SealKeys:
    return read_seal_keys("\n".join(texts or (new_seal_key(),)))


@given(st.text(min_size=1), st.text(min_size=1))
def test_what_is_sealed_for_a_setting_opens_there(secret: str, setting: str) -> None:
    ring = keys()
    assert ring.open(seal(secret, setting, ring), setting) == secret


def test_the_same_secret_is_sealed_differently_each_time() -> None:
    ring = keys()
    assert len({seal(CANARY, SETTING, ring) for _ in range(10)}) == 10


def test_it_opens_at_no_other_setting() -> None:
    ring = keys()
    sealed = seal(CANARY, SETTING, ring)
    with pytest.raises(ValueError, match="sealed for another setting; seal it again") as caught:
        ring.open(sealed, "auth.other.secret")
    assert CANARY not in str(caught.value)


def test_a_place_that_is_written_over_does_not_make_it_open_there() -> None:
    ring = keys()
    data = bytearray(base64.b64decode(seal(CANARY, SETTING, ring)))
    data[5:9] = base64.b64decode(seal("x", "auth.other.secret", ring))[5:9]
    with pytest.raises(ValueError, match="was changed"):
        ring.open(base64.b64encode(data).decode(), "auth.other.secret")


def test_another_key_is_named_by_its_id() -> None:
    mine, other = keys(), keys()
    with pytest.raises(ValueError, match=rf"another key \({other.ids[0]}\).*\({mine.ids[0]}\)"):
        mine.open(seal(CANARY, SETTING, other), SETTING)


def test_every_bit_of_it_counts_and_so_does_its_length() -> None:
    ring = keys()
    data = base64.b64decode(seal(CANARY, SETTING, ring))
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises(ValueError, match="changed|another key|another setting|form"):
            ring.open(base64.b64encode(changed).decode(), SETTING)
        with pytest.raises(ValueError, match="changed|too short"):
            ring.open(base64.b64encode(data[:place]).decode(), SETTING)


@pytest.mark.parametrize("text", ["", "no base64!", "AQ==", "ä"])
def test_what_is_no_sealed_value_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match="base64|too short"):
        keys().open(text, SETTING)


def test_the_first_key_seals_and_each_opens() -> None:
    old, new = new_seal_key(), new_seal_key()
    sealed = seal(CANARY, SETTING, keys(old))
    both = read_seal_keys(f"# of November\n{new}  # seals\n\n{old}\n")
    assert both.open(sealed, SETTING) == CANARY
    assert keys(new).open(seal(CANARY, SETTING, both), SETTING) == CANARY
    with pytest.raises(ValueError, match="another key"):
        keys(new).open(sealed, SETTING)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected a seal key; make one"),
        ("# nothing", "expected a seal key; make one"),
        ("short", "32 bytes as base64"),
        (base64.b64encode(bytes(31)).decode(), "32 bytes as base64"),
        (base64.b64encode(bytes(32)).decode(), "follows a pattern"),
        (base64.b64encode(bytes(range(32))).decode(), "follows a pattern"),
    ],
)
def test_what_is_no_key_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_seal_keys(text)


def test_keys_and_rings_show_nothing_of_themselves() -> None:
    text = new_seal_key()
    ring = keys(text)
    assert text not in repr(ring)
    assert repr(base64.b64decode(text)) not in repr((ring, ring.keys))
