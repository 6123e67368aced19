"""What a Python object offers: its marked members, and how each is called."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

import attrs
import msgspec

from flowcore.errors import AssemblyError
from flowcore.native.docstrings import described
from flowcore.native.members import MARK, Mark
from flowcore.native.signature import Signature, json_schema, signature_of

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_VARIABLE = re.compile(r"\{(\+?)([^{}]*)\}")


@attrs.frozen(kw_only=True)
class Member:
    """One marked function, ready to be called."""

    mark: Mark
    name: str
    """The tool's or prompt's name, the resource's URI, the template."""
    function: Callable[..., Any]
    attribute: str | None
    """Where the object that offers it has it; None for what was added by itself."""
    signature: Signature
    description: str
    asynchronous: bool
    """Whether it is awaited in the caller's task; else it runs in a thread."""
    pattern: re.Pattern[str] | None = None
    """What a template's expansions look like."""
    output_schema: dict[str, Any] | None = None
    output: Any = None
    """The type that results must fit; None if there is none to check."""

    def variables(self, uri: str) -> dict[str, str] | None:
        """A template's variables in a URI, percent-decoded; None if it is no expansion of it."""
        match = self.pattern.fullmatch(uri) if self.pattern is not None else None
        if match is None:
            return None
        return {name: unquote(value) for name, value in match.groupdict().items()}


@attrs.define(eq=False)
class Offering:
    """Everything an object offers, by kind and name."""

    tools: dict[str, Member] = attrs.field(factory=dict)
    resources: dict[str, Member] = attrs.field(factory=dict)
    templates: dict[str, Member] = attrs.field(factory=dict)
    prompts: dict[str, Member] = attrs.field(factory=dict)
    completion: Member | None = None

    def add(self, member: Member, where: str) -> None:
        """Take a member in. Raises AssemblyError if its name is taken."""
        if member.mark.kind == "completion":
            if self.completion is not None:
                raise AssemblyError(f"{where}: there is a @completion already")
            self.completion = member
            return
        group = self.group(member.mark.kind)
        if member.name in group:
            raise AssemblyError(f"{where}: there is a {member.mark.kind} {member.name!r} already")
        group[member.name] = member

    def group(self, kind: str) -> dict[str, Member]:
        """The members of a kind ("tool", "resource", "template" or "prompt"), by name."""
        return {
            "tool": self.tools,
            "resource": self.resources,
            "template": self.templates,
            "prompt": self.prompts,
        }[kind]

    def members(self) -> Iterator[Member]:
        """Every member."""
        for group in (self.tools, self.resources, self.templates, self.prompts):
            yield from group.values()
        if self.completion is not None:
            yield self.completion

    def bound_to(self, target: Any) -> Offering:
        """The same of another instance of the same class."""
        offering = Offering()
        for member in self.members():
            assert member.attribute is not None
            function = getattr(target, member.attribute)
            offering.add(attrs.evolve(member, function=function), member.name)
        return offering


def offering_of(target: Any, *, where: str, tool: str | None = None) -> Offering:
    """What a function, a class, an instance or a module offers. Raises AssemblyError naming what is wrong.

    A function without a mark is one tool, and so is a class or an instance that can be called and has no
    marked members; `tool` is the name of that one tool, where it is not to be the function's or the class's
    own. What a class offers must be `bound_to` an instance before it is called.
    """
    offering = Offering()
    for function, attribute, mark in _marked(target, tool):
        offering.add(member_of(function, mark, where=where, attribute=attribute), where)
    if not any(offering.members()):
        raise AssemblyError(
            f"{where}: nothing in it is marked with @tool, @resource, @template or @prompt"
        )
    if tool is not None and list(offering.tools) != [tool]:
        raise AssemblyError(f"{where}: a name for its one tool is given, but it is no single tool")
    return offering


def _marked(target: Any, tool: str | None) -> Iterator[tuple[Any, str | None, Mark]]:
    if inspect.isroutine(target):
        mark = getattr(target, MARK, None) or Mark(kind="tool")
        yield target, None, attrs.evolve(mark, name=tool or mark.name)
        return
    if isinstance(target, types.ModuleType):
        for value in tuple(vars(target).values()):
            if isinstance(getattr(value, MARK, None), Mark) and inspect.isroutine(value):
                yield value, None, getattr(value, MARK)
        return
    cls = target if inspect.isclass(target) else type(target)
    names = _in_order(cls)
    found = False
    for name in names:
        # looked at without being asked for: a property must not run
        static = inspect.getattr_static(cls, name)
        mark = getattr(static, MARK, None) or getattr(getattr(static, "__func__", None), MARK, None)
        if isinstance(mark, Mark):
            found = True
            yield _method(target, cls, name), name, mark
    if not found and "__call__" in names:
        description = described(inspect.getdoc(cls))[0] if cls.__call__.__doc__ is None else None
        mark = Mark(kind="tool", name=tool or _snake(cls.__name__), description=description)
        yield _method(target, cls, "__call__"), "__call__", mark


def _method(target: Any, cls: type, name: str) -> Any:
    """A method as it is called, without `self`; a class's as if of some instance."""
    if target is not cls:
        return getattr(target, name)
    static = inspect.getattr_static(cls, name)
    return types.MethodType(static, _SOMEONE) if inspect.isfunction(static) else getattr(cls, name)


_SOMEONE = object()


def _in_order(cls: type) -> list[str]:
    """Names of a class's members in the order in which they are written, bases first."""
    return list(dict.fromkeys(name for base in reversed(cls.__mro__) for name in vars(base)))


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def member_of(
    function: Callable[..., Any], mark: Mark, *, where: str, attribute: str | None = None
) -> Member:
    """A marked function as a member. Raises AssemblyError if it cannot be one."""
    if not callable(function):
        raise AssemblyError(f"{where}: {function!r} is marked as a {mark.kind}, and no function")
    own_name: str = getattr(function, "__name__", type(function).__name__)
    name = mark.name or own_name
    place = f"{where}: {mark.kind} {name!r}"
    inner = inspect.unwrap(function)
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise AssemblyError(f"{place} is a generator; return what it makes instead")
    if mark.kind in ("tool", "prompt") and not _NAME.fullmatch(name):
        raise AssemblyError(
            f"{place}: expected a name of 1 to 128 letters, digits, '_', '-' and '.'"
        )
    signature = signature_of(
        function,
        where=place,
        schema=mark.input_schema,
        texts=mark.kind in ("prompt", "template"),
    )
    schema, output = _output(mark.output_schema, place)
    member = Member(
        mark=mark,
        name=name,
        function=function,
        attribute=attribute,
        signature=signature,
        description=mark.description
        if mark.description is not None
        else described(inspect.getdoc(function))[0],
        asynchronous=inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(inner),
        pattern=_pattern(name, place) if mark.kind == "template" else None,
        output_schema=schema,
        output=output,
    )
    _check(member, place)
    return member


def _output(of: Any, place: str) -> tuple[dict[str, Any] | None, Any]:
    """A tool's output schema, and the type its results must fit."""
    if of is None or isinstance(of, dict):
        return of, None
    try:
        schema = json_schema(of)
        msgspec.json.Decoder(of)
    except (TypeError, ValueError) as error:
        raise AssemblyError(f"{place}: the output type has no JSON form: {error}") from None
    if schema.get("type") == "object":
        return schema, of
    definitions = schema.pop("$defs", None)
    wrapped: dict[str, Any] = {
        "type": "object",
        "properties": {"result": schema},
        "required": ["result"],
    }
    if definitions:
        wrapped["$defs"] = definitions
    return wrapped, of


def _check(member: Member, place: str) -> None:
    properties: dict[str, Any] = member.signature.schema.get("properties", {})
    required: list[str] = member.signature.schema.get("required", [])
    if member.mark.kind == "resource" and required:
        raise AssemblyError(f"{place}: nothing gives it the argument {required[0]!r}")
    if member.pattern is not None:
        variables = list(member.pattern.groupindex)
        for name in variables:
            if name not in properties:
                raise AssemblyError(f"{place}: the function has no parameter {name!r}")
        for name in required:
            if name not in variables:
                raise AssemblyError(f"{place}: the template has no variable {name!r}")
    if member.mark.kind == "completion":
        for name in properties:
            if name not in ("ref", "argument", "context"):
                raise AssemblyError(
                    f"{place}: nothing gives it the argument {name!r} (known: ref, argument, context)"
                )


def _pattern(uri_template: str, place: str) -> re.Pattern[str]:
    parts = []
    position = 0
    for match in _VARIABLE.finditer(uri_template):
        if not match[2].isidentifier():
            raise AssemblyError(f"{place}: only variables such as {{id}} and {{+path}} are known")
        what = r"[^\s?#]+" if match[1] else r"[^/\s?#]+"
        parts += [re.escape(uri_template[position : match.start()]), f"(?P<{match[2]}>{what})"]
        position = match.end()
    parts.append(re.escape(uri_template[position:]))
    try:
        return re.compile("".join(parts))
    except re.error as error:
        raise AssemblyError(f"{place}: the template cannot be used: {error}") from None
