"""The headers that mirror a request's body in 2026-07-28: values' encoding, and `Mcp-Param-*`.

Source: docs/specification/2026-07-28/basic/transports/streamable-http, request metadata.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

VERSION: Final = b"mcp-protocol-version"
METHOD: Final = b"mcp-method"
NAME: Final = b"mcp-name"
PARAM_PREFIX: Final = b"mcp-param-"
SESSION: Final = b"mcp-session-id"
LAST_EVENT: Final = b"last-event-id"

_ENCODED = re.compile(r"=\?base64\?(.*)\?=", re.DOTALL)
_PLAIN = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?")
_VISIBLE = re.compile(r"[\x20-\x7e\t]*")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_DECIMAL = re.compile(r"-?[0-9]{1,40}(?:\.0+)?")
_TYPES = frozenset({"string", "integer", "boolean"})


def encode_value(text: str) -> str:
    """The text as a header value: itself, or `=?base64?...?=` where it would not survive."""
    if text and _PLAIN.fullmatch(text) and not _ENCODED.fullmatch(text):
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def decode_value(value: str) -> str | None:
    """The text a header value stands for; None if its encoding is malformed, or it has characters that only
    an encoded one may stand for."""
    match = _ENCODED.fullmatch(value)
    if match is None:
        return value if _VISIBLE.fullmatch(value) else None
    try:
        raw = base64.b64decode(match[1], validate=True)
        return raw.decode() if base64.b64encode(raw).decode() == match[1] else None
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None


@attrs.frozen
class ParamHeader:
    """An argument that a header mirrors: its path through the arguments, the header, its JSON type."""

    path: tuple[str, ...]
    header: str
    type: str

    def value(self, arguments: Any) -> str | None:
        """The argument as text, before `encode_value`; None if it is absent, null or not mirrorable."""
        for key in self.path:
            if not isinstance(arguments, Mapping):
                return None
            arguments = arguments.get(key)
        if isinstance(arguments, bool):
            return "true" if arguments else "false"
        if isinstance(arguments, str):
            return arguments
        if isinstance(arguments, int) and arguments.bit_length() <= 64:
            return str(arguments)
        if isinstance(arguments, float) and arguments.is_integer() and abs(arguments) < 2**53:
            return str(int(arguments))
        return None

    def agrees(self, value: str | None, arguments: Any) -> bool:
        """Whether a received header (as it came, or None for none) says what the arguments say."""
        expected = self.value(arguments)
        if value is None or expected is None:
            return value is None and expected is None
        decoded = decode_value(value)
        if decoded is None:
            return False
        if self.type == "integer" and _DECIMAL.fullmatch(decoded):
            return decoded.partition(".")[0] in (expected, "-0" if expected == "0" else expected)
        return decoded == expected


def param_headers(schema: Any) -> tuple[ParamHeader, ...]:
    """The arguments that an input schema wants mirrored (`x-mcp-header`).

    Raises ValueError where the specification says that the definition is invalid: a header that is no
    token or is named twice, a type other than string, integer and boolean, or a place that a chain of
    `properties` alone does not reach.
    """
    found: dict[str, ParamHeader] = {}
    for path, node in _schemas(schema):
        if "x-mcp-header" not in node:
            continue
        header, kind = node["x-mcp-header"], node.get("type")
        if not path:
            raise ValueError("x-mcp-header where no chain of properties leads")
        where = ".".join(path)
        if not isinstance(header, str) or not _TOKEN.fullmatch(header):
            raise ValueError(f"x-mcp-header of {where!r} is not a header name")
        if not isinstance(kind, str) or kind not in _TYPES:
            raise ValueError(f"x-mcp-header of {where!r} needs type string, integer or boolean")
        if header.lower() in found:
            raise ValueError(f"x-mcp-header {header!r} stands twice")
        found[header.lower()] = ParamHeader(path, f"Mcp-Param-{header}", kind)
    return tuple(found.values())


_SINGLE = frozenset(
    [
        "items",
        "contains",
        "unevaluatedItems",
        "additionalProperties",
        "propertyNames",
        "unevaluatedProperties",
        "not",
        "if",
        "then",
        "else",
        "contentSchema",
    ]
)
_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_MAPS = frozenset({"patternProperties", "dependentSchemas", "$defs", "definitions"})


def _schemas(root: Any) -> Iterator[tuple[tuple[str, ...] | None, Mapping[str, Any]]]:
    """Every place in a schema where a schema stands, with its path if only `properties` lead there."""
    stack: list[tuple[tuple[str, ...] | None, Any]] = [((), root)]
    while stack:
        path, node = stack.pop()
        if not isinstance(node, Mapping):
            continue
        yield path, node
        for key, value in node.items():
            if key == "properties" and isinstance(value, Mapping):
                for name, sub in value.items():
                    stack.append((None if path is None else (*path, name), sub))
            elif key in _SINGLE:
                stack.append((None, value))
            elif key in _LISTS and isinstance(value, list):
                stack.extend((None, sub) for sub in value)
            elif key in _MAPS and isinstance(value, Mapping):
                stack.extend((None, sub) for sub in value.values())
