"""Members of a directory whose state and catalog a test sets, and catalogs made of bare names."""

from __future__ import annotations

import attrs
import msgspec

from flowcore.agents import EMPTY, Catalog, Prompt, Resource, State, Template, Tool


def raw(**members: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(members))


def catalog(
    tools: str = "", prompts: str = "", resources: str = "", templates: str = ""
) -> Catalog:
    """A catalog of the names in each text, divided by spaces."""
    return Catalog(
        tools=tuple(Tool(name=one, definition=raw(name=one)) for one in tools.split()),
        prompts=tuple(Prompt(name=one, definition=raw(name=one)) for one in prompts.split()),
        resources=tuple(Resource(uri=one, definition=raw(uri=one)) for one in resources.split()),
        templates=tuple(
            Template(uri_template=one, definition=raw(uriTemplate=one)) for one in templates.split()
        ),
    )


@attrs.define(eq=False)
class Fixed:
    """A member that is as it is told to be."""

    name: str
    catalog: Catalog = EMPTY
    state: State = State.IDLE
    bare: bool = False
    reason: str = ""
    retry_after: float | None = None
    roles: frozenset[str] = frozenset()
    capabilities: frozenset[str] = frozenset()
