"""From a function's annotations to a JSON schema, and from JSON arguments to a call."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import msgspec

from flowcore.errors import AssemblyError, InvalidArguments
from flowcore.native.agent import NativeAgent
from flowcore.native.context import CallContext
from flowcore.native.docstrings import described

_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


@attrs.frozen(kw_only=True)
class Signature:
    """How a function is called: its arguments as a struct, and where the context goes."""

    schema: dict[str, Any]
    fields: tuple[str, ...] | None
    """Its parameters; None if it takes the arguments as they come (its schema is written by hand)."""
    context: str | None
    struct: type[msgspec.Struct] | None
    _decode: Callable[[bytes], Any]

    def arguments(self, raw: bytes | None) -> dict[str, Any]:
        """Keyword arguments from a JSON object. Raises InvalidArguments."""
        try:
            made = self._decode(b"{}" if raw is None else raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidArguments(f"arguments: {error}") from None
        if self.fields is None:
            return dict(made)
        return msgspec.structs.asdict(made)

    def texts(self, values: Mapping[str, str]) -> dict[str, Any]:
        """Keyword arguments from texts, each read as its annotation asks. Raises InvalidArguments."""
        if self.struct is None:
            return dict(values)
        try:
            made = msgspec.convert(values, self.struct, strict=False)
        except msgspec.ValidationError as error:
            raise InvalidArguments(f"arguments: {error}") from None
        return {name: getattr(made, name) for name in self.struct.__struct_fields__}


def signature_of(
    function: Callable[..., Any],
    *,
    where: str,
    schema: dict[str, Any] | None = None,
    texts: bool = False,
) -> Signature:
    """A function's signature. Raises AssemblyError for one that cannot be called with JSON.

    With `texts` every argument is a text (of a prompt, say), read as its annotation asks: "5" for an int.
    """
    context: str | None = None
    fields: list[Any] = []
    hints = _hints(function, where)
    for name, parameter in _parameters(function, where).items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            raise AssemblyError(f"{where}: the parameter {name!r} cannot be given by name")
        annotation = hints.get(name, Any)
        if annotation is CallContext:
            context = name
        elif annotation is NativeAgent:
            raise AssemblyError(
                f"{where}: {name!r} is a NativeAgent, which a constructor is given; a call has its"
                " own in CallContext.agent"
            )
        elif parameter.kind is parameter.VAR_KEYWORD:
            if schema is None:
                raise AssemblyError(f"{where}: **{name} needs an input_schema written by hand")
        elif parameter.default is parameter.empty:
            fields.append((name, annotation))
        else:
            fields.append((name, annotation, _default(parameter.default)))
    if schema is not None:
        return Signature(
            schema=schema, fields=None, context=context, struct=None, decode=_decode_object
        )
    try:
        struct = msgspec.defstruct("Arguments", fields, forbid_unknown_fields=True, kw_only=True)
        made = json_schema(struct)
        decoder = msgspec.json.Decoder(struct, strict=not texts)
    except (TypeError, ValueError) as error:
        raise AssemblyError(f"{where}: the annotations have no JSON form: {error}") from None
    _, said = described(inspect.getdoc(function))
    for name, one in made.get("properties", {}).items():
        if name in said:
            one.setdefault("description", said[name])
    return Signature(
        schema=made,
        fields=struct.__struct_fields__,
        context=context,
        struct=struct,
        decode=decoder.decode,
    )


def _parameters(function: Callable[..., Any], where: str) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except (ValueError, TypeError) as error:
        raise AssemblyError(f"{where}: its parameters cannot be known: {error}") from None


def _hints(function: Callable[..., Any], where: str) -> dict[str, Any]:
    inner = inspect.unwrap(function)
    while isinstance(inner, functools.partial):
        inner = inner.func
    said = dict(getattr(inner, "__annotations__", {}))
    said.pop("return", None)  # which may well be of a type that only a checker knows
    part = types.SimpleNamespace(
        __annotations__=said, __globals__=getattr(inner, "__globals__", {})
    )
    try:
        return typing.get_type_hints(part, include_extras=True)
    except Exception as error:  # an annotation is any expression
        raise AssemblyError(f"{where}: an annotation cannot be resolved: {error}") from error


def _default(value: Any) -> Any:
    if isinstance(value, (list, dict, set)):
        return msgspec.field(default_factory=lambda: type(value)(value))
    return value


def json_schema(of: Any) -> dict[str, Any]:
    """The JSON schema of a type, with its top level written out and the rest under `$defs`.

    Raises TypeError if the type has none.
    """
    (top,), definitions = msgspec.json.schema_components([of], ref_template="#/$defs/{name}")
    reference = top.get("$ref")
    schema: dict[str, Any] = dict(top)
    if reference is not None:
        name = reference.rpartition("/")[2]
        schema = dict(definitions[name])
        if f'"{reference}"'.encode() not in msgspec.json.encode(definitions):
            del definitions[name]  # nothing refers to it again
    schema.pop("title", None)
    if definitions:
        schema["$defs"] = definitions
    return schema
