"""A look at large arguments that spares what a schema does not look into.

A text of 16 MB takes 30 ms to be taken apart, and as long again to be held against a schema that says no more
of it than that it is a text. With most schemas the members' names and first bytes tell enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

_SAYING = frozenset(
    ("$comment", "$schema", "default", "deprecated", "description", "examples", "title")
)
"""Keywords that assert nothing (JSON Schema validation, section 9)."""
_OBJECT = _SAYING | {
    "$defs",
    "additionalProperties",
    "definitions",
    "properties",
    "required",
    "type",
}
_KINDS = {
    ord('"'): {"string"},
    ord("{"): {"object"},
    ord("["): {"array"},
    ord("t"): {"boolean"},
    ord("f"): {"boolean"},
    ord("n"): {"null"},
}
_NUMBER = {"number", "integer"}
_ANY_TEXT = Raw(b'""')


class Glance:
    """What one schema says of members by their names and first bytes. Made by `glance_at`."""

    def __init__(self, properties: Mapping[str, Any], required: list[str], *, closed: bool) -> None:
        self._names = tuple(properties)
        self._types = [_types(one) for one in properties.values()]
        self._opaque = [_says_text(one) for one in properties.values()]
        self._required = tuple(required)
        fields = [(f"f{n}", Raw | UnsetType, UNSET) for n in range(len(self._names))]
        self._decode = msgspec.json.Decoder(
            msgspec.defstruct(
                "Members",
                fields,
                rename={f"f{n}": name for n, name in enumerate(self._names)},
                forbid_unknown_fields=closed,
                gc=False,
            )
        ).decode

    def members(self, arguments: Raw) -> dict[str, Raw] | None:
        """The members that are still to be looked into, by name; None if the arguments do not fit the schema.

        A text that may be any text stands here as an empty one, and what the schema does not name is left
        out. Raises DecodeError for what is no JSON.
        """
        try:
            found = self._decode(arguments)
        except msgspec.ValidationError:
            return None  # no object, or a member too many
        members = {}
        for number, name in enumerate(self._names):
            raw = getattr(found, f"f{number}")
            if raw is UNSET:
                continue
            first = memoryview(raw)[0]
            kinds, types = _KINDS.get(first, _NUMBER), self._types[number]
            if types is not None and types.isdisjoint(kinds):
                return None
            members[name] = _ANY_TEXT if self._opaque[number] and first == ord('"') else raw
        return None if any(name not in members for name in self._required) else members


def glance_at(schema: Any) -> Glance | None:
    """The glance that is as good as the schema's own check, together with one of the members it leaves; None
    for a schema that looks at more than single members."""
    if not isinstance(schema, dict) or schema.get("type") != "object":
        return None
    if any(key not in _OBJECT and not key.startswith("x-") for key in schema):
        return None
    properties, required = schema.get("properties", {}), schema.get("required", [])
    more = schema.get("additionalProperties", True)
    if not isinstance(more, bool) or not {*required} <= {*properties}:
        return None
    try:
        return Glance(properties, required, closed=not more)
    except ValueError:
        return None  # a name that msgspec takes for no field's


def _types(schema: Any) -> frozenset[str] | None:
    """The JSON types that a schema allows, as far as it says so itself."""
    if not isinstance(schema, dict) or "$ref" in schema or "type" not in schema:
        return None  # in older drafts nothing beside a $ref counts
    said = schema["type"]
    return frozenset([said] if isinstance(said, str) else said)


def _says_text(schema: Any) -> bool:
    """Whether a schema takes every text."""
    return (
        isinstance(schema, dict)
        and schema.get("type") == "string"
        and all(key == "type" or key in _SAYING or key.startswith("x-") for key in schema)
    )
