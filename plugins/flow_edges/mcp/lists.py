"""Lists of what is on offer, composed to bytes once for each change of the directory."""

from __future__ import annotations

import base64
import binascii
import logging
import re
from collections.abc import Hashable
from typing import Final

import attrs
import msgspec
from msgspec import Raw

from flow_edges.mcp.exposure import EVERYTHING, Exposure
from flow_edges.mcp.sight import Sight
from flowcore.agents import Directory, Listed, Listing
from flowcore.errors import InvalidArguments
from flowcore.mcp import LISTS, array, renamed
from flowcore.mcp.meta import MISSING, NODES, SERVER_INFO
from flowcore.requests import ANONYMOUS, Principal

logger = logging.getLogger(__name__)

_RENAMED: Final = frozenset({"tools", "prompts"})
_PARTIAL_TTL_MS: Final = 1000
_MOST_COMPOSED: Final = 1024
_USUAL: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
"""What a tool's name should be (2026-07-28, server/tools, tool names)."""


@attrs.define(eq=False)
class _Composed:
    """One list: its entries as bytes, and the finished results that were asked for."""

    listing: Listing
    principal: Principal
    """One of those who are shown this list."""
    agents: frozenset[str]
    """The agents that have something in it."""
    items: dict[tuple[str, int], bytes]
    """Each entry by public name and identity of the offer, which the listing keeps alive."""
    body: bytes
    results: dict[tuple[bool, int], bytes] = attrs.field(factory=dict)
    positions: dict[str, int] | None = None


class Lists:
    """The four lists of a flow, in both eras. A principal's lists have what its `sight` shows it; each list
    is made once for all who are shown the same."""

    def __init__(
        self,
        directory: Directory,
        *,
        server: bytes,
        page_size: int,
        ttl_ms: int,
        sight: Sight | None = None,
        exposure: Exposure = EVERYTHING,
    ) -> None:
        self._directory = directory
        self._sight = sight
        self._exposure = exposure
        self._server = Raw(server)
        self._page_size = page_size
        self._ttl_ms = ttl_ms
        self._composed: dict[tuple[str, Hashable], _Composed] = {}

    def result(
        self,
        method: str,
        cursor: str | None,
        *,
        modern: bool,
        principal: Principal = ANONYMOUS,
    ) -> bytes:
        """The result of a list method. Raises InvalidArguments for a cursor that leads nowhere (any more).

        What agents that are down would offer is missing; `_meta` names them.
        """
        composed = self._current(method, self._view(principal), principal)
        start = 0 if cursor is None else self._position(composed, method, cursor)
        result = composed.results.get((modern, start))
        if result is None:
            result = self._page(composed, method, start, modern)
            if start % self._page_size == 0:  # others only follow a change between two pages
                composed.results[modern, start] = result
        return result

    def changed(self, method: str) -> bool:
        """Compose the list anew if need be; tell whether a client would see a difference."""
        whole = self._composed.get((method, None))
        after = self._current(method, None, ANONYMOUS)
        different = whole is not None and whole.body != after.body
        for (name, view), before in tuple(self._composed.items()):
            if name == method and view is not None:
                now = self._current(method, view, before.principal)
                different = different or before.body != now.body
        return different

    def has(self, agent: str, principal: Principal) -> bool:
        """Whether a principal is shown anything of an agent."""
        view = self._view(principal)
        if view is None:
            return True
        return any(agent in self._current(method, view, principal).agents for method in LISTS)

    def _view(self, principal: Principal) -> Hashable:
        return None if self._sight is None else self._sight.view(principal)

    def _current(self, method: str, view: Hashable, principal: Principal) -> _Composed:
        kind, _ = LISTS[method]
        listing = self._directory.listing(kind)  # type: ignore[arg-type]  # a Listable by the table
        old = self._composed.get((method, view))
        if old is not None and old.listing is listing:
            return old
        entries = self._exposure.entries(kind, listing.entries)
        if view is not None and self._sight is not None:
            sight = self._sight
            entries = tuple(one for one in entries if sight.shows(principal, kind, one))
        known = old.items if old is not None else {}
        items: dict[tuple[str, int], bytes] = {}
        for entry in entries:
            key = (entry.name, id(entry.offer))
            item = known.get(key) or _definition(kind, entry)
            if item is not None:
                items[key] = item
        if len(self._composed) >= _MOST_COMPOSED:
            self._composed = {key: one for key, one in self._composed.items() if key[1] is None}
        self._composed[method, view] = new = _Composed(
            listing=listing,
            principal=principal,
            agents=frozenset(one.agent for one in entries),
            items=items,
            body=array(items.values()),
        )
        return new

    def _page(self, composed: _Composed, method: str, start: int, modern: bool) -> bytes:
        end = start + self._page_size
        count = len(composed.items)
        whole = start == 0 and count <= end
        body = composed.body if whole else array(list(composed.items.values())[start:end])
        parts = [b'"%b":%b' % (LISTS[method][1].encode(), body)]
        if count > end:
            parts.append(b'"nextCursor":"%b"' % _cursor(method, list(composed.items)[end - 1][0]))
        meta: dict[str, object] = {}
        if composed.listing.missing:
            meta[MISSING] = list(composed.listing.missing)
        nodes = {agent: at for agent, at in composed.listing.nodes if agent in composed.agents}
        if nodes:
            meta[NODES] = nodes
        if modern:
            meta[SERVER_INFO] = self._server
            ttl = self._ttl_ms
            if composed.listing.missing:
                ttl = min(ttl, _PARTIAL_TTL_MS)
            parts.append(b'"resultType":"complete","ttlMs":%d,"cacheScope":"private"' % ttl)
        if meta:
            parts.append(b'"_meta":%b' % msgspec.json.encode(meta))
        return b"{%b}" % b",".join(parts)

    def _position(self, composed: _Composed, method: str, cursor: str) -> int:
        """Where the page after a cursor begins: after the entry it names."""
        if composed.positions is None:
            composed.positions = {name: at for at, (name, _) in enumerate(composed.items, start=1)}
        name = _named(method, cursor)
        position = None if name is None else composed.positions.get(name)
        if position is None or position >= len(composed.items):
            raise InvalidArguments("the cursor is not, or no longer, valid: begin the list anew")
        return position


def _definition(kind: str, entry: Listed) -> bytes | None:
    """The definition under its public name; None, and a warning, if an agent wrote nonsense."""
    definition = entry.offer.definition
    if kind == "tools" and not _USUAL.fullmatch(entry.name):
        logger.warning(
            "tool %r of agent %s: clients may refuse a name that is not 1 to 128 of A-Z a-z 0-9 _ - .",
            entry.name[:200],
            entry.agent,
        )
    if kind not in _RENAMED:
        return bytes(definition)
    try:
        return renamed(definition, entry.name)
    except ValueError as problem:
        logger.warning("%s of agent %s is not listed: %s", entry.name, entry.agent, problem)
        return None


def _cursor(method: str, name: str) -> bytes:
    return base64.urlsafe_b64encode(f"{method}\n{name}".encode())


def _named(method: str, cursor: str) -> str | None:
    try:
        text = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    of, newline, name = text.partition("\n")
    return name if newline and of == method else None
