"""What a worker offers now: its object's members and what was added while it runs, as a catalog."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from flowcore.agents import Catalog, Prompt, Resource, Template, Tool
from flowcore.native.members import MARK, Mark
from flowcore.native.offering import Member, Offering, member_of


class Offers:
    """One worker's members, and the `added` ones that all workers of its agent share."""

    def __init__(self, own: Offering, added: Offering, where: str) -> None:
        self.own = own
        self._added = added
        self._where = where

    @property
    def completion(self) -> Member | None:
        """What answers `completion/complete`."""
        return self.own.completion or self._added.completion

    def tool(self, name: str) -> Member | None:
        """The tool of that name."""
        return self.own.tools.get(name) or self._added.tools.get(name)

    def prompt(self, name: str) -> Member | None:
        """The prompt of that name."""
        return self.own.prompts.get(name) or self._added.prompts.get(name)

    def resource(self, uri: str) -> tuple[Member, dict[str, str]] | None:
        """The resource of that URI, or the template it is an expansion of with its variables."""
        member = self.own.resources.get(uri) or self._added.resources.get(uri)
        if member is not None:
            return member, {}
        for offering in (self.own, self._added):
            for one in offering.templates.values():
                variables = one.variables(uri)
                if variables is not None:
                    return one, variables
        return None

    def add(self, function: Callable[..., Any]) -> None:
        """Offer one more function. Raises AssemblyError if it cannot be, or its name is taken."""
        mark = getattr(function, MARK, None) or Mark(kind="tool")
        member = member_of(function, mark, where=self._where)
        taken = Offering()
        for one in (*self.own.members(), *self._added.members(), member):
            taken.add(one, self._where)
        self._added.add(member, self._where)

    def remove(self, name: str) -> None:
        """Offer no longer what `add` added under this name. Raises KeyError if there is none."""
        added = self._added
        for group in (added.tools, added.resources, added.templates, added.prompts):
            if group.pop(name, None) is not None:
                return
        raise KeyError(name)

    def catalog(self) -> Catalog:
        """What clients see."""
        own, added = self.own, self._added
        resources = (*own.resources.values(), *added.resources.values())
        templates = (*own.templates.values(), *added.templates.values())
        return Catalog(
            tools=tuple(_tool(one) for one in (*own.tools.values(), *added.tools.values())),
            resources=tuple(
                Resource(uri=one.name, definition=_definition(one, uri=one.name))
                for one in resources
            ),
            templates=tuple(
                Template(uri_template=one.name, definition=_definition(one, uriTemplate=one.name))
                for one in templates
            ),
            prompts=tuple(_prompt(one) for one in (*own.prompts.values(), *added.prompts.values())),
            completions=self.completion is not None,
            subscriptions=bool(resources or templates),
            logging=True,
        )


def _tool(member: Member) -> Tool:
    mark = member.mark
    schema = Raw(msgspec.json.encode(member.signature.schema))
    definition: dict[str, Any] = {"name": member.name}
    if mark.title is not None:
        definition["title"] = mark.title
    definition |= {"description": member.description, "inputSchema": schema}
    if member.output_schema is not None:
        definition["outputSchema"] = member.output_schema
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
    name = getattr(member.function, "__name__", member.name)
    more = {
        "title": mark.title,
        "description": member.description,
        "mimeType": mark.mime_type,
    }
    definition: dict[str, Any] = {**identity, "name": name}
    definition |= {key: value for key, value in more.items() if value}
    return Raw(msgspec.json.encode(definition | mark.extra))


def _prompt(member: Member) -> Prompt:
    schema = member.signature.schema
    required = schema.get("required", [])
    arguments = []
    for name, one in schema.get("properties", {}).items():
        argument: dict[str, Any] = {"name": name, "required": name in required}
        if "description" in one:
            argument["description"] = one["description"]
        arguments.append(argument)
    definition: dict[str, Any] = {"name": member.name, "description": member.description}
    if member.mark.title is not None:
        definition["title"] = member.mark.title
    if arguments:
        definition["arguments"] = arguments
    return Prompt(
        name=member.name, definition=Raw(msgspec.json.encode(definition | member.mark.extra))
    )
