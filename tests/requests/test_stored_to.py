from __future__ import annotations

import gc

import msgspec
import pytest

from flowcore.entry import Entry
from flowcore.envelope import Envelope
from flowcore.structs import stored_to
from flowcore.telemetry import Noted


@stored_to
class Place(msgspec.Struct):
    x: int = 0
    y: object = None


def test_it_is_stored_to_as_an_object_and_else_is_a_struct() -> None:
    place = Place()
    place.x, place.y = 3, "north"
    assert place == Place(3, "north")
    assert msgspec.json.decode(msgspec.json.encode(place), type=Place) == place
    del place.y
    with pytest.raises(AttributeError):
        place.y  # noqa: B018
    with pytest.raises(AttributeError):
        place.z = 1  # type: ignore[attr-defined]


def test_the_interpreter_has_its_own_way_to_store() -> None:
    for struct in (Place, Envelope, Entry, Noted):
        # of its own: with what a struct inherits, the interpreter does not go that way
        assert vars(struct)["__setattr__"] is object.__setattr__
        assert vars(struct)["__delattr__"] is object.__delattr__


def test_the_garbage_collector_knows_an_envelope_from_the_beginning() -> None:
    envelope = Envelope(agent="a", name="b", params={}, deadline=1.0)
    assert gc.is_tracked(envelope)
