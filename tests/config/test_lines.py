"""The line of every key, found in any TOML text that tomli accepts."""

from __future__ import annotations

import pathlib
from typing import Any

import attrs
import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from flowcore.config import ConfigError, load
from flowcore.config.lines import MAX_DEPTH, Key, dotted, key_lines, toml_string

NAMES = st.sampled_from(["a", "b-1", "c_2", "7", "d e", "f.g", '"', "'", "ü", "", "#", "[", "="])
VALUES = st.sampled_from(
    [
        "1",
        "-1.5e3",
        "inf",
        "true",
        "1979-05-27T07:32:00Z",
        "07:32:00",
        "'lit # ] }'",
        '"a \\" # ] , }"',
        '""',
        "''",
        '"""\n  two\n""\\"lines"""""',
        "'''\n#\n'''''",
        '"""\\\n   folded"""',
    ]
)


def key_text(name: str) -> st.SearchStrategy[str]:
    """A key's forms: bare where it may be, basic, literal."""
    forms = [toml_string(name)]
    if "'" not in name:
        forms.append(f"'{name}'")
    if name and all(one.isascii() and (one.isalnum() or one in "-_") for one in name):
        forms.append(name)
    return st.sampled_from(forms)


@attrs.define
class Writing:
    """A TOML text under way, and the line of each key that it has written."""

    draw: Any
    text: str = ""
    lines: dict[Key, int] = attrs.field(factory=dict)

    @property
    def line(self) -> int:
        return self.text.count("\n") + 1

    def add(self, text: str) -> None:
        self.text += text

    def blank(self) -> None:
        self.add(self.draw(st.sampled_from(["", " ", "\t"])))

    def gap(self) -> None:
        """What may stand between the parts of an array."""
        self.add(self.draw(st.sampled_from(["", " ", "\n", ' # ] } , = "\n', "\n\n\t"])))

    def name(self, name: str) -> None:
        self.blank()
        self.add(self.draw(key_text(name)))
        self.blank()

    def pair(self, base: Key, name: str, depth: int) -> None:
        parts = [name, *self.draw(st.lists(NAMES, max_size=2))]
        path = base
        for number, part in enumerate(parts):
            self.add("." * bool(number))
            self.name(part)
            path = (*path, part)
            self.lines[path] = self.line
        self.add("=")
        self.blank()
        self.value(path, depth)

    def value(self, path: Key, depth: int) -> None:
        kind = self.draw(st.integers(0, 3)) if depth else 0
        if kind < 2:
            self.add(self.draw(VALUES))
        elif kind == 2:
            self.add("[")
            count = self.draw(st.integers(0, 3))
            for index in range(count):
                self.gap()
                self.lines[(*path, index)] = self.line
                self.value((*path, index), depth - 1)
                self.gap()
                last = index == count - 1
                self.add("" if last and self.draw(st.booleans()) else ",")
            self.gap()
            self.add("]")
        else:
            self.add("{")
            for number, name in enumerate(self.draw(st.lists(NAMES, max_size=3, unique=True))):
                self.add("," * bool(number))
                self.pair(path, name, depth - 1)
            self.blank()
            self.add("}")

    def end(self) -> None:
        self.add(self.draw(st.sampled_from(["\n", " # x = 1\n", "\n\n# [y]\n", "\r\n"])))


@st.composite
def texts(draw: st.DrawFn) -> tuple[str, dict[Key, int]]:
    """A valid TOML text with the line of each of its keys, noted while it was written."""
    writing = Writing(draw)
    names = draw(st.lists(NAMES, max_size=6, unique=True))
    headers = draw(st.integers(0, len(names)))
    for name in names[headers:]:
        writing.pair((), name, 2)
        writing.end()
    for name in names[:headers]:
        count = draw(st.integers(0, 2))
        for index in range(max(count, 1)):
            path: Key = (name, index) if count else (name,)
            writing.blank()
            writing.add("[[" if count else "[")
            writing.name(name)
            writing.lines.setdefault((name,), writing.line)
            writing.lines[path] = writing.line
            writing.add("]]" if count else "]")
            writing.end()
            inner = draw(st.lists(NAMES, max_size=3, unique=True))
            for key in inner[1:]:
                writing.pair(path, key, 2)
                writing.end()
            if inner:  # a table within, by a header of its own
                writing.add("[")
                writing.name(name)
                writing.add(".")
                writing.name(inner[0])
                writing.lines[(*path, inner[0])] = writing.line
                writing.add("]")
                writing.end()
                writing.pair((*path, inner[0]), "z", 1)
                writing.end()
    return writing.text, writing.lines


@given(texts())
def test_every_key_is_found_on_the_line_where_it_was_written(
    written: tuple[str, dict[Key, int]],
) -> None:
    text, lines = written
    document = load(text)
    assert document.tree == tomli.loads(text)
    assert document.lines == lines


@given(st.text(alphabet="ab=.[]{}\"'\\\n\r\t ,#1-_", max_size=40))
def test_the_scanner_follows_tomli_through_any_text(text: str) -> None:
    try:
        document = load(text)
    except ConfigError:
        return
    for path in document.lines:
        node: Any = document.tree
        for part in path:
            node = node[part]


@given(st.binary(max_size=60))
def test_any_bytes_are_a_document_or_a_problem_with_its_file(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content)
    try:
        load(path)
    except ConfigError as error:
        assert str(error).startswith(f"{path}:")


@given(st.lists(NAMES, min_size=1, max_size=4))
def test_a_path_is_written_as_toml_reads_it(names: list[str]) -> None:
    tree: Any = tomli.loads(f"{dotted(tuple(names))} = 0")
    for name in names:
        tree = tree[name]
    assert tree == 0


def test_an_implied_table_stands_where_it_is_first_implied() -> None:
    assert key_lines("[a.b.c]\n[a.b]\n[a]\nx.y = 1\nx.z = 2\n") == {
        ("a",): 3,
        ("a", "b"): 2,
        ("a", "b", "c"): 1,
        ("a", "x"): 4,
        ("a", "x", "y"): 4,
        ("a", "x", "z"): 5,
    }


def test_keys_nested_deeper_than_anyone_writes_are_refused_before_they_cost_anything(
    tmp_path: pathlib.Path,
) -> None:
    assert len(load(".".join("a" * MAX_DEPTH) + " = 1").lines) == MAX_DEPTH
    path = tmp_path / "deep.toml"
    path.write_text(".".join("a" * (MAX_DEPTH + 1)) + " = 1")
    with pytest.raises(ConfigError, match="nested too deeply"):
        load(path)
