"""What other nodes say is checked, whatever it is."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from flowcore.agents import Catalog, Prompt, Resource, Template, Tool
from flowcore.errors import (
    CallError,
    Overloaded,
    SchemaViolation,
    UnknownTarget,
    UpstreamError,
)
from flowcore.federation.wire import (
    About,
    Announcement,
    Asked,
    Asking,
    CatalogNews,
    End,
    Failed,
    Given,
    Happened,
    Notified,
    Part,
    Wanted,
    WrongMessage,
    error_of,
    failed,
    heard,
    pack,
    pack_catalog,
    said,
    unpack,
    unpack_catalog,
)

KINDS: list[type[msgspec.Struct]] = [
    About,
    Announcement,
    Asked,
    Asking,
    CatalogNews,
    Happened,
    Failed,
]
DEFINITION = Raw(b'{"name":"x","description":"y"}')
WHOLE = Catalog(
    tools=(Tool(name="x", definition=DEFINITION, input_schema=Raw(b"{}"), read_only=True),),
    resources=(Resource(uri="a:b", definition=DEFINITION),),
    templates=(Template(uri_template="a:{b}", definition=DEFINITION),),
    prompts=(Prompt(name="p", definition=DEFINITION),),
    completions=True,
    instructions="do",
)


def test_a_catalog_comes_as_it_was_sent() -> None:
    packed, digest = pack_catalog(WHOLE)
    assert unpack_catalog(packed, digest) == WHOLE
    assert pack_catalog(unpack_catalog(packed, digest)) == (packed, digest)


def test_a_catalog_that_is_not_the_one_of_its_digest_is_refused() -> None:
    packed, digest = pack_catalog(WHOLE)
    for at in range(len(packed)):
        changed = packed[:at] + bytes([packed[at] ^ 1]) + packed[at + 1 :]
        with pytest.raises(WrongMessage):
            unpack_catalog(changed, digest)


def test_a_definition_that_is_no_object_is_refused() -> None:
    for wrong in (b"[]", b"{", b"\xff", b"1" * 10, b"[" * 5000):
        tool = Tool(name="x", definition=Raw(wrong))
        with pytest.raises(WrongMessage, match="no JSON object"):
            unpack_catalog(*pack_catalog(Catalog(tools=(tool,))))


@given(data=st.binary(max_size=200))
def test_garbage_is_refused_and_nothing_else(data: bytes) -> None:
    for kind in KINDS:
        try:
            unpack(data, kind)
        except WrongMessage:
            continue
    for read in (heard, said):
        try:
            read(data)
        except WrongMessage:
            continue


MESSAGES = [
    Part(b"abc"),
    End(True),
    Notified("notifications/progress", b"{}"),
    Wanted(3, "roots/list", b"{}"),
    Failed("Overloaded", -31050, "full", b"{}", 1.5, False),
    Given(3, b"{}"),
]


@given(st.sampled_from(MESSAGES), st.data())
def test_what_is_cut_or_changed_is_refused_or_another_message(
    message: msgspec.Struct, data: st.DataObject
) -> None:
    packed = bytearray(pack(message))
    at = data.draw(st.integers(0, len(packed) - 1))
    packed[at] = data.draw(st.integers(0, 255))
    for text in (bytes(packed), bytes(packed[:at])):
        for read in (heard, said):
            try:
                read(text)
            except WrongMessage:
                continue


def test_messages_come_as_they_were_sent() -> None:
    for message in MESSAGES:
        read = said if isinstance(message, Given) else heard
        assert read(pack(message)) == message


def test_a_newer_node_may_say_more() -> None:
    told = msgspec.msgpack.decode(pack(Asked(id="1", method="m", agent="a", name="n", left=1.0)))
    again = unpack(msgspec.msgpack.encode({**told, "invented": [1, 2]}), Asked)
    assert again.method == "m"


@pytest.mark.parametrize(
    "error",
    [
        Overloaded("full", data={"agent": "a"}, retry_after=2.5),
        UnknownTarget("who?", data={"tool": "x"}, began=False),
        UpstreamError("theirs", code=-32099, data=[1]),
        SchemaViolation("wrong"),
    ],
)
def test_an_error_comes_as_it_was_raised(error: CallError) -> None:
    again = error_of(unpack(pack(failed(error)), Failed))
    assert type(again) is type(error)
    assert (again.message, again.data, again.began) == (error.message, error.data, error.began)
    assert again.wire() == error.wire()


def test_an_error_of_an_unknown_kind_keeps_its_code() -> None:
    again = error_of(Failed("FromTheFuture", -31069, "new", b'{"a":1}', None, True))
    assert (again.wire_code, again.message, again.data, again.began) == (
        -31069,
        "new",
        {"a": 1},
        True,
    )
    with pytest.raises(WrongMessage):
        error_of(Failed("Overloaded", 1, "x", b"{"))
