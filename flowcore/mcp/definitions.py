"""Definitions of tools, prompts and resources as raw JSON: read a little of them, rename them."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec
from msgspec import Raw

_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.encode


class _NameOnly(msgspec.Struct, gc=False):
    name: Raw


_decode_name = msgspec.json.Decoder(_NameOnly).decode
_NAME = re.compile(rb'"name"[ \t\r\n]*:[ \t\r\n]*')
_PROBE = b'"\\u0000probe"'


def renamed(definition: Raw | bytes, name: str) -> bytes:
    """The definition under another `name`, every other byte as it was.

    Raises ValueError if it is not a JSON object with a `name`.
    """
    data = bytes(definition)
    new = _encode(name)
    try:
        old = bytes(_decode_name(data).name)
    except msgspec.MsgspecError as problem:
        raise ValueError(f"not a definition with a name: {problem}") from None
    if old == new:
        return data
    for match in _NAME.finditer(data):
        start, end = match.end(), match.end() + len(old)
        if data[start:end] != old:
            continue
        # the member at the top is the one whose change the decoder sees
        if bytes(_decode_name(data[:start] + _PROBE + data[end:]).name) == _PROBE:
            return data[:start] + new + data[end:]
    members = _decode_members(
        data
    )  # the key has escapes: of the rest, only values stay as they were
    members["name"] = Raw(new)
    return _encode(members)


def array(items: Iterable[bytes | Raw]) -> bytes:
    """A JSON array of values that are JSON already."""
    return b"[%b]" % b",".join(items)
