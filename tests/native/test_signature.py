"""From annotations to schemas, and from JSON to arguments."""

from __future__ import annotations

import datetime
import enum
import functools
from typing import Annotated, Any, Literal, TypedDict

import attrs
import msgspec
import pytest

from flowcore.errors import AssemblyError, InvalidArguments
from flowcore.native import CallContext, NativeAgent
from flowcore.native.signature import json_schema, signature_of


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Place(msgspec.Struct):
    city: str
    zip: int | None = None


class Tree(msgspec.Struct):
    name: str
    children: list[Tree] = []


class Options(TypedDict, total=False):
    deep: bool


@attrs.frozen
class Note:
    text: str


def test_annotations_become_a_schema() -> None:
    async def search(
        text: str,
        limit: Annotated[int, msgspec.Meta(ge=1, description="how many")] = 10,
        color: Color = Color.RED,
        where: Place | None = None,
        mode: Literal["fast", "slow"] = "fast",
        options: Options | None = None,
    ) -> None:
        """Search.

        Args:
            text: what for
            limit: said twice
        """

    schema = signature_of(search, where="here").schema
    assert schema["type"] == "object"
    assert schema["required"] == ["text"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["text"] == {"type": "string", "description": "what for"}
    assert schema["properties"]["limit"] == {
        "type": "integer",
        "minimum": 1,
        "description": "how many",
        "default": 10,
    }
    assert schema["properties"]["mode"]["enum"] == ["fast", "slow"]
    assert set(schema["$defs"]) == {"Color", "Place", "Options"}
    assert "title" not in schema


def test_arguments_are_what_the_annotations_say() -> None:
    def work(at: datetime.date, color: Color, place: Place, note: Note, tags: set[str]) -> None: ...

    signature = signature_of(work, where="here")
    given = signature.arguments(
        b'{"at":"2026-11-23","color":"blue","place":{"city":"Ulm"},"note":{"text":"x"},"tags":["a"]}'
    )
    assert given == {
        "at": datetime.date(2026, 11, 23),
        "color": Color.BLUE,
        "place": Place("Ulm"),
        "note": Note("x"),
        "tags": {"a"},
    }


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b'{"a": "x"}', "Expected `int`, got `str` - at `$.a`"),
        (b"{}", "missing required field `a`"),
        (b'{"a": 1, "b": 2}', "unknown field `b`"),
        (b"[]", "Expected `object`, got `array`"),
        (b"null", "Expected `object`, got `null`"),
        (b'{"a": 1', "truncated"),
        (b'{"a": 1.5}', "Expected `int`, got `float`"),
        (b'{"\xff": 1}', "utf-8"),
    ],
)
def test_arguments_that_do_not_fit_are_named(raw: bytes, what: str) -> None:
    def work(a: int) -> None: ...

    with pytest.raises(InvalidArguments, match=r"^arguments: ") as caught:
        signature_of(work, where="here").arguments(raw)
    assert what in caught.value.message


def test_left_out_arguments_have_their_defaults_and_share_no_lists() -> None:
    def work(a: list[int] = [], b: dict[str, int] = {}) -> None: ...  # noqa: B006

    signature = signature_of(work, where="here")
    one, other = signature.arguments(None), signature.arguments(b"{}")
    assert one == other == {"a": [], "b": {}}
    assert one["a"] is not other["a"]
    assert one["b"] is not other["b"]


def test_a_context_is_no_argument() -> None:
    def work(a: int, context: CallContext) -> None: ...

    signature = signature_of(work, where="here")
    assert signature.context == "context"
    assert list(signature.schema["properties"]) == ["a"]


def test_parameters_without_annotations_take_anything() -> None:
    def work(a, b=3):  # type: ignore[no-untyped-def]
        ...

    assert signature_of(work, where="here").arguments(b'{"a": [1]}') == {"a": [1], "b": 3}


def test_a_schema_written_by_hand_is_left_alone() -> None:
    def work(**arguments: Any) -> None: ...

    schema = {"type": "object", "properties": {"x": {"type": "number"}}}
    signature = signature_of(work, where="here", schema=schema)
    assert signature.schema is schema
    assert signature.arguments(b'{"x": 1, "y": null}') == {"x": 1, "y": None}
    assert signature.arguments(None) == {}
    assert signature.texts({"x": "1"}) == {"x": "1"}
    with pytest.raises(InvalidArguments):
        signature.arguments(b"[]")


def test_texts_are_read_as_their_annotations_ask() -> None:
    def work(count: int, on: bool, name: str) -> None: ...

    signature = signature_of(work, where="here", texts=True)
    assert signature.texts({"count": "3", "on": "true", "name": "7"}) == {
        "count": 3,
        "on": True,
        "name": "7",
    }
    assert signature.arguments(b'{"count":"3","on":"false","name":"n"}')["count"] == 3
    with pytest.raises(InvalidArguments, match=r"\$\.count"):
        signature.texts({"count": "three", "on": "true", "name": "n"})


def test_partials_and_wrapped_functions_are_looked_through() -> None:
    def work(a: int, b: int) -> int:
        return a + b

    @functools.wraps(work)
    def wrapped(*args: Any, **kwargs: Any) -> int:
        return work(*args, **kwargs)

    assert signature_of(wrapped, where="here").arguments(b'{"a":1,"b":2}') == {"a": 1, "b": 2}
    part = functools.partial(work, b=5)
    assert signature_of(part, where="here").arguments(b'{"a":1}') == {"a": 1, "b": 5}


def test_a_recursive_type_keeps_its_definition() -> None:
    schema = json_schema(Tree)
    assert schema["properties"]["children"]["items"] == {"$ref": "#/$defs/Tree"}
    assert schema["$defs"]["Tree"]["type"] == "object"


def _refused(function: Any, schema: dict[str, Any] | None = None) -> str:
    with pytest.raises(AssemblyError) as caught:
        signature_of(function, where="agent.py: tool 'x'", schema=schema)
    assert str(caught.value).startswith("agent.py: tool 'x': ")
    return str(caught.value)


def test_what_cannot_be_called_with_json_is_refused() -> None:
    def positional(a: int, /) -> None: ...
    def several(*a: int) -> None: ...
    def named(**a: int) -> None: ...
    def no_json(a: trio_event) -> None: ...  # type: ignore[name-defined]  # noqa: F821
    def no_schema(a: type[object] | int) -> None: ...
    def agent(a: NativeAgent) -> None: ...
    def odd_default(a: int = object()) -> None: ...  # type: ignore[assignment]

    assert "parameter 'a' cannot be given by name" in _refused(positional)
    assert "parameter 'a' cannot be given by name" in _refused(several)
    assert "needs an input_schema" in _refused(named)
    assert "cannot be resolved: name 'trio_event'" in _refused(no_json)
    assert "have no JSON form" in _refused(no_schema)
    assert "CallContext.agent" in _refused(agent)
    assert "have no JSON form" in _refused(odd_default)
    assert "its parameters cannot be known" in _refused(max)
