"""Requests filled in from arguments. Sans-IO.

A template is text with `{name}` where an argument goes; `{{` and `}}` are braces. Whatever an argument
holds, it stays one value: percent-encoded in a path or a query, a JSON value in a body.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import attrs

from flowcore.errors import InvalidArguments

MISSING: Any = object()
"""What becomes of a part whose arguments are not given: it is left out."""

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


@attrs.frozen
class Field:
    """The place of an argument."""

    name: str


@attrs.frozen
class Text:
    """A parsed template: texts and fields, in order."""

    parts: tuple[str | Field, ...]

    @property
    def names(self) -> frozenset[str]:
        """The arguments in it."""
        return frozenset(part.name for part in self.parts if isinstance(part, Field))

    @property
    def whole(self) -> str | None:
        """The argument that it is nothing but; None if it is more, or less."""
        if len(self.parts) == 1 and isinstance(self.parts[0], Field):
            return self.parts[0].name
        return None

    def fill(self, arguments: Mapping[str, Any]) -> str:
        """The text with the arguments in it, not encoded; MISSING if one is not given."""
        if any(arguments.get(name) is None for name in self.names):
            return MISSING  # type: ignore[no-any-return]
        return "".join(
            part if isinstance(part, str) else text_of(arguments[part.name]) for part in self.parts
        )


def parse(template: str) -> Text:
    """A template from its text. Raises ValueError for a brace that is alone."""
    parts: list[str | Field] = []
    literal, end = "", 0
    for match in _TOKEN.finditer(template):
        literal += template[end : match.start()]
        end = match.end()
        if match[0] in ("{{", "}}"):
            literal += match[0][0]
        elif match[1]:
            parts += [literal] if literal else []
            parts.append(Field(match[1]))
            literal = ""
        else:
            raise ValueError(
                f'expected {{name}} in the template {template!r}; a brace itself is written "{{{{"'
            )
    literal += template[end:]
    return Text((*parts, literal) if literal else tuple(parts))


def text_of(value: Any) -> str:
    """A value as text: a string as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# ---- path


def fill_path(path: Text, arguments: Mapping[str, Any]) -> str:
    """The path with each argument percent-encoded (RFC 3986, section 2.1).

    Raises InvalidArguments for an argument that is missing or empty, or that would make a segment `.` or
    `..`, which servers resolve.
    """
    filled = ""
    for part in path.parts:
        if isinstance(part, str):
            filled += part
            continue
        value = arguments.get(part.name)
        text = "" if value is None else text_of(value)
        if not text:
            raise InvalidArguments(
                f"the argument {part.name!r} must not be empty: it is part of the path"
            )
        filled += encode(text)
    for segment in filled.split("/"):
        if segment in (".", ".."):
            raise InvalidArguments(f"the path may not hold the segment {segment!r}")
    return filled


def encode(text: str) -> str:
    """A text as one component of a URL. Raises InvalidArguments for what UTF-8 cannot hold."""
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise InvalidArguments("an argument holds half a surrogate pair") from None


# ---- query


def fill_query(
    query: Mapping[str, Text], arguments: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """The parameters of a query. One whose argument is missing is left out; a list gives one each."""
    for name, template in query.items():
        whole = template.whole
        if whole is not None:
            yield from parameters(name, arguments.get(whole))
        elif (text := template.fill(arguments)) is not MISSING:
            yield name, text


def parameters(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """The parameters that one argument makes: none, one, or one for each element of a list."""
    if isinstance(value, list):
        for one in value:
            yield name, text_of(one)
    elif value is not None:
        yield name, text_of(value)


def encode_query(pairs: Iterator[tuple[str, str]]) -> str:
    """A query string, or a form (both percent-encoded)."""
    return "&".join(f"{encode(name)}={encode(value)}" for name, value in pairs)


# ---- body


def compile_body(value: Any) -> Any:
    """The same value with each of its texts parsed. Raises ValueError."""
    if isinstance(value, str):
        return parse(value)
    if isinstance(value, Mapping):
        return {key: compile_body(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [compile_body(one) for one in value]
    return value


def body_names(body: Any) -> Iterator[str]:
    """The arguments in a compiled body."""
    if isinstance(body, Text):
        yield from body.names
    elif isinstance(body, Mapping):
        for one in body.values():
            yield from body_names(one)
    elif isinstance(body, list):
        for one in body:
            yield from body_names(one)


def fill_body(body: Any, arguments: Mapping[str, Any]) -> Any:
    """The body with the arguments in it, each the JSON value that it is; MISSING if nothing is left."""
    if isinstance(body, Text):
        whole = body.whole
        return body.fill(arguments) if whole is None else arguments.get(whole, MISSING)
    if isinstance(body, Mapping):
        filled = {key: fill_body(one, arguments) for key, one in body.items()}
        return {key: one for key, one in filled.items() if one is not MISSING}
    if isinstance(body, list):
        return [one for one in (fill_body(part, arguments) for part in body) if one is not MISSING]
    return body
