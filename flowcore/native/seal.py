"""Sealing what a caller keeps for us between two requests: it can be read, and not changed."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from typing import Any

import msgspec

from flowcore.envelope import Envelope
from flowcore.errors import InvalidArguments

STATE_LIFE = 3600.0
"""Seconds for which a sealed state is taken back."""

MAX_STATE = 1 << 20


class Seal:
    """Seals states with HMAC-SHA256 (RFC 2104), each for one principal, one request and one hour.

    That is what MCP 2026-07-28 (basic/patterns/mrtr) asks for: the principal, an expiry, and the method,
    name and arguments of the request, all under the code. Without a `key` a random one is made, so that
    states do not outlive the agent.
    """

    def __init__(self, key: bytes | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self._key = key or secrets.token_bytes(32)
        self._clock = clock

    def close(self, value: Any, envelope: Envelope) -> str:
        """A text that holds the value, for the envelope's request asked again and nothing else."""
        body = msgspec.json.encode([self._clock() + STATE_LIFE, _about(envelope), value])
        return base64.urlsafe_b64encode(self._code(body) + body).decode()

    def open(self, text: Any, envelope: Envelope) -> Any:
        """The value. Raises InvalidArguments for a text that was not given out for this request."""
        try:
            if not isinstance(text, str) or len(text) > MAX_STATE:
                raise ValueError("not a text of ours")
            sealed = base64.b64decode(text.encode(), altchars=b"-_", validate=True)
            code, body = sealed[:32], sealed[32:]
            if not hmac.compare_digest(code, self._code(body)):
                raise ValueError("the seal is broken")
            expires, about, value = msgspec.json.decode(body)
            if about != _about(envelope) or self._clock() > expires:
                raise ValueError("of another request, or too old")
        except (ValueError, binascii.Error, msgspec.DecodeError):
            raise InvalidArguments(
                "requestState was not given out for this request, or has expired"
            ) from None
        return value

    def _code(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, hashlib.sha256)


def _about(envelope: Envelope) -> str:
    """A digest of who asks what: requests asked again have the same one."""
    raw = envelope.params.get("arguments")
    arguments = {} if raw is None else msgspec.json.decode(raw)
    asked = [envelope.principal.owner, envelope.method, envelope.name, arguments]
    return hashlib.sha256(msgspec.json.encode(asked, order="deterministic")).hexdigest()
