"""The shapes of values: one object per annotation that reads, shows and describes them.

Structuring, the JSON schema, the reference docs and `config show` all walk the same shapes, so they
cannot disagree.
"""

from __future__ import annotations

import enum
import math
import pathlib
import types
import typing
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

import attrs

from flowcore.config import values
from flowcore.config.lines import Key
from flowcore.config.problems import Problem, Where, known_words
from flowcore.config.settings import About, Selection, about


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

    def wrong(self, path: Key, message: str) -> Any:
        """Note a problem; gives WRONG so that a reader can return it."""
        self.problems.append(Problem(where=self.place(path), path=dotted(path), message=message))
        return WRONG


WRONG: Any = object()
"""What a shape reads from a value that has been reported as a problem."""


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


def kind_of(value: Any) -> str:
    """What a TOML value is, in words for a person; never the value itself (it may be a secret)."""
    names = {
        bool: "a boolean",
        int: "an integer",
        float: "a float",
        str: "a string",
        dict: "a table",
    }
    return names.get(
        type(value), "an array" if isinstance(value, (list, tuple)) else "a date or time"
    )


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
            return float(value)
        if type(value) is not self.of:
            return walk.wrong(path, f"expected {self.words()}, not {kind_of(value)}")
        if isinstance(value, float) and not math.isfinite(value):
            return walk.wrong(path, f"expected a finite number, not {value}")
        return value

    def show(self, value: Any) -> str:
        if isinstance(value, str):
            return toml_string(value)
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
                path, f"unknown value {value!r}{known_words(value, list(self.options))}"
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

    def read(self, value: Any, path: Key, walk: Walk) -> Any:
        if not isinstance(value, str):
            return walk.wrong(path, f"expected {self.form}, not {kind_of(value)}")
        try:
            parsed = self.parse(value)
        except ValueError as error:
            return walk.wrong(path, f"{error}, not {value!r}")
        return walk.folder / parsed if isinstance(parsed, pathlib.Path) else parsed

    def show(self, value: Any) -> str:
        return toml_string(self.print(value))

    def schema(self, listing: Listing) -> dict[str, Any]:
        del listing
        return {"type": "string", "description": self.form}

    def words(self) -> str:
        return self.name


def _parse_path(text: str) -> pathlib.Path:
    if not text or "\0" in text:
        raise ValueError("expected a path")
    return pathlib.Path(text)


DURATION = Text(values.DURATION_FORM, values.parse_duration, values.show_duration, "a duration")
SIZE = Text(values.SIZE_FORM, values.parse_size, values.show_size, "a size")
ADDRESS = Text(values.ADDRESS_FORM, values.parse_address, str, "an address")
PATH = Text("a path", _parse_path, str, "a path")


@attrs.frozen
class SecretShape:
    """A secret: named in the file, never written there."""

    def read(self, value: Any, path: Key, walk: Walk) -> Any:
        try:
            return values.read_secret(value, walk.folder)
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
                for how in ("env", "file")
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


@attrs.frozen
class Named:
    """A table whose keys are free names and whose values have one shape."""

    of: Shape

    def read(self, value: Any, path: Key, walk: Walk) -> Any:
        if not isinstance(value, Mapping):
            return walk.wrong(path, f"expected {self.words()}, not {kind_of(value)}")
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


@attrs.frozen
class Table:
    """A table with known keys: an attrs configuration class."""

    cls: type

    def read(self, value: Any, path: Key, walk: Walk) -> Any:
        if not isinstance(value, Mapping):
            return walk.wrong(path, f"expected a table, not {kind_of(value)}")
        return read_keys((self.cls,), value, path, walk)[0]

    def show(self, value: Any) -> str:
        inner = [f"{name} = {text}" for name, text in shown(value)]
        return "{ " + ", ".join(inner) + " }" if inner else "{}"

    def schema(self, listing: Listing) -> dict[str, Any]:
        return table_schema((self.cls,), listing)

    def words(self) -> str:
        return "a table"


@attrs.frozen
class Select:
    """A component chosen by type: the bare type, or a table with `type` and that type's own keys."""

    kind: str
    common: type | None

    def read(self, value: Any, path: Key, walk: Walk) -> Any:
        table: Mapping[str, Any] = {"type": value} if isinstance(value, str) else value
        if not isinstance(table, Mapping):
            return walk.wrong(path, f"expected {self.words()}, not {kind_of(value)}")
        type_ = table.get("type")
        if not isinstance(type_, str):
            got = "" if type_ is None else f", not {kind_of(type_)}"
            return walk.wrong(
                path if type_ is None else (*path, "type"),
                f"the type of this {self.kind} is missing{known_words('', walk.lookup.known(self.kind))}"
                if type_ is None
                else f"expected the type of the {self.kind} as a string{got}",
            )
        own = walk.lookup.lookup(self.kind, type_)
        if own is None:
            note = walk.lookup.note(self.kind, type_)
            known = known_words(type_, walk.lookup.known(self.kind))
            where = path if isinstance(value, str) else (*path, "type")
            return walk.wrong(
                where, f"unknown {self.kind} type {type_!r}{known}" + (f"; {note}" if note else "")
            )
        classes = (own,) if self.common is None else (own, self.common)
        rest = {key: one for key, one in table.items() if key != "type"}
        objects = read_keys(classes, rest, path, walk)
        if any(one is WRONG for one in objects):
            return WRONG
        return Selection(
            kind=self.kind,
            type=type_,
            name=str(path[-1]),
            config=objects[0],
            common=objects[1] if self.common is not None else None,
            path=dotted(path),
            where=walk.place(path),
        )

    def show(self, value: Any) -> str:
        if isinstance(value, str):
            return toml_string(value)
        inner = [f"type = {toml_string(value.type)}"]
        inner += [f"{name} = {text}" for name, text in selection_shown(value)]
        return "{ " + ", ".join(inner) + " }"

    def schema(self, listing: Listing) -> dict[str, Any]:
        types_ = listing.get(self.kind, {})
        forms: list[dict[str, Any]] = []
        bare = [type_ for type_, own in types_.items() if not required_keys(own)]
        if bare and (self.common is None or not required_keys(self.common)):
            forms.append({"enum": bare})
        for type_, own in types_.items():
            classes = (own,) if self.common is None else (own, self.common)
            schema = table_schema(classes, listing)
            schema["properties"] = {"type": {"const": type_}, **schema["properties"]}
            schema["required"] = ["type", *schema.get("required", [])]
            forms.append(schema)
        return {"anyOf": forms} if forms else {"not": {}}

    def words(self) -> str:
        return f"a type of {self.kind}, or a table with one"


@attrs.frozen
class Refer:
    """The name of a component of a kind; there must be a table of it."""

    kind: str

    def read(self, value: Any, path: Key, walk: Walk) -> Any:
        if not isinstance(value, str):
            return walk.wrong(path, f"expected the name of a {self.kind}, not {kind_of(value)}")
        tables = walk.root.get(self.kind)
        names = list(tables) if isinstance(tables, Mapping) else []
        if value not in names:
            return walk.wrong(
                path, f"there is no [{self.kind}.{value}]{known_words(value, sorted(names))}"
            )
        return value

    def show(self, value: Any) -> str:
        return toml_string(value)

    def schema(self, listing: Listing) -> dict[str, Any]:
        del listing
        return {"type": "string"}

    def words(self) -> str:
        return f"the name of a {self.kind}"


def read_keys(
    classes: tuple[type, ...], table: Mapping[str, Any], path: Key, walk: Walk
) -> tuple[Any, ...]:
    """Read one table whose keys belong to one or more classes; an object of each, or WRONG."""
    owners = owned_fields(classes)
    for key in table:
        if key not in owners:
            walk.wrong((*path, key), f"unknown key{known_words(key, sorted(owners))}")
    return tuple(_read_class(cls, table, path, walk) for cls in classes)


def _read_class(cls: type, table: Mapping[str, Any], path: Key, walk: Walk) -> Any:
    arguments: dict[str, Any] = {}
    wrong = False
    for name, field, shape in shaped_fields(cls):
        said = about(field)
        at = (*path, name)
        if name not in table:
            if said.selects is not None and isinstance(field.default, str):
                value = shape.read(field.default, at, walk)
            elif field.default is attrs.NOTHING:
                value = walk.wrong(path, f"the key {name!r} is missing: {said.help}")
            else:
                continue
        else:
            value = _checked(said, shape.read(table[name], at, walk), table[name], at, walk)
        wrong = wrong or value is WRONG
        arguments[field.alias or field.name] = value
    if wrong:
        return WRONG
    try:
        return cls(**arguments)
    except ValueError as error:
        return walk.wrong(path, str(error))


def _checked(said: About, value: Any, written: Any, path: Key, walk: Walk) -> Any:
    if value is WRONG or said.validator is None:
        return value
    try:
        said.validator(value)
    except ValueError as error:
        shown = isinstance(written, (str, int, float)) and not isinstance(value, values.Secret)
        return walk.wrong(path, f"{error}, not {written!r}" if shown else str(error))
    return value


def owned_fields(classes: tuple[type, ...]) -> dict[str, type]:
    """Which class each key belongs to. Raises TypeError if two claim one, or one is called `type`."""
    owners: dict[str, type] = {}
    for cls in classes:
        for name, _, _ in shaped_fields(cls):
            other = owners.setdefault(name, cls)
            if other is not cls:
                raise TypeError(f"the key {name!r} is in {cls.__name__} and in {other.__name__}")
    return owners


def required_keys(cls: type) -> list[str]:
    """The keys that must be given."""
    return [name for name, field, _ in shaped_fields(cls) if field.default is attrs.NOTHING]


def table_schema(classes: tuple[type, ...], listing: Listing) -> dict[str, Any]:
    """The JSON schema of a table with the keys of these classes and no others."""
    properties: dict[str, Any] = {}
    required: list[str] = []
    for cls in classes:
        for name, field, shape in shaped_fields(cls):
            said = about(field)
            inner = shape.schema(listing)
            inner.update(getattr(said.validator, "schema", {}) if _plain(shape) else {})
            properties[name] = {**inner, "description": said.help}
        required += required_keys(cls)
    schema: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
    if required:
        schema["required"] = required
    return schema


def _plain(shape: Shape) -> bool:
    """Whether a validator's bounds speak of the TOML form itself (a duration's are in seconds)."""
    inner = shape.of if isinstance(shape, Maybe) else shape
    return isinstance(inner, (Plain, Series))


def shown(obj: Any) -> Iterator[tuple[str, str]]:
    """(key, TOML text) of each setting of a configuration object that has a value."""
    for name, field, shape in shaped_fields(type(obj)):
        value = getattr(obj, field.name)
        if value is not None:
            yield name, shape.show(value)


def selection_shown(value: Selection) -> Iterator[tuple[str, str]]:
    """(key, TOML text) of a selection's settings, common ones first."""
    if value.common is not None:
        yield from shown(value.common)
    yield from shown(value.config)


def shaped_fields(cls: type) -> tuple[tuple[str, attrs.Attribute[Any], Shape], ...]:
    """The key, field and shape of each setting of a class.

    Raises TypeError for a class or an annotation that a configuration cannot have.
    """
    known = _SHAPED.get(cls)
    if known is None:
        known = _SHAPED[cls] = _shape_fields(cls)
    return known


_Shaped = tuple[tuple[str, "attrs.Attribute[Any]", Shape], ...]
_SHAPED: weakref.WeakKeyDictionary[type, _Shaped] = weakref.WeakKeyDictionary()


def _shape_fields(cls: type) -> _Shaped:
    if not attrs.has(cls):
        raise TypeError(f"{cls!r} is no attrs class")
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = []
    for field in attrs.fields(cls):
        said = about(field)
        fields.append((field.name, field, _field_shape(hints[field.name], said)))
    return tuple(fields)


def _field_shape(annotation: Any, said: About) -> Shape:
    if said.selects is not None:
        one = Select(said.selects, said.common)
        return Named(one) if typing.get_origin(annotation) is dict else one
    if said.refers is not None:
        name = Refer(said.refers)
        return Series(name, tuple) if typing.get_origin(annotation) is tuple else name
    return shape_of(annotation)


_BY_CLASS: dict[Any, Shape] = {
    str: Plain(str),
    int: Plain(int),
    float: Plain(float),
    bool: Plain(bool),
    values.Secret: SecretShape(),
    values.Address: ADDRESS,
    pathlib.Path: PATH,
    Any: Anything(),
}


def shape_of(annotation: Any) -> Shape:
    """The shape of an annotation. Raises TypeError for one that TOML has no form for."""
    if annotation in _BY_CLASS:
        return _BY_CLASS[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        if values.DURATION in arguments:
            return DURATION
        if values.SIZE in arguments:
            return SIZE
        return shape_of(arguments[0])
    if origin in (typing.Union, types.UnionType):
        inner = [shape_of(one) for one in arguments if one is not type(None)]
        one = inner[0] if len(inner) == 1 else Either(tuple(inner))
        return Maybe(one) if type(None) in arguments else one
    if origin is Literal:
        return Choice({str(option): option for option in arguments})
    if origin is list:
        return Series(shape_of(arguments[0]), list)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return Series(shape_of(arguments[0]), tuple)
    if origin is dict and arguments[0] is str:
        return Named(shape_of(arguments[1]))
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return Choice({str(member.value): member for member in annotation})
    if isinstance(annotation, type) and attrs.has(annotation):
        return Table(annotation)
    raise TypeError(f"a configuration class cannot have the annotation {annotation!r}")
