"""What either side declares it can do, as the JSON documents that say so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from flowcore.errors import InvalidArguments
from flowcore.mcp.meta import TASKS
from flowcore.mcp.methods import ASKS

_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_anything = msgspec.json.Decoder().decode


def parse_capabilities(raw: Raw | bytes | None) -> dict[str, Raw]:
    """A client's capabilities by name; {} if it declared none, and without those that are null.

    Raises InvalidArguments if they, or one of them, are no object.
    """
    if raw is None:
        return {}
    try:
        declared = _decode_members(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise InvalidArguments("capabilities must be an object") from None
    for name, value in declared.items():
        if memoryview(value)[0] not in b"{n":
            raise InvalidArguments(f"the capability {name[:100]!r} must be an object")
    return {name: value for name, value in declared.items() if memoryview(value)[0] == ord("{")}


def lacking(capabilities: Mapping[str, Raw], method: str, params: Raw | bytes) -> dict[str, Any]:
    """What a client must declare, and has not, to be asked this; {} if it can be asked.

    Elicitation by form is implied where a client declares no mode; by URL it must be named. Sampling
    with tools must be named, too (2025-11-25 and 2026-07-28, client features).
    """
    name = ASKS.get(method)
    if name is None:
        return {method: {}}
    declared = capabilities.get(name)
    detail: str | None = None
    if method == "elicitation/create" and b'"url"' in bytes(params):
        detail = "url" if _member(params, "mode") == "url" else None
    elif method == "sampling/createMessage" and b'"tools"' in bytes(params):
        detail = "tools" if _member(params, "tools") is not None else None
    if declared is None:
        return {name: {} if detail is None else {detail: {}}}
    if detail is None:
        if name == "elicitation" and b'"url"' in bytes(declared):
            inner = _decode_anything(declared)
            if isinstance(inner, dict) and "url" in inner and "form" not in inner:
                return {name: {"form": {}}}
        return {}
    inner = _decode_anything(declared)
    return {} if isinstance(inner, dict) and detail in inner else {name: {detail: {}}}


def has_extension(capabilities: Mapping[str, Raw], extension: str = TASKS) -> bool:
    """Whether a client declared an extension (by default, Tasks)."""
    raw = capabilities.get("extensions")
    if raw is None:
        return False
    try:
        return extension in _decode_members(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False


def server_capabilities(
    *,
    modern: bool,
    tools: bool = True,
    resources: bool = True,
    prompts: bool = True,
    completions: bool = False,
    logging: bool = False,
    subscribe: bool = False,
    tasks: bool = False,
) -> dict[str, Any]:
    """The capabilities document of a server whose lists may change at any time."""
    document: dict[str, Any] = {}
    if tools:
        document["tools"] = {"listChanged": True}
    if resources:
        document["resources"] = {"listChanged": True, **({"subscribe": True} if subscribe else {})}
    if prompts:
        document["prompts"] = {"listChanged": True}
    if completions:
        document["completions"] = {}
    if logging:
        document["logging"] = {}
    if tasks and modern:
        document["extensions"] = {TASKS: {}}
    return document


def client_capabilities(
    *, elicitation: bool = True, sampling: bool = True, roots: bool = True, tasks: bool = False
) -> dict[str, Any]:
    """The capabilities document of a client that passes questions on to whoever asked it."""
    document: dict[str, Any] = {}
    if elicitation:
        document["elicitation"] = {"form": {}, "url": {}}
    if sampling:
        document["sampling"] = {"context": {}, "tools": {}}
    if roots:
        document["roots"] = {}
    if tasks:
        document["extensions"] = {TASKS: {}}
    return document


def _member(params: Raw | bytes, key: str) -> Any:
    try:
        value = _decode_anything(params)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return value.get(key) if isinstance(value, dict) else None
