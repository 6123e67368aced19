"""Which line of a TOML text each key stands on.

tomli gives values without places. This scanner reads a text that tomli has accepted, so it needs to know
only TOML's shape (TOML 1.0.0): tables, arrays of tables, dotted and quoted keys, and the brackets and
strings that values may hold.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping

import tomli

Key = tuple[str | int, ...]

MAX_DEPTH = 100
"""Most parts of a key's path: far more than a person writes, far less than recursion takes."""

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SKIP = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BLANK = re.compile(r"[ \t]*")
_SCALAR = re.compile(r"[^,\]}#\n]*")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|' r"'''.*?'{3,5}|" r'"(?:\\.|[^"\\\n])*"|' r"'[^'\n]*'", re.DOTALL
)


def dotted(path: Key) -> str:
    """A path as a person writes it: `agent.time.command[2]`, with quotes where TOML needs them."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            bare = part and all(c.isascii() and (c.isalnum() or c in "_-") for c in part)
            text += f"{'.' if text else ''}{part if bare else toml_string(part)}"
    return text


def toml_string(text: str) -> str:
    """A TOML basic string (TOML 1.0.0, String)."""
    out = []
    for char in text:
        if char in '"\\':
            out.append("\\" + char)
        elif ord(char) < 32 or ord(char) == 127:
            out.append(f"\\u{ord(char):04X}")
        else:
            out.append(char)
    return '"' + "".join(out) + '"'


def key_lines(text: str) -> Mapping[Key, int]:
    """The line (from 1) of every table and key of a valid TOML text, by path.

    Elements of arrays have their index in the path; a table that is only implied stands where the first
    key or header that implies it stands. Raises RecursionError beyond MAX_DEPTH.
    """
    return _Scanner(text).run()


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.lines: dict[Key, int] = {}
        self.counts: dict[Key, int] = {}
        self.newlines = [match.start() for match in re.finditer("\n", text)]

    def run(self) -> Mapping[Key, int]:
        base: Key = ()
        while True:
            self.skip(_SKIP)
            if self.position >= len(self.text):
                return self.lines
            if self.text[self.position] == "[":
                base = self.header()
            else:
                self.pair(base)

    def line(self) -> int:
        return bisect_left(self.newlines, self.position) + 1

    def skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.position)
        assert match is not None
        self.position = match.end()
        return match[0]

    def note(self, base: Key, parts: list[str]) -> Key:
        path = base
        for part in parts:
            path = self.resolve((*path, part))
            if len(path) > MAX_DEPTH:
                raise RecursionError(f"keys are nested deeper than {MAX_DEPTH} levels")
            self.lines.setdefault(path, self.line())
        return path

    def resolve(self, path: Key) -> Key:
        """A path into an array of tables means its last element."""
        count = self.counts.get(path)
        return path if count is None else (*path, count - 1)

    def header(self) -> Key:
        array = self.text.startswith("[[", self.position)
        self.position += 2 if array else 1
        parts = self.key()
        if array:
            path = (*self.note((), parts[:-1]), parts[-1])
            self.lines.setdefault(path, self.line())
            self.counts[path] = self.counts.get(path, 0) + 1
            base = self.resolve(path)
            self.lines[base] = self.line()
        else:
            base = self.note((), parts)
            self.lines[base] = self.line()
        self.position += 2 if array else 1
        return base

    def pair(self, base: Key) -> None:
        path = self.note(base, self.key())
        self.position += 1  # the equals sign
        self.skip(_BLANK)
        self.value(path)

    def key(self) -> list[str]:
        """A dotted key; leaves the position behind it and the blanks that follow."""
        parts: list[str] = []
        while True:
            self.skip(_BLANK)
            if self.text[self.position] in "\"'":
                parts.append(tomli.loads(f"v = {self.skip(_STRING)}")["v"])
            else:
                parts.append(self.skip(_BARE))
            self.skip(_BLANK)
            if self.text[self.position] != ".":
                return parts
            self.position += 1

    def value(self, path: Key) -> None:
        first = self.text[self.position]
        if first in "\"'":
            self.skip(_STRING)
        elif first == "[":
            self.sequence(path)
        elif first == "{":
            self.inline_table(path)
        else:
            self.skip(_SCALAR)

    def sequence(self, path: Key) -> None:
        self.position += 1
        index = 0
        while True:
            self.skip(_SKIP)
            if self.text[self.position] == "]":
                self.position += 1
                return
            self.lines[(*path, index)] = self.line()
            self.value((*path, index))
            index += 1
            self.skip(_SKIP)
            if self.text[self.position] == ",":
                self.position += 1

    def inline_table(self, path: Key) -> None:
        self.position += 1
        while True:
            self.skip(_SKIP)
            if self.text[self.position] == "}":
                self.position += 1
                return
            self.pair(path)
            self.skip(_SKIP)
            if self.text[self.position] == ",":
                self.position += 1
