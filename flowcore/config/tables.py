"""Tables: the keys of configuration classes, chosen components and references, over the shapes of values.

`shaped_fields` is the one walk over an attrs class that structuring, schema, reference and `show` share.
"""

from __future__ import annotations

import difflib
import enum
import pathlib
import types
import typing
import weakref
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import attrs

from flowcore.config import values
from flowcore.config.lines import Key, dotted, toml_string
from flowcore.config.problems import clipped, known_words
from flowcore.config.settings import About, Selection, about
from flowcore.config.shapes import (
    ADDRESS,
    DURATION,
    PATH,
    SIZE,
    WRONG,
    Anything,
    Choice,
    Either,
    Listing,
    Lookup,
    Maybe,
    Named,
    OrGiven,
    Plain,
    SecretShape,
    Series,
    Shape,
    Text,
    Walk,
    kind_of,
    only_texts,
)
from flowcore.config.validators import Check


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
        own = walk.lookup.lookup(self.kind, type_) if isinstance(type_, str) else None
        if not isinstance(type_, str) or own is None:
            if self.common is not None:  # these can be checked whatever the type
                _read_class(self.common, table, path, walk)
            where = path if type_ is None or isinstance(value, str) else (*path, "type")
            return walk.wrong(where, self._no_type(type_, table, walk.lookup))
        classes = (own,) if self.common is None else (own, self.common)
        try:
            check_class(*classes)
        except TypeError as error:  # the plugin's fault: it disturbs nothing but its own tables
            return walk.wrong(path, f"{self.kind} type {type_!r} cannot be configured: {error}")
        rest = {key: one for key, one in table.items() if key != "type"}
        objects = read_keys(classes, rest, path, walk)
        if any(one is WRONG for one in objects):
            return WRONG
        chosen = Selection(
            kind=self.kind,
            type=type_,
            name=str(path[-1]),
            config=objects[0],
            common=objects[1] if self.common is not None else None,
            path=dotted(path),
            where=walk.place(path),
        )
        walk.selections.append(chosen)
        return chosen

    def _no_type(self, type_: Any, table: Mapping[str, Any], lookup: Lookup) -> str:
        """What is wrong with a type that is missing, no text or unknown."""
        if isinstance(type_, str):
            note = lookup.note(self.kind, type_)
            known = known_words(type_, lookup.known(self.kind))
            return f"unknown {self.kind} type {clipped(type_)}{known}" + (
                f"; {note}" if note else ""
            )
        if type_ is not None:
            return f"expected the type of the {self.kind} as a string, not {kind_of(type_)}"
        near = difflib.get_close_matches("type", [*map(str, table)], n=1)
        meant = f", did you mean 'type' by {near[0]!r}?" if near else ""
        return f"the type of this {self.kind} is missing{meant}{known_words('', lookup.known(self.kind))}"

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
            return walk.wrong(path, f"expected {self.words()}, not {kind_of(value)}")
        tables = walk.root.get(self.kind)
        names = list(tables) if isinstance(tables, Mapping) else []
        if value not in names:
            return walk.wrong(
                path,
                f"there is no [{dotted((self.kind, value))}]{known_words(value, sorted(names))}",
            )
        return value

    def show(self, value: Any) -> str:
        return toml_string(value)

    def schema(self, listing: Listing) -> dict[str, Any]:
        del listing
        return {"type": "string"}

    def words(self) -> str:
        article = "an" if self.kind[0] in "aeiou" else "a"
        return f"the name of {article} {self.kind}"


def read_keys(
    classes: tuple[type, ...], table: Mapping[str, Any], path: Key, walk: Walk
) -> tuple[Any, ...]:
    """Read one table whose keys belong to one or more classes; an object of each, or WRONG."""
    if not only_texts(table, path, walk):
        return (WRONG,) * len(classes)
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
            value = _checked(said, shape, shape.read(table[name], at, walk), table[name], at, walk)
        wrong = wrong or value is WRONG
        arguments[field.alias or field.name] = value
    if wrong:
        return WRONG
    try:
        return cls(**arguments)
    except ValueError as error:
        return walk.wrong(path, str(error))
    except Exception as error:  # a plugin's class fails: that is told like any other problem
        return walk.wrong(path, _fault(error))


def _checked(said: About, shape: Shape, value: Any, written: Any, path: Key, walk: Walk) -> Any:
    if value is WRONG or said.validator is None:
        return value
    try:
        said.validator(value)
    except ValueError as error:
        message = str(error)
        inner = shape.of if isinstance(shape, Maybe) else shape
        if isinstance(inner, Text) and isinstance(said.validator, Check):
            message = f"expected {said.validator.words(inner.print)}"  # bounds in the value's unit
        shown = isinstance(written, (str, int, float)) and not isinstance(value, values.Secret)
        # a validator that speaks of the text itself has shown it already
        if shown and not (isinstance(written, str) and repr(written) in message):
            message += f", not {clipped(written)}"
        return walk.wrong(path, message)
    except Exception as error:  # a plugin's validator fails
        return walk.wrong(path, _fault(error))
    return value


def _fault(error: Exception) -> str:
    return f"this cannot be checked, for the check itself failed: {type(error).__name__}: {error}"


def owned_fields(classes: tuple[type, ...]) -> dict[str, type]:
    """Which class each key belongs to. Raises TypeError if two claim one."""
    owners: dict[str, type] = {}
    for cls in classes:
        for name, _, _ in shaped_fields(cls):
            other = owners.setdefault(name, cls)
            if other is not cls:
                raise TypeError(f"the key {name!r} is in {cls.__name__} and in {other.__name__}")
    return owners


def check_class(*classes: type) -> None:
    """Check that the settings of a component can be written in one table beside its `type`.

    Raises TypeError for an annotation without a TOML form, a key that two classes claim, and a key
    called `type`.
    """
    owner = owned_fields(classes).get("type")
    if owner is not None:
        raise TypeError(f"the key 'type' of {owner.__name__} is taken: it chooses the component")


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
            checked = getattr(said.validator, "schema", {}) if _plain(shape) else {}
            # a keyword that both have, such as `items`, must hold twice
            inner = {"allOf": [inner, checked]} if inner.keys() & checked else {**inner, **checked}
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


def _choice(annotation: Any, options: dict[Any, Any]) -> Choice:
    if not all(isinstance(option, str) for option in options):
        raise TypeError(f"a choice is written as a text, which not all of {annotation!r} are")
    return Choice(options)


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
    if origin in (typing.Union, types.UnionType) and values.Given in arguments:
        written = [one for one in arguments if one is not values.Given]
        return OrGiven(shape_of(typing.Union[tuple(written)]))  # noqa: UP007 - made at run time
    if origin in (typing.Union, types.UnionType):
        inner = [shape_of(one) for one in arguments if one is not type(None)]
        one = inner[0] if len(inner) == 1 else Either(tuple(inner))
        return Maybe(one) if type(None) in arguments else one
    if origin is Literal:
        return _choice(annotation, {option: option for option in arguments})
    if origin is list:
        return Series(shape_of(arguments[0]), list)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return Series(shape_of(arguments[0]), tuple)
    if origin is dict and arguments[0] is str:
        return Named(shape_of(arguments[1]))
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return _choice(annotation, {member.value: member for member in annotation})
    if isinstance(annotation, type) and attrs.has(annotation):
        return Table(annotation)
    raise TypeError(f"a configuration class cannot have the annotation {annotation!r}")
