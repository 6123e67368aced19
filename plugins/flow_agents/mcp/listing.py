"""What an upstream offers: its lists, read to the end but never without end."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

import attrs
import msgspec
from msgspec import UNSET, Raw, UnsetType

from flow_agents.mcp.greeting import Greeting
from flow_agents.mcp.wire import upstream_error
from flowcore.agents import EMPTY, Catalog, Prompt, Resource, Template, Tool
from flowcore.errors import UpstreamFailure
from flowcore.mcp import LISTS, METHOD_NOT_FOUND, ParamHeader, Response, param_headers

logger = logging.getLogger(__name__)

Ask = Callable[[str, dict[str, Raw]], Awaitable[Response]]

KINDS: Final = {
    "tools": ("tools/list",),
    "resources": ("resources/list", "resources/templates/list"),
    "prompts": ("prompts/list",),
}
"""The lists that one kind of `list_changed` speaks of."""

_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_entries = msgspec.json.Decoder(list[Raw]).decode
_decode_text = msgspec.json.Decoder(str | None).decode
_encode = msgspec.json.encode


@attrs.frozen(kw_only=True)
class Bounds:
    """How much of a list is taken."""

    entries: int
    size: int
    """In bytes, all pages together."""


async def read_list(ask: Ask, method: str, bounds: Bounds) -> list[Raw]:
    """All entries of a list, page by page, each as the bytes it came in.

    Raises UpstreamFailure for a list that is none, is too long, or whose cursors lead in a circle; and
    UpstreamError. A list that the upstream does not know after all is empty.
    """
    member = LISTS[method][1]
    entries: list[Raw] = []
    size = 0
    params: dict[str, Raw] = {}
    seen: set[str] = set()
    while True:
        response = await ask(method, params)
        if response.error is not None:
            if response.error.code == METHOD_NOT_FOUND and not seen:
                return []
            raise upstream_error(response.error)
        assert response.result is not None
        size += len(bytes(response.result))
        page, cursor = _page(response.result, method, member)
        entries += page
        if len(entries) > bounds.entries:
            raise UpstreamFailure(
                f"the upstream's {method} has more than {bounds.entries:,} entries"
            )
        if size > bounds.size:
            raise UpstreamFailure(f"the upstream's {method} has more than {bounds.size:,} bytes")
        if not cursor:
            return entries
        if cursor in seen or len(seen) > bounds.entries:
            raise UpstreamFailure(f"the cursors of the upstream's {method} lead in a circle")
        seen.add(cursor)
        params = {"cursor": Raw(_encode(cursor))}


def _page(result: Raw, method: str, member: str) -> tuple[list[Raw], str | None]:
    try:
        members = _decode_members(result)
        # a list with nothing in it may be left out
        entries = _decode_entries(members[member]) if member in members else []
        return entries, _decode_text(members.get("nextCursor", b"null"))
    except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
        raise UpstreamFailure(f"a malformed answer to {method}: {problem}") from None


class _Tool(msgspec.Struct, gc=False):
    name: str
    inputSchema: Raw | UnsetType = UNSET  # noqa: N815 - the wire's names
    annotations: Raw | UnsetType = UNSET


class _Hints(msgspec.Struct, gc=False):
    readOnlyHint: bool = False  # noqa: N815
    idempotentHint: bool = False  # noqa: N815


class _Resource(msgspec.Struct, gc=False):
    uri: str


class _Template(msgspec.Struct, gc=False):
    uriTemplate: str  # noqa: N815


class _Prompt(msgspec.Struct, gc=False):
    name: str


_decode_tool = msgspec.json.Decoder(_Tool).decode
_decode_hints = msgspec.json.Decoder(_Hints).decode
_decode_resource = msgspec.json.Decoder(_Resource).decode
_decode_template = msgspec.json.Decoder(_Template).decode
_decode_prompt = msgspec.json.Decoder(_Prompt).decode


def _tool(definition: Raw) -> Tool:
    head = _decode_tool(definition)
    try:
        hints = _decode_hints(head.annotations) if head.annotations is not UNSET else _Hints()
    except msgspec.ValidationError:
        hints = _Hints()  # hints that are none hint at nothing
    return Tool(
        name=head.name,
        definition=definition,
        input_schema=None if head.inputSchema is UNSET else head.inputSchema,
        read_only=hints.readOnlyHint,
        idempotent=hints.idempotentHint,
    )


def _resource(definition: Raw) -> Resource:
    return Resource(uri=_decode_resource(definition).uri, definition=definition)


def _template(definition: Raw) -> Template:
    return Template(uri_template=_decode_template(definition).uriTemplate, definition=definition)


def _prompt(definition: Raw) -> Prompt:
    return Prompt(name=_decode_prompt(definition).name, definition=definition)


_Offer = TypeVar("_Offer", Tool, Resource, Template, Prompt)


def _offers(
    agent: str, method: str, entries: Iterable[Raw], read: Callable[[Raw], _Offer]
) -> tuple[_Offer, ...]:
    """The entries that are what they should be; one that is not takes no other along."""
    offers: dict[str, _Offer] = {}
    for entry in entries:
        try:
            offer = read(entry)
        except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
            logger.warning("agent %s: an entry of %s is left out: %s", agent, method, problem)
            continue
        key = _key(offer)
        if key in offers:
            logger.warning("agent %s: %r stands twice in %s", agent, key, method)
            continue
        offers[key] = offer
    return tuple(offers.values())


def _key(offer: Tool | Resource | Template | Prompt) -> str:
    match offer:
        case Resource():
            return offer.uri
        case Template():
            return offer.uri_template
        case _:
            return offer.name


class Listing:
    """What one upstream offers, as far as it was read; each list can be read anew by itself."""

    def __init__(self, agent: str, greeting: Greeting, bounds: Bounds, *, mirrored: bool) -> None:
        """`mirrored` tells whether headers mirror arguments (2026-07-28 over HTTP)."""
        self._agent = agent
        self._capabilities = greeting.capabilities
        self._bounds = bounds
        self._mirrored = mirrored
        self.mirrors: dict[str, tuple[ParamHeader, ...]] = {}
        """By tool: the arguments that headers mirror."""
        capabilities = greeting.capabilities
        resources = capabilities.resources
        self.catalog = attrs.evolve(
            EMPTY,
            completions=capabilities.completions is not None,
            subscriptions=resources is not None and resources.subscribe,
            logging=capabilities.logging is not None,
            instructions=greeting.instructions,
        )

    async def read(self, ask: Ask, kinds: Iterable[str] = tuple(KINDS)) -> Catalog:
        """Read these kinds of lists anew. Raises CallError, and then nothing is changed."""
        catalog, mirrors = self.catalog, self.mirrors
        for kind in kinds:
            if getattr(self._capabilities, kind) is None:
                continue
            lists = [(method, await read_list(ask, method, self._bounds)) for method in KINDS[kind]]
            for method, entries in lists:
                if method == "tools/list":
                    tools = _offers(self._agent, method, entries, _tool)
                    tools, mirrors = self._mirrors_of(tools)
                    catalog = attrs.evolve(catalog, tools=tools)
                elif method == "resources/list":
                    resources = _offers(self._agent, method, entries, _resource)
                    catalog = attrs.evolve(catalog, resources=resources)
                elif method == "prompts/list":
                    prompts = _offers(self._agent, method, entries, _prompt)
                    catalog = attrs.evolve(catalog, prompts=prompts)
                else:
                    templates = _offers(self._agent, method, entries, _template)
                    catalog = attrs.evolve(catalog, templates=templates)
        self.catalog, self.mirrors = catalog, mirrors
        return catalog

    def _mirrors_of(
        self, tools: tuple[Tool, ...]
    ) -> tuple[tuple[Tool, ...], dict[str, tuple[ParamHeader, ...]]]:
        """The tools that can be called over HTTP, and what of their arguments headers mirror.

        A tool that asks for a mirror that cannot be is left out (2026-07-28, streamable-http, schema
        extension).
        """
        if not self._mirrored:
            return tools, {}
        kept: list[Tool] = []
        mirrors: dict[str, tuple[ParamHeader, ...]] = {}
        for tool in tools:
            schema = tool.input_schema
            if schema is not None and b"x-mcp-header" in bytes(schema):
                try:
                    mirrors[tool.name] = param_headers(msgspec.json.decode(schema))
                except ValueError as problem:
                    logger.warning(
                        "agent %s: tool %r is left out: %s", self._agent, tool.name, problem
                    )
                    continue
            kept.append(tool)
        return tuple(kept), mirrors
