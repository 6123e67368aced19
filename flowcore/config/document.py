"""A configuration before it is checked: the tree of values, and where each stands."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import tomli

from flowcore.config.lines import Key, key_lines
from flowcore.config.problems import ConfigError, Problem, Where

MAX_BYTES = 1 << 20


@attrs.frozen(kw_only=True)
class Document:
    """The tree that a configuration is read from."""

    tree: Mapping[str, Any]
    folder: pathlib.Path
    """What relative paths are relative to."""
    source: str = ""
    lines: Mapping[Key, int] = attrs.field(factory=dict, repr=False)
    overridden: Mapping[Key, str] = attrs.field(factory=dict)

    def where(self, path: Key) -> Where:
        """The place of a key, or of the nearest table around it."""
        for length in range(len(path), -1, -1):
            key = path[:length]
            if key in self.overridden:
                return Where(self.overridden[key])
            if key in self.lines:
                return Where(self.source, self.lines[key])
        return Where(self.source, 1 if self.lines or self.source else 0)


def load(
    source: pathlib.Path | Mapping[str, Any] | str, *, overrides: Sequence[str] = ()
) -> Document:
    """Read a TOML file (a path), TOML text (a str) or a plain mapping, and apply `key=value` overrides.

    Raises ConfigError for what cannot be read at all.
    """
    if isinstance(source, pathlib.Path):
        document = _parse(_read(source), str(source), source.parent)
    elif isinstance(source, str):
        document = _parse(source, "<text>", pathlib.Path())
    else:
        document = Document(tree=source, folder=pathlib.Path())
    for override in overrides:
        document = _override(document, override)
    return document


def _read(path: pathlib.Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _fail(str(path), 0, f"the file cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise _fail(str(path), 0, f"the file has more than {MAX_BYTES:,} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _fail(str(path), line, f"the file is not UTF-8 text (byte {error.start})") from None


_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def _parse(text: str, source: str, folder: pathlib.Path) -> Document:
    text = text.replace("\r\n", "\n")
    try:
        tree = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        place = _PLACE.search(str(error))
        line = int(place[1]) if place and place[1] else text.count("\n") + 1
        column = f", column {place[2]}" if place and place[2] else ""
        message = _PLACE.sub("", str(error))
        raise _fail(
            source, line, f"this is not TOML: {message[:1].lower()}{message[1:]}{column}"
        ) from None
    except RecursionError:
        raise _fail(source, 0, "this TOML is nested too deeply") from None
    return Document(tree=tree, folder=folder, source=source, lines=key_lines(text))


def _override(document: Document, override: str) -> Document:
    place = f"--set {override.partition('=')[0]}"
    name, equals, text = override.partition("=")
    if not equals or not name.strip():
        raise _fail(place, 0, "expected key=value, such as node.name=beta")
    try:
        keys = _key_path(name.strip())
    except tomli.TOMLDecodeError:
        raise _fail(place, 0, f"{name.strip()!r} is no dotted key, such as node.name") from None
    try:
        value = tomli.loads(f"value = {text}")["value"]
    except tomli.TOMLDecodeError:
        value = text.strip()
    tree = _replaced(document.tree, keys, value, place)
    return attrs.evolve(document, tree=tree, overridden={**document.overridden, tuple(keys): place})


def _key_path(name: str) -> list[str]:
    node: Any = tomli.loads(f"{name} = 0")
    keys: list[str] = []
    while isinstance(node, dict):
        [(key, node)] = node.items()
        keys.append(key)
    return keys


def _replaced(tree: Any, keys: list[str], value: Any, place: str) -> dict[str, Any]:
    if not isinstance(tree, Mapping):
        raise _fail(place, 0, "there is a plain value on the way to this key")
    rest = keys[1:]
    new = _replaced(tree.get(keys[0], {}), rest, value, place) if rest else value
    return {**tree, keys[0]: new}


def _fail(source: str, line: int, message: str) -> ConfigError:
    return ConfigError([Problem(where=Where(source, line), message=message)])
