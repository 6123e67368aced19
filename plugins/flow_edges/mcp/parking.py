"""Calls that wait for a client's retry with what they asked for (2026-07-28, multi round-trip requests).

A work that asks while it runs cannot be put into a `requestState`: the call stays, and the state is a name
for it that nobody can guess, good for one retry, of the same request, by the same principal, for a while.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter, OrderedDict

import attrs
import msgspec
import trio
from msgspec import Raw

from flow_edges.mcp.running import Running
from flowcore.errors import InvalidArguments, Overloaded
from flowcore.requests import Owner

_decode = msgspec.json.decode
_encode = msgspec.json.encode


@attrs.frozen
class _Parked:
    running: Running
    owner: Owner
    digest: bytes
    until: float


class Parking:
    """The parked calls of an edge. A call whose client does not come back in time is cancelled."""

    def __init__(self, *, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._prefix = f"flow.{secrets.token_urlsafe(9)}."
        self._parked: OrderedDict[str, _Parked] = OrderedDict()

    def __len__(self) -> int:
        return len(self._parked)

    def owns(self, state: str) -> bool:
        """Whether a state is one of ours; others are the agents' own."""
        return state.startswith(self._prefix)

    def park(self, running: Running, owner: Owner, digest: bytes) -> str:
        """Keep a call until its retry; the state to give to the client.

        Raises Overloaded if there is no room; it is made at the cost of who has more calls waiting.
        """
        self._forget()
        if len(self._parked) >= self._most and not self._make_room(owner):
            raise Overloaded(
                f"{self._most} calls wait for their clients' input, which is the limit",
                retry_after=1.0,
            )
        state = self._prefix + secrets.token_urlsafe(24)
        until = trio.current_time() + self._seconds
        running.scope.deadline = until
        self._parked[state] = _Parked(running, owner, digest, until)
        return state

    def _make_room(self, owner: Owner) -> bool:
        many = Counter(one.owner for one in self._parked.values())
        first: dict[Owner, str] = {}
        for state, parked in self._parked.items():
            first.setdefault(parked.owner, state)
        most = max(first, key=many.__getitem__, default=owner)
        if many[most] <= many[owner] + 1:
            return False
        self._parked.pop(first[most]).running.scope.cancel()
        return True

    def resume(self, state: str, owner: Owner, digest: bytes) -> Running:
        """The call a state names. Raises InvalidArguments if it names none, or none of this request."""
        self._forget()
        parked = self._parked.get(state)
        if parked is None or parked.owner != owner or parked.digest != digest:
            raise InvalidArguments("requestState is not, or no longer, valid for this request")
        del self._parked[state]
        parked.running.scope.deadline = float("inf")
        return parked.running

    def _forget(self) -> None:
        now = trio.current_time()
        while self._parked:
            state, parked = next(iter(self._parked.items()))
            if parked.until > now:
                return
            del self._parked[state]


def digest_of(method: str, params: dict[str, Raw]) -> bytes:
    """What a retry has in common with its request: the method and all parameters but the input.

    Arguments are compared as values: a client may write the same ones differently. Only what cannot be a
    value here, such as a number too large for one, must be written the same.
    """
    same = {
        key: _value(value)
        for key, value in params.items()
        if key not in ("inputResponses", "requestState")
    }
    return hashlib.blake2b(method.encode() + b"\0" + _encode(same, order="sorted")).digest()


def _value(raw: Raw) -> object:
    try:
        return _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return bytes(raw)
