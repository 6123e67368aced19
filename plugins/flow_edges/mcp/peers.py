"""The asking side as the work sees it, for each kind of client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
import trio
from msgspec import Raw

from flow_edges.mcp.client import OFF, Client
from flowcore.mcp import ELICITING, MissingCapability, encode_notification, lacking, question_for
from flowcore.mcp.meta import LEVELS, PROGRESS_TOKEN
from flowcore.requests import Envelope

_LEVEL = {name: number for number, name in enumerate(LEVELS)}
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.encode


class _Leveled(msgspec.Struct, gc=False):
    level: str = "info"


_decode_level = msgspec.json.Decoder(_Leveled).decode


class Silent:
    """The peer of a request that asked for no word and declared nothing it could be asked."""

    capabilities: dict[str, Raw] = {}  # noqa: RUF012 - never written

    def notify(self, method: str, params: Raw) -> None:
        del method, params

    async def request(self, method: str, params: Raw) -> Raw:
        raise MissingCapability(lacking({}, method, params))


SILENT = Silent()


Asker = Callable[[str, Raw], Awaitable[Raw]]
"""Puts a question (method, params) to the client and waits for its answer."""


class Talker:
    """The peer of a request that wants to hear of its progress or its log, or can be asked.

    `client` and `token` are those of the request that is answered next: a retry brings its own.
    """

    def __init__(
        self, client: Client, meta: dict[str, Raw], emit: Callable[[bytes], None], ask: Asker
    ) -> None:
        self.client = client
        self.token = meta.get(PROGRESS_TOKEN)
        self.envelope: Envelope | None = None
        """The request this is the peer of; its deadline stands still while the client is asked."""
        self._emit = emit
        self._ask = ask

    @property
    def capabilities(self) -> dict[str, Raw]:
        return self.client.capabilities

    def notify(self, method: str, params: Raw) -> None:
        """Progress under the client's own token, log messages it wants, and that what it was sent to a page
        for is done, where its version knows that (2025-11-25); anything else is not of a call."""
        if method == "notifications/progress":
            if self.token is not None:
                self._emit(
                    encode_notification(method, with_member(params, PROGRESS_TOKEN, self.token))
                )
        elif (method == "notifications/message" and wanted(self.client, params)) or (
            method == "notifications/elicitation/complete" and self.client.version in ELICITING
        ):
            self._emit(encode_notification(method, params))

    async def request(self, method: str, params: Raw) -> Raw:
        """Ask the client. Raises MissingCapability if it did not declare that it can be asked this."""
        missing = lacking(self.client.capabilities, method, params)
        if missing:
            raise MissingCapability(missing)
        if self.envelope is not None:
            self.envelope.stop_clock(trio.current_time())
        try:
            return await self._ask(method, question_for(method, params, modern=self.client.modern))
        finally:
            if self.envelope is not None:
                self.envelope.start_clock(trio.current_time())


def with_member(params: Raw, key: str, value: Raw) -> Raw:
    """A JSON object with one member more, or in another's place; what is no object stays as it is."""
    try:
        members = _decode_members(params)
    except msgspec.MsgspecError:
        return params
    members[key] = value
    return Raw(_encode(members))


def wanted(client: Client, params: Raw) -> bool:
    """Whether a log message is severe enough for a client.

    In 2026-07-28 a client that names no level wants none; before, it gets what the agent sends.
    """
    if client.level is None:
        return not client.modern
    if client.level is OFF:
        return False
    try:
        level = _decode_level(params).level
    except msgspec.MsgspecError:
        return False
    return _LEVEL.get(level, 0) >= _LEVEL.get(client.level, 0)


def hears_log(client: Client) -> bool:
    """Whether a client hears any log messages of its calls."""
    return client.level is not OFF and (client.level is not None or not client.modern)
