"""How often the parts of a JSON schema are applied to one and the same value: what makes a check explode.

`allOf`, `anyOf`, `$ref` and their like apply further schemas to the value itself. Thirty definitions that
each refer twice to the next apply the last one a thousand million times; nothing can interrupt that. So
what a schema multiplies to is counted before it is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_ONE = ("not", "if", "then", "else")
_MANY = ("allOf", "anyOf", "oneOf")
_NAMED = ("dependentSchemas", "dependencies")
_DEFINED = ("properties", "patternProperties", "$defs", "definitions")
_INSIDE = (
    "items",
    "additionalItems",
    "prefixItems",
    "contains",
    "additionalProperties",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
)


def expansion(schema: Any) -> int:
    """The largest number of schemas that one value is held against, anywhere in the schema.

    Only references within the schema are followed (`#/...`), a reference back to where it came from once.
    Raises RecursionError for a schema too deep to be walked.
    """
    return _Counting(schema).largest()


class _Counting:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._known: dict[int, int] = {}
        self._under_way: set[int] = set()

    def largest(self) -> int:
        return max((self._count(one) for one in _everywhere(self._root)), default=0)

    def _count(self, schema: Any) -> int:
        if not isinstance(schema, Mapping):
            return 1
        mark = id(schema)
        if mark in self._known:
            return self._known[mark]
        if mark in self._under_way:
            return 1
        self._under_way.add(mark)
        total = 1 + sum(self._count(one) for one in self._in_place(schema))
        self._under_way.discard(mark)
        self._known[mark] = total
        return total

    def _in_place(self, schema: Mapping[str, Any]) -> Iterator[Any]:
        """The schemas that apply to the same value as this one."""
        for key in _ONE:
            if key in schema:
                yield schema[key]
        for key in _MANY:
            if isinstance(schema.get(key), list):
                yield from schema[key]
        for key in _NAMED:
            if isinstance(schema.get(key), Mapping):
                yield from schema[key].values()
        for key in ("$ref", "$dynamicRef", "$recursiveRef"):
            if isinstance(schema.get(key), str):
                yield self._referred(schema[key])

    def _referred(self, reference: str) -> Any:
        found: Any = self._root
        if not reference.startswith("#/"):
            return found if reference == "#" else None
        for part in reference[2:].split("/"):
            part = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, Mapping):
                found = found.get(part)
            elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
                found = found[int(part)]
            else:
                return None
        return found


def _everywhere(schema: Any) -> Iterator[Any]:
    """Every schema there is in a schema."""
    waiting = [schema]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, Mapping):
            continue
        yield one
        for key in (*_ONE, *_INSIDE, *_MANY):
            inner = one.get(key)
            waiting.extend(inner if isinstance(inner, list) else [inner])
        for key in (*_NAMED, *_DEFINED):
            inner = one.get(key)
            if isinstance(inner, Mapping):
                waiting.extend(inner.values())
