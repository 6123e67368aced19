"""How a request is put into bytes for an upstream, in the words of its era.

What a caller gave is passed on as it was: the members of `params` are spliced, not read. Only `_meta` is
written anew, since most of it speaks of one connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec
from msgspec import Raw

from flow_agents.mcp.calls import Call
from flowcore.mcp import Era, client_capabilities, era_of, implementation, one_line
from flowcore.mcp.meta import (
    CLIENT_CAPABILITIES,
    CLIENT_INFO,
    LOG_LEVEL,
    PROGRESS_TOKEN,
    PROTOCOL_VERSION,
    TASKS,
    passed_on,
)

_encode = msgspec.json.encode
_PROGRESS, _LEVEL = PROGRESS_TOKEN.encode(), LOG_LEVEL.encode()
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode

CLIENT: Final = implementation("flowcore")
"""Who we are to upstreams."""


class Phrasing(Protocol):
    """The words of one protocol version."""

    version: str
    modern: bool

    def request(self, call: Call) -> bytes:
        """The request of a call as one line of JSON."""
        ...


def _message(call: Call, meta: bytes) -> bytes:
    """A JSON-RPC request; `meta` is the inside of its `_meta`, empty for none."""
    params = _encode(call.params)
    if meta:
        params = b'%b%b"_meta":{%b}}' % (params[:-1], b"," if call.params else b"", meta)
    return one_line(
        b'{"jsonrpc":"2.0","id":%d,"method":%b,"params":%b}'
        % (call.number, _encode(call.method), params)
    )


class Handshake:
    """Versions up to 2025-11-25: who we are and what we can was said once, in `initialize`."""

    modern = False

    def __init__(self, version: str) -> None:
        self.version = version

    def request(self, call: Call) -> bytes:
        envelope = call.envelope
        if envelope is None:
            return _message(call, b"")
        meta = passed_on(envelope.meta, envelope.context)
        if PROGRESS_TOKEN in envelope.meta:
            token = b'"%b":%d' % (_PROGRESS, call.number)
            meta = b"%b,%b" % (meta, token) if meta else token
        return _message(call, meta)


class Modern:
    """2026-07-28: every request says who we are and what its own caller can do."""

    modern = True

    def __init__(self, version: str, questions: Sequence[str]) -> None:
        self.version = version
        self._questions = frozenset(questions)
        self._head = b'"%b":%b,"%b":%b,"%b":' % (
            PROTOCOL_VERSION.encode(),
            _encode(version),
            CLIENT_INFO.encode(),
            CLIENT,
            CLIENT_CAPABILITIES.encode(),
        )
        self._plain = self._head + b"{}"

    def request(self, call: Call) -> bytes:
        envelope = call.envelope
        if envelope is None:
            return _message(call, self._plain)
        offered = envelope.peer.capabilities
        head = self._head + self._capabilities(offered) if offered else self._plain
        meta = envelope.meta
        own = passed_on(meta, envelope.context)
        if own:
            head = head + b"," + own
        if PROGRESS_TOKEN in meta:
            head = b'%b,"%b":%d' % (head, _PROGRESS, call.number)
        if LOG_LEVEL in meta:
            head = b'%b,"%b":%b' % (head, _LEVEL, meta[LOG_LEVEL])
        return _message(call, head)

    def _capabilities(self, offered: dict[str, Raw]) -> bytes:
        """What the caller can do, as far as the upstream may use it through us.

        Tasks end here: those of the upstream's could not be asked for by name through us.
        """
        passed = {name: value for name, value in offered.items() if name in self._questions}
        if "extensions" in offered:
            try:
                extensions = _decode_members(offered["extensions"])
            except msgspec.MsgspecError:
                extensions = {}
            extensions.pop(TASKS, None)
            if extensions:
                passed["extensions"] = Raw(_encode(extensions))
        return _encode(passed)


def phrasing(version: str, questions: Sequence[str]) -> Phrasing:
    """The words of a version that we know."""
    if era_of(version) is Era.MODERN:
        return Modern(version, questions)
    return Handshake(version)


def initialize_params(version: str, questions: Sequence[str]) -> dict[str, Raw]:
    """The params of `initialize`."""
    capabilities = client_capabilities(
        elicitation="elicitation" in questions,
        sampling="sampling" in questions,
        roots="roots" in questions,
    )
    return {
        "protocolVersion": Raw(_encode(version)),
        "capabilities": Raw(_encode(capabilities)),
        "clientInfo": Raw(CLIENT),
    }
