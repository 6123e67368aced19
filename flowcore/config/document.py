"""A configuration before it is checked: the tree of values, and where each stands."""

from __future__ import annotations

import ast
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import tomli

from flowcore.config.lines import Key, dotted, key_lines
from flowcore.config.problems import ConfigError, Problem, Where, clipped

MAX_BYTES = 1 << 20
TEXT = "<text>"
"""What stands for the file's name where a configuration is given as text."""


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
        around = [path[:length] for length in range(len(path), -1, -1)]
        for key in around:  # what an override has replaced has no line of its own any more
            if key in self.overridden:
                return Where(self.overridden[key])
        if path not in self.lines:
            for key, place in self.overridden.items():  # a table that only an override has made
                if path and key[: len(path)] == path:
                    return Where(place)
        for key in around:
            if key in self.lines:
                return Where(self.source, self.lines[key])
        return Where(self.source, 1 if self.lines or self.source else 0)


def load(
    source: pathlib.Path | Mapping[str, Any] | str, *, overrides: Sequence[str] = ()
) -> Document:
    """Read a TOML file (a path), TOML text or a plain mapping, and apply `key=value` overrides.

    A str is TOML text, unless it is a line that can only be meant as a file's name. Raises ConfigError for
    what cannot be read at all, TypeError for anything else.
    """
    if isinstance(source, str) and _names_a_file(source):
        source = pathlib.Path(source)
    if isinstance(source, pathlib.Path):
        document = _parse(_read(source), str(source), source.parent)
    elif isinstance(source, str):
        document = _parse(source, TEXT, pathlib.Path())
    elif isinstance(source, Mapping):
        document = Document(tree=source, folder=pathlib.Path())
    else:
        raise TypeError(
            f"expected a configuration as a path, TOML text or a mapping, not {source!r:.100}"
        )
    for override in overrides:
        document = _override(document, override)
    return document


def _names_a_file(text: str) -> bool:
    """Whether a text is one line that TOML cannot be: neither a pair, a table's head nor a comment."""
    line = text.strip()
    return bool(line) and text.isprintable() and line[0] != "[" and not {"=", "#"} & set(line)


def _read(path: pathlib.Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _fail(str(path), 0, f"the file cannot be read: {error.strerror}") from None
    except ValueError as error:  # a name that no file can have
        raise _fail(str(path), 0, f"the file cannot be read: {error}") from None
    if len(content) > MAX_BYTES:
        raise _fail(str(path), 0, f"the file has more than {MAX_BYTES:,} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _fail(str(path), line, f"the file is not UTF-8 text (byte {error.start})") from None


_DECLARED = re.compile(r"Cannot declare (\(.*\)) twice", re.DOTALL)


def _said(message: str) -> str:
    """What tomli says, in words for a person where it speaks of its own tables."""
    declared = _DECLARED.fullmatch(message)
    if declared:
        return f"the table [{dotted(ast.literal_eval(declared[1]))}] is declared twice"
    if message == "Cannot overwrite a value":
        return "this key is given twice, or has a value that is no table"
    return message[:1].lower() + message[1:]


_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def _parse(text: str, source: str, folder: pathlib.Path) -> Document:
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    try:
        tree = tomli.loads(text)
        lines = key_lines(text)
    except tomli.TOMLDecodeError as error:
        place = _PLACE.search(str(error))
        line = int(place[1]) if place and place[1] else text.rstrip("\n").count("\n") + 1
        column = f", column {place[2]}" if place and place[2] else ""
        message = _said(_PLACE.sub("", str(error)))
        raise _fail(source, line, f"this is not TOML: {message}{column}") from None
    except RecursionError:
        raise _fail(source, 0, "this TOML is nested too deeply") from None
    except ValueError:  # Python's bound on the digits of an integer
        raise _fail(source, 0, "this TOML holds an integer of too many digits") from None
    return Document(tree=tree, folder=folder, source=source, lines=lines)


def _override(document: Document, override: str) -> Document:
    name, equals, _ = override.partition("=")
    if not equals or not name.strip():
        place = f"--set {clipped(name)}"
        raise _fail(place, 0, "expected key=value, such as node.name=beta")
    keys, text = _split(override)
    place = f"--set {dotted(keys)}"
    tree = _replaced(document.tree, list(keys), _value(text), place)
    return attrs.evolve(document, tree=tree, overridden={**document.overridden, keys: place})


def _split(override: str) -> tuple[Key, str]:
    """Key and value, parted at the first equals sign that is not within quotes."""
    position = override.find("=")
    while position >= 0:
        keys = _keys(override[:position])
        if keys is not None:
            return keys, override[position + 1 :]
        position = override.find("=", position + 1)
    name = override.partition("=")[0].strip()
    raise _fail(f"--set {clipped(name)}", 0, "this is no dotted key, such as node.name")


def _keys(name: str) -> Key | None:
    """The parts of a dotted key, None if it is not one and nothing else."""
    text = f"{name} = 0"
    try:
        tomli.loads(text)
        lines = key_lines(text)
    except (tomli.TOMLDecodeError, RecursionError):
        return None
    whole = "\n" not in name and not name.lstrip().startswith(("[", "#"))
    return max(lines, key=len) if whole and lines else None


def as_path(text: str) -> str:
    """A dotted path as problems name it: `agent.time.env.KEY`, `a.b[0]`. Raises ValueError."""
    *tables, last = re.split(r"(?<=\])\.", text)
    parts: list[str | int] = []
    for part in (*tables, last):
        indexes = re.findall(r"\[(\d{1,9})\]", part)
        name = re.sub(r"(\[\d{1,9}\])+$", "", part)
        keys = _keys(name)
        if keys is None:
            raise ValueError(f"expected a setting such as auth.idp.secret, not {text!r}")
        parts += [*keys, *map(int, indexes)]
    return dotted(tuple(parts))


def _value(text: str) -> Any:
    """A TOML value, or the text itself where it is none."""
    if "\n" not in text:
        try:
            return tomli.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):  # TOMLDecodeError is a ValueError
            pass
    return text.strip()


def _replaced(tree: Any, keys: list[Any], value: Any, place: str) -> dict[str, Any]:
    if not isinstance(tree, Mapping):
        raise _fail(place, 0, "there is a plain value on the way to this key")
    rest = keys[1:]
    new = _replaced(tree.get(keys[0], {}), rest, value, place) if rest else value
    return {**tree, keys[0]: new}


def _fail(source: str, line: int, message: str) -> ConfigError:
    return ConfigError([Problem(where=Where(source, line), message=message)])
