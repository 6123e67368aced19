"""What the upstream asks (versions with a handshake): put to the client whose call it is, and answered.

Over HTTP a question comes on the stream of the call it belongs to. Over stdio, and on the stream that belongs
to no call, nothing in the protocol says whose it is. Then

- a question is put to the latest call whose client declared that it can be asked, if all calls that it could
  be of are one owner's: those under way, and those that were given up a while ago (`linger`) and may go on;
- if they are not, it is refused: one person's question is never shown to another. Without authentication
  each session is an owner of its own. A pool with `concurrency = 1` leaves no such doubt;
- `roots/list` outside any call is answered with the configured roots; `ping` is always answered.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import trio
from msgspec import Raw

from flow_agents.mcp.calls import Call, Calls
from flow_agents.mcp.errands import Errands
from flowcore.errors import (
    CallCancelled,
    CallError,
    InternalError,
    InvalidRequest,
    Overloaded,
    UnknownMethod,
)
from flowcore.mcp import ASKS, EMPTY, Request, encode_error, encode_result, one_line

logger = logging.getLogger(__name__)

_MOST: Final = 256
"""Questions that may be open at a time."""


class Questions:
    """The open questions of one upstream."""

    def __init__(
        self,
        calls: Calls,
        tell: Callable[[bytes], Awaitable[None]],
        errands: Errands,
        *,
        allowed: tuple[str, ...],
        roots: tuple[str, ...],
    ) -> None:
        self._calls = calls
        self._tell = tell
        self._errands = errands
        self._allowed = frozenset(allowed)
        self._roots = Raw(msgspec.json.encode({"roots": [{"uri": uri} for uri in roots]}))
        self._fixed_roots = bool(roots)
        self._open: dict[int | str, trio.CancelScope] = {}

    def ask(self, request: Request, call: Call | None) -> None:
        """A question came, on the stream of `call` if calls have streams. Its answer is sent later."""
        if request.method == "ping":
            self._send(encode_result(request.id, EMPTY))
            return
        name = ASKS.get(request.method)
        if request.method == "roots/list" and self._fixed_roots:
            self._send(encode_result(request.id, self._roots))
            return
        try:
            if name is None or name not in self._allowed:
                raise UnknownMethod(f"{request.method[:100]!r} is not answered here")
            if request.id in self._open:
                raise InvalidRequest(f"the id {request.id!r} is of a question that is still open")
            if len(self._open) >= _MOST:
                raise Overloaded(f"{_MOST} questions are open")
            whose = call if call is not None and call.envelope is not None else self._whose(name)
            if whose is None:
                if request.method == "roots/list":
                    self._send(encode_result(request.id, self._roots))
                    return
                raise InvalidRequest("no call is under way whose client could be asked")
        except CallError as refusal:
            self._send(encode_error(request.id, refusal.wire()))
            return
        scope = self._open[request.id] = trio.CancelScope()
        if not self._errands.run(self._put, request, whose, scope):
            del self._open[request.id]  # the connection is over, or does not read

    def _send(self, answer: bytes) -> None:
        self._errands.run(self._tell, one_line(answer))

    def withdraw(self, number: int | str) -> None:
        """The upstream wants no answer any more."""
        scope = self._open.pop(number, None)
        if scope is not None:
            scope.cancel()

    def _whose(self, name: str) -> Call | None:
        """The call that a question without one most likely belongs to; None if there is none.

        Raises InvalidRequest if it could be one of several owners'.
        """
        calls = self._calls.working()
        if not calls:
            return None
        if self._calls.of_several():
            raise InvalidRequest(
                "the question could be of the calls of several clients, and nobody's question is put "
                "to somebody else"
            )
        able = [call for call in calls if name in _capabilities(call)]
        return (able or calls)[-1]

    async def _put(self, request: Request, call: Call, scope: trio.CancelScope) -> None:
        assert call.envelope is not None
        if call.scopes is None:
            call.scopes = set()
        call.scopes.add(scope)
        error: CallError = CallCancelled("the call that this question belongs to is over")
        answer: Raw | None = None
        try:
            with scope:
                params = Raw(msgspec.json.encode(request.params))
                try:
                    answer = await call.envelope.peer.request(request.method, params)
                except CallError as refusal:
                    error = refusal
                except Exception:
                    logger.exception("a question of an upstream failed")
                    error = InternalError("internal error")
        finally:
            call.scopes.discard(scope)
        if self._open.get(request.id) is not scope:
            return  # it was withdrawn
        del self._open[request.id]
        if answer is not None:
            await self._tell(one_line(encode_result(request.id, answer)))
        else:
            await self._tell(encode_error(request.id, error.wire()))


def _capabilities(call: Call) -> dict[str, Raw]:
    assert call.envelope is not None
    return call.envelope.peer.capabilities
