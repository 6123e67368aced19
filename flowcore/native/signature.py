"""From a function's annotations to a JSON schema, and from JSON arguments to a call."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any

import attrs
import msgspec

from flowcore.errors import AssemblyError, InvalidArguments
from flowcore.native.context import CallContext


@attrs.frozen
class Signature:
    """How a function is called: its arguments as a struct, and where the context goes."""

    struct: type[msgspec.Struct] | None
    """None if the function takes the arguments as they come (its schema is written by hand)."""
    schema: dict[str, Any]
    context: str | None

    def arguments(self, raw: bytes | None) -> dict[str, Any]:
        """Keyword arguments from a JSON object. Raises InvalidArguments."""
        try:
            if self.struct is None:
                return {} if raw is None else msgspec.json.decode(raw, type=dict[str, Any])
            made = msgspec.json.decode(b"{}" if raw is None else raw, type=self.struct)
        except msgspec.DecodeError as error:
            raise InvalidArguments(f"arguments: {error}") from None
        return {name: getattr(made, name) for name in made.__struct_fields__}


def signature_of(
    function: Callable[..., Any], *, where: str, schema: dict[str, Any] | None = None
) -> Signature:
    """A function's signature. Raises AssemblyError for one that cannot be called with JSON."""
    try:
        hints = typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    except NameError as error:
        raise AssemblyError(f"{where}: an annotation cannot be resolved: {error}") from None
    context: str | None = None
    fields: list[Any] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            raise AssemblyError(f"{where}: the parameter {name!r} cannot be given by name")
        annotation = hints.get(name, Any)
        if annotation is CallContext:
            context = name
        elif parameter.kind is parameter.VAR_KEYWORD:
            if schema is None:
                raise AssemblyError(f"{where}: **{name} needs an input_schema written by hand")
        elif parameter.default is parameter.empty:
            fields.append((name, annotation))
        else:
            fields.append((name, annotation, _default(parameter.default)))
    if schema is not None:
        return Signature(None, schema, context)
    try:
        struct = msgspec.defstruct("Arguments", fields, forbid_unknown_fields=True, kw_only=True)
        return Signature(struct, json_schema(struct), context)
    except (TypeError, ValueError) as error:
        raise AssemblyError(f"{where}: the annotations have no JSON form: {error}") from None


def _default(value: Any) -> Any:
    if isinstance(value, (list, dict, set)):
        return msgspec.field(default_factory=lambda: type(value)(value))
    return value


def json_schema(of: Any) -> dict[str, Any]:
    """The JSON schema of a type, with its top level written out and the rest under `$defs`."""
    (top,), definitions = msgspec.json.schema_components([of], ref_template="#/$defs/{name}")
    reference = top.get("$ref")
    schema: dict[str, Any] = dict(top)
    if reference is not None:
        schema = dict(definitions.pop(reference.rpartition("/")[2]))
    schema.pop("title", None)
    if definitions:
        schema["$defs"] = definitions
    return schema
