"""The shapes of values: one object per annotation that reads, shows and describes them.

Structuring, the JSON schema, the reference docs and `config show` all walk the same shapes, so they
cannot disagree. Tables with known keys are in `tables`.
"""

from __future__ import annotations

import datetime
import enum
import math
import os
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import attrs

from flowcore.config import values
from flowcore.config.lines import Key, dotted, toml_string
from flowcore.config.problems import Problem, Where, clipped, known_words
from flowcore.config.sealing import opened
from flowcore.config.settings import Selection


class Lookup(Protocol):
    """What the caller knows about the components that can be selected."""

    def lookup(self, kind: str, type_: str) -> type | None:
        """The configuration class of a type of a kind, or None."""
        ...

    def known(self, kind: str) -> Sequence[str]:
        """The types of a kind."""
        ...

    def note(self, kind: str, type_: str) -> str | None:
        """What else to say where a type is not known."""
        ...


@attrs.define(eq=False)
class Walk:
    """One structuring under way: what it found wrong, and what it needs to know."""

    lookup: Lookup
    folder: pathlib.Path
    place: Callable[[Key], Where]
    root: Mapping[str, Any]
    problems: list[Problem] = attrs.field(factory=list)
    selections: list[Selection] = attrs.field(factory=list)
    """Every component that was chosen without a problem."""

    def wrong(self, path: Key, message: str) -> Any:
        """Note a problem; gives WRONG so that a reader can return it."""
        said = PASSWORD.sub("***", message)
        self.problems.append(Problem(where=self.place(path), path=dotted(path), message=said))
        return WRONG


PASSWORD = re.compile(r"(?:(?<=//)|(?<=:)(?!/))[^\s@'\"]+(?=@)")
"""User and password within a URL, which a message about that URL must not show."""

WRONG: Any = object()
"""What a shape reads from a value that has been reported as a problem."""


DATES = (datetime.date, datetime.time)
"""What TOML's dates and times are in Python (a datetime is a date)."""


def kind_of(value: Any) -> str:
    """What a TOML value is, in words for a person; never the value itself (it may be a secret)."""
    names: tuple[tuple[Any, str], ...] = (
        (bool, "a boolean"),
        (int, "an integer"),
        (float, "a float"),
        (str, "a string"),
        (Mapping, "a table"),
        ((list, tuple), "an array"),
        (DATES, "a date or time"),
    )
    for of, name in names:
        if isinstance(value, of):
            return name
    # TOML has no others, but a mapping given by a program may
    return f"a Python {type(value).__name__}"


def is_written(value: object) -> bool:
    """Whether a value is of a kind that TOML writes, or can only have been meant as one."""
    kinds = (str, bytes, int, float, Mapping, list, tuple, set, os.PathLike, *DATES)
    return value is None or isinstance(value, kinds)


class Shape(Protocol):
    """How values of one annotation are read, shown and described."""

    def read(self, value: Any, path: Key, walk: Walk) -> Any:
        """The value for the object, or WRONG after reporting each problem."""
        ...

    def show(self, value: Any) -> str:
        """The value as TOML text, secrets masked."""
        ...

    def schema(self, listing: Listing) -> dict[str, Any]:
        """JSON schema (draft 2020-12) of the TOML form."""
        ...

    def words(self) -> str:
        """The TOML form in a few words."""
        ...


Listing = Mapping[str, Mapping[str, type]]
"""kind → type → configuration class, of everything that can be selected."""


@attrs.frozen
class Plain:
    """str, int, float or bool, exactly: nothing is turned into anything else (an integer is a float)."""

    of: type

    def read(self, value: Any, path: Key, walk: Walk) -> Any:
        if self.of is float and type(value) is int:
            try:
                return float(value)
            except OverflowError:
                return walk.wrong(path, "expected a finite number, and this one is too large")
        if type(value) is not self.of:
            return walk.wrong(path, f"expected {self.words()}, not {kind_of(value)}")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            return walk.wrong(path, "expected an integer of 64 bits, and this one is larger")
        if isinstance(value, float) and not math.isfinite(value):
            return walk.wrong(path, f"expected a finite number, not {value}")
        return value

    def show(self, value: Any) -> str:
        if isinstance(value, str):
            return toml_string(value)
        if isinstance(value, DATES):
            return value.isoformat()
        return str(value).lower() if isinstance(value, bool) else repr(value)

    def schema(self, listing: Listing) -> dict[str, Any]:
        del listing
        return {"type": {str: "string", int: "integer", float: "number", bool: "boolean"}[self.of]}

    def words(self) -> str:
        return {str: "a string", int: "an integer", float: "a number", bool: "true or false"}[
            self.of
        ]


@attrs.frozen
class Choice:
    """One of a few texts: a Literal or an Enum of strings."""

    options: Mapping[str, Any]

    def read(self, value: Any, path: Key, walk: Walk) -> Any:
        if not isinstance(value, str):
            return walk.wrong(path, f"expected {self.words()}, not {kind_of(value)}")
        if value not in self.options:
            return walk.wrong(
                path, f"unknown value {clipped(value)}{known_words(value, list(self.options))}"
            )
        return self.options[value]

    def show(self, value: Any) -> str:
        return toml_string(value.value if isinstance(value, enum.Enum) else value)

    def schema(self, listing: Listing) -> dict[str, Any]:
        del listing
        return {"enum": list(self.options)}

    def words(self) -> str:
        return "one of " + ", ".join(map(toml_string, self.options))


@attrs.frozen
class Text:
    """A value written as text of its own form: a duration, a size, an address, a path."""

    form: str
    parse: Callable[[str], Any]
    print: Callable[[Any], str]
    name: str
    pattern: str
    """A regular expression for editors: what it refuses is wrong, what it takes may still be."""

    def read(self, value: Any, path: Key, walk: Walk) -> Any:
        if isinstance(value, os.PathLike) and self is PATH:  # from a program
            value = os.fspath(value)
        if not isinstance(value, str):
            return walk.wrong(path, f"expected {self.form}, not {kind_of(value)}")
        try:
            parsed = self.parse(value)
        except ValueError as error:
            return walk.wrong(path, f"{error}, not {clipped(value)}")
        return walk.folder / parsed if isinstance(parsed, pathlib.Path) else parsed

    def show(self, value: Any) -> str:
        return toml_string(self.print(value))

    def schema(self, listing: Listing) -> dict[str, Any]:
        del listing
        return {"type": "string", "pattern": self.pattern}

    def words(self) -> str:
        return self.name


def _parse_path(text: str) -> pathlib.Path:
    if not text or "\0" in text:
        raise ValueError("expected a path")
    return pathlib.Path(text)


DURATION = Text(
    values.DURATION_FORM,
    values.parse_duration,
    values.show_duration,
    "a duration",
    r"^([0-9]+(\.[0-9]+)?(us|ms|s|m|h|d))+$",
)
SIZE = Text(
    values.SIZE_FORM,
    values.parse_size,
    values.show_size,
    "a size",
    r"^[0-9]+(\.[0-9]+)? ?([KMGT]i?B|B)$",
)
ADDRESS = Text(values.ADDRESS_FORM, values.parse_address, str, "an address", r"^.+:[0-9]{1,5}$")
PATH = Text("a path", _parse_path, str, "a path", ".")


@attrs.frozen
class SecretShape:
    """A secret: named in the file, never written there."""

    def read(self, value: Any, path: Key, walk: Walk) -> Any:
        if isinstance(value, values.Secret):  # from a program, which may hold one already
            return value
        try:
            return values.read_secret(
                value, walk.folder, lambda text: opened(text, path, walk.root, walk.folder)
            )
        except ValueError as error:
            return walk.wrong(path, str(error))

    def show(self, value: Any) -> str:
        source = value.source.items()
        return (
            "{ " + ", ".join(f"{how} = {toml_string(name)}" for how, name in source) + " }"
            if source
            else '"***"'
        )

    def schema(self, listing: Listing) -> dict[str, Any]:
        del listing
        one = {"type": "object", "additionalProperties": False}
        return {
            "oneOf": [
                {**one, "properties": {how: {"type": "string"}}, "required": [how]}
                for how in values.SOURCES
            ]
        }

    def words(self) -> str:
        return f"a secret, {values.FORM_OF_A_SECRET}"


@attrs.frozen
class Maybe:
    """Something that may be left out; TOML has no null, so it is left out by not being there."""

    of: Shape

    def read(self, value: Any, path: Key, walk: Walk) -> Any:
        return self.of.read(value, path, walk)

    def show(self, value: Any) -> str:
        return self.of.show(value)

    def schema(self, listing: Listing) -> dict[str, Any]:
        return self.of.schema(listing)

    def words(self) -> str:
        return self.of.words()


@attrs.frozen
class Either:
    """One of several forms, told apart by the first that fits without a problem."""

    of: tuple[Shape, ...]

    def read(self, value: Any, path: Key, walk: Walk) -> Any:
        for shape in self.of:
            attempt = attrs.evolve(walk, problems=[])
            result = shape.read(value, path, attempt)
            if not attempt.problems:
                return result
            if isinstance(shape, SecretShape) and isinstance(value, Mapping):
                walk.problems.extend(
                    attempt.problems
                )  # a table can only have been meant as a secret
                return WRONG
        return walk.wrong(path, f"expected {self.words()}, not {kind_of(value)}")

    def show(self, value: Any) -> str:
        for shape in self.of:
            try:
                return shape.show(value)
            except (TypeError, AttributeError, KeyError):
                continue
        raise TypeError(f"no form of {self.words()} fits {type(value).__name__}")

    def schema(self, listing: Listing) -> dict[str, Any]:
        return {"anyOf": [shape.schema(listing) for shape in self.of]}

    def words(self) -> str:
        return " or ".join(shape.words() for shape in self.of)


@attrs.frozen
class OrGiven:
    """A shape that a program may put an object of its own in the place of; a file has but the shape."""

    of: Shape

    def read(self, value: Any, path: Key, walk: Walk) -> Any:
        if isinstance(value, values.Given):
            return value
        return self.of.read(value, path, walk) if is_written(value) else values.Given(value)

    def show(self, value: Any) -> str:
        return toml_string(str(value)) if isinstance(value, values.Given) else self.of.show(value)

    def schema(self, listing: Listing) -> dict[str, Any]:
        return self.of.schema(listing)

    def words(self) -> str:
        return self.of.words()


@attrs.frozen
class Series:
    """An array of one shape, as a list or a tuple."""

    of: Shape
    make: Callable[[list[Any]], Any]

    def read(self, value: Any, path: Key, walk: Walk) -> Any:
        if not isinstance(value, (list, tuple)):
            return walk.wrong(path, f"expected {self.words()}, not {kind_of(value)}")
        read = [self.of.read(one, (*path, index), walk) for index, one in enumerate(value)]
        return WRONG if any(one is WRONG for one in read) else self.make(read)

    def show(self, value: Any) -> str:
        return "[" + ", ".join(self.of.show(one) for one in value) + "]"

    def schema(self, listing: Listing) -> dict[str, Any]:
        return {"type": "array", "items": self.of.schema(listing)}

    def words(self) -> str:
        return f"an array, each {self.of.words()}"


def only_texts(table: Mapping[Any, Any], path: Key, walk: Walk) -> bool:
    """Whether all keys are texts, as they are in TOML but need not be in a program's mapping."""
    others = [key for key in table if not isinstance(key, str)]
    if others:
        walk.wrong(path, f"expected keys that are strings, not {clipped(others[0])}")
    return not others


@attrs.frozen
class Named:
    """A table whose keys are free names and whose values have one shape."""

    of: Shape

    def read(self, value: Any, path: Key, walk: Walk) -> Any:
        if not isinstance(value, Mapping):
            return walk.wrong(path, f"expected {self.words()}, not {kind_of(value)}")
        if not only_texts(value, path, walk):
            return WRONG
        read = {key: self.of.read(one, (*path, key), walk) for key, one in value.items()}
        return WRONG if any(one is WRONG for one in read.values()) else read

    def show(self, value: Any) -> str:
        inner = ", ".join(f"{dotted((key,))} = {self.of.show(one)}" for key, one in value.items())
        return "{ " + inner + " }" if inner else "{}"

    def schema(self, listing: Listing) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": self.of.schema(listing)}

    def words(self) -> str:
        return f"a table, each value {self.of.words()}"


@attrs.frozen
class Anything:
    """Any TOML value, passed on as it is (a JSON schema written in TOML, say)."""

    def read(self, value: Any, path: Key, walk: Walk) -> Any:
        del path, walk
        return value

    def show(self, value: Any) -> str:
        if isinstance(value, Mapping):
            return Named(self).show(value)
        if isinstance(value, (list, tuple)):
            return Series(self, list).show(value)
        return Plain(type(value)).show(value)

    def schema(self, listing: Listing) -> dict[str, Any]:
        del listing
        return {}

    def words(self) -> str:
        return "any value"
