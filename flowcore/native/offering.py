"""What a Python object offers: its marked members as a catalog, and how each is called."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import msgspec
from msgspec import Raw

from flowcore.agents.catalog import Catalog, Prompt, Resource, Template, Tool
from flowcore.errors import AssemblyError
from flowcore.native.members import MARK, Mark
from flowcore.native.signature import Signature, signature_of


@attrs.frozen
class Member:
    """One marked function, ready to be called."""

    mark: Mark
    name: str
    function: Callable[..., Any]
    signature: Signature
    description: str

    @property
    def asynchronous(self) -> bool:
        """Whether it is awaited in the caller's task; else it runs in a thread."""
        return inspect.iscoroutinefunction(inspect.unwrap(self.function))


@attrs.define(eq=False)
class Offering:
    """Everything an object offers, by kind and name."""

    tools: dict[str, Member] = attrs.field(factory=dict)
    resources: dict[str, Member] = attrs.field(factory=dict)
    templates: dict[str, Member] = attrs.field(factory=dict)
    prompts: dict[str, Member] = attrs.field(factory=dict)
    completion: Member | None = None
    patterns: list[tuple[re.Pattern[str], Member]] = attrs.field(factory=list)

    def template_for(self, uri: str) -> tuple[Member, dict[str, str]] | None:
        """The template that a URI is an expansion of, and its variables."""
        for pattern, member in self.patterns:
            match = pattern.fullmatch(uri)
            if match is not None:
                return member, match.groupdict()
        return None

    def catalog(self) -> Catalog:
        """The catalog: what clients see."""
        return Catalog(
            tools=tuple(_tool(one) for one in self.tools.values()),
            resources=tuple(
                Resource(uri=one.name, definition=_definition(one, uri=one.name))
                for one in self.resources.values()
            ),
            templates=tuple(
                Template(uri_template=one.name, definition=_definition(one, uriTemplate=one.name))
                for one in self.templates.values()
            ),
            prompts=tuple(_prompt(one) for one in self.prompts.values()),
            completions=self.completion is not None,
            subscriptions=bool(self.resources or self.templates),
            logging=True,
        )


def offering_of(target: Any, *, where: str) -> Offering:
    """What a function, an instance or a module offers. Raises AssemblyError naming what is wrong.

    A function without a mark is one tool of its own name.
    """
    offering = Offering()
    for function, mark in _marked(target):
        _add(offering, function, mark, where)
    if not any((offering.tools, offering.resources, offering.templates, offering.prompts)):
        raise AssemblyError(
            f"{where}: nothing in it is marked with @tool, @resource, @template or @prompt"
        )
    return offering


def _marked(target: Any) -> Iterator[tuple[Callable[..., Any], Mark]]:
    if inspect.isroutine(target):
        yield target, getattr(target, MARK, None) or Mark(kind="tool")
        return
    names = vars(target) if isinstance(target, types.ModuleType) else _in_order(type(target))
    found = False
    for name in names:
        member = getattr(target, name, None)
        mark = getattr(member, MARK, None)
        if callable(member) and isinstance(mark, Mark):
            found = True
            yield member, mark
    if not found and callable(target) and not isinstance(target, types.ModuleType):
        yield target.__call__, Mark(kind="tool", name=_snake(type(target).__name__))


def _in_order(cls: type) -> list[str]:
    """Names of a class's members in the order in which they are written, bases first."""
    return list(dict.fromkeys(name for base in reversed(cls.__mro__) for name in vars(base)))


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _add(offering: Offering, function: Callable[..., Any], mark: Mark, where: str) -> None:
    name = str(mark.name or getattr(function, "__name__", "call"))
    place = f"{where}: {mark.kind} {name!r}"
    description = mark.description
    if description is None:
        description = inspect.getdoc(function) or ""
    member = Member(
        mark,
        name,
        function,
        signature_of(function, where=place, schema=mark.input_schema),
        description,
    )
    if mark.kind == "completion":
        if offering.completion is not None:
            raise AssemblyError(f"{where}: more than one @completion")
        offering.completion = member
        return
    group: dict[str, Member] = getattr(offering, f"{mark.kind}s")
    if name in group:
        raise AssemblyError(f"{place} is there twice")
    group[name] = member
    if mark.kind == "template":
        offering.patterns.append((_variables(name, place), member))


def _variables(uri_template: str, place: str) -> re.Pattern[str]:
    parts = []
    position = 0
    for match in re.finditer(r"\{([^{}]*)\}", uri_template):
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", match[1]):
            raise AssemblyError(f"{place}: only plain variables such as {{id}} are known")
        parts += [re.escape(uri_template[position : match.start()]), f"(?P<{match[1]}>[^/?#]+)"]
        position = match.end()
    parts.append(re.escape(uri_template[position:]))
    return re.compile("".join(parts))


def _tool(member: Member) -> Tool:
    mark = member.mark
    schema = Raw(msgspec.json.encode(member.signature.schema))
    definition: dict[str, Any] = {"name": member.name}
    if mark.title is not None:
        definition["title"] = mark.title
    definition |= {"description": member.description, "inputSchema": schema}
    if mark.output_schema is not None:
        definition["outputSchema"] = mark.output_schema
    if mark.annotations:
        definition["annotations"] = mark.annotations
    definition |= mark.extra
    return Tool(
        name=member.name,
        definition=Raw(msgspec.json.encode(definition)),
        input_schema=schema,
        read_only=bool(mark.annotations.get("readOnlyHint")),
        idempotent=bool(mark.annotations.get("idempotentHint")),
    )


def _definition(member: Member, **identity: str) -> Raw:
    mark = member.mark
    more = {"title": mark.title, "description": member.description, "mimeType": mark.mime_type}
    definition: dict[str, Any] = {
        **identity,
        "name": getattr(member.function, "__name__", member.name),
        **{key: value for key, value in more.items() if value},
    }
    return Raw(msgspec.json.encode(definition | mark.extra))


def _prompt(member: Member) -> Prompt:
    schema = member.signature.schema
    required = schema.get("required", [])
    arguments = [
        {
            "name": name,
            **({"description": one["description"]} if "description" in one else {}),
            "required": name in required,
        }
        for name, one in schema.get("properties", {}).items()
    ]
    definition: dict[str, Any] = {"name": member.name, "description": member.description}
    if member.mark.title is not None:
        definition["title"] = member.mark.title
    if arguments:
        definition["arguments"] = arguments
    return Prompt(
        name=member.name, definition=Raw(msgspec.json.encode(definition | member.mark.extra))
    )
