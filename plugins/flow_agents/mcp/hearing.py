"""What the upstream says that is not an answer: told to the call it is about, or to the whole flow."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final, Protocol

import msgspec
from msgspec import Raw

from flow_agents.mcp.calls import Call, Calls
from flowcore.mcp import LIST_CHANGED, Message, Notification, Request, Response
from flowcore.mcp.meta import HOP, PROGRESS_TOKEN, SUBSCRIPTION_ID

_encode = msgspec.json.encode
_decode = msgspec.json.decode
_decode_meta = msgspec.json.Decoder(dict[str, Raw]).decode

_KINDS: Final = {
    method: method.removeprefix("notifications/").removesuffix("/list_changed")
    for method in LIST_CHANGED
}
"""The kind of list that a notification says has changed."""

OUTSIDE: Final = frozenset({"notifications/resources/updated", "notifications/message"})
"""What may be told to the whole flow."""


class Asked(Protocol):
    """Who takes the upstream's questions."""

    def ask(self, request: Request, call: Call | None) -> None: ...
    def withdraw(self, number: int | str) -> None: ...


class Offered(Protocol):
    """Who keeps what the upstream offers."""

    def changed(self, kinds: Collection[str]) -> None: ...
    def missed(self) -> None: ...


class Hearing:
    """The ears of one connection. Nothing here waits or raises, whatever is heard."""

    def __init__(self, calls: Calls, asked: Asked, notify: Callable[[str, Raw], None]) -> None:
        """`notify` tells the whole flow."""
        self._calls = calls
        self._asked = asked
        self._notify = notify
        self._offered: Offered | None = None
        self._modern = False
        self.ignored = 0
        """Notifications that nobody here knows, or that are about nothing."""

    def attach(self, offered: Offered, *, modern: bool) -> None:
        """The upstream was greeted: who is told that its lists change, and whether it is of 2026-07-28."""
        self._offered = offered
        self._modern = modern

    def hear(self, message: Message, call: Call | None) -> None:
        """A message came; `call` is the one on whose stream it came, where calls have streams."""
        if type(message) is Response:
            self._calls.take(message)
        elif type(message) is Notification:
            self._noticed(message, call)
        elif type(message) is Request:
            if self._modern:
                self.ignored += 1  # it must not ask, and must not be answered
            else:
                self._asked.ask(message, call)

    def unwanted(self, response: Response) -> None:
        """A response came that nobody waits for."""
        self._calls.unwanted(response)

    def missed(self) -> None:
        """Notifications may have been missed."""
        if self._offered is not None:
            self._offered.missed()

    def _noticed(self, notice: Notification, call: Call | None) -> None:
        method, params = notice.method, notice.params
        if method == "notifications/progress":
            self._progress(params, call)
        elif method == "notifications/message":
            self._logged(params, call)
        elif method in _KINDS:
            if self._offered is not None:
                self._offered.changed((_KINDS[method],))
        elif method == "notifications/resources/updated":
            self._notify(method, _without_hop(params))
        elif method == "notifications/cancelled":
            self._cancelled(params)
        elif method == "notifications/subscriptions/acknowledged":
            self._acknowledged(params, call)
        elif method == "notifications/elicitation/complete":
            self._about_a_call(method, params, call)
        else:
            self.ignored += 1

    def _progress(self, params: dict[str, Raw], call: Call | None) -> None:
        call = self._calls.get(_value(params.get(PROGRESS_TOKEN))) or call
        if call is None or call.envelope is None:
            self.ignored += 1
        else:
            call.envelope.peer.notify("notifications/progress", Raw(_encode(params)))

    def _logged(self, params: dict[str, Raw], call: Call | None) -> None:
        """A log message goes to the call it belongs to.

        Where all share one stream nothing says which call that is: if one is under way it is that one's, if
        there are none or several everybody is told who listens.
        """
        self._about_a_call("notifications/message", params, call)

    def _about_a_call(self, method: str, params: dict[str, Raw], call: Call | None) -> None:
        told = call if call is not None else self._only()
        raw = Raw(_encode(params))
        if told is not None and told.envelope is not None:
            told.envelope.peer.notify(method, raw)
        elif method in OUTSIDE:
            self._notify(method, raw)
        else:
            self.ignored += 1

    def _only(self) -> Call | None:
        """The one call under way, if there is exactly one."""
        found: Call | None = None
        for call in self._calls:
            if call.envelope is not None:
                if found is not None:
                    return None
                found = call
        return found

    def _cancelled(self, params: dict[str, Raw]) -> None:
        """The upstream takes a question back, or ends a subscription (2026-07-28, cancellation)."""
        number = _value(params.get("requestId"))
        call = self._calls.get(number)
        if call is not None and call.acknowledgement is not None and not call.settled:
            call.settle(Response(call.number, result=Raw(b"{}")))
        elif isinstance(number, (int, str)):
            self._asked.withdraw(number)

    def _acknowledged(self, params: dict[str, Raw], call: Call | None) -> None:
        if call is None:
            try:
                meta = _decode_meta(params.get("_meta", b"{}"))
            except msgspec.MsgspecError:
                meta = {}
            call = self._calls.get(_value(meta.get(SUBSCRIPTION_ID)))
        if call is not None and call.acknowledgement is not None:
            call.acknowledgement.notifications = params.get("notifications")
            call.acknowledgement.came.set()
        else:
            self.ignored += 1


def _value(raw: Raw | None) -> object:
    return None if raw is None else _decode(raw)


def _without_hop(params: dict[str, Raw]) -> Raw:
    """The params without what in their `_meta` speaks of this connection only."""
    if "_meta" in params:
        try:
            meta = _decode_meta(params["_meta"])
        except msgspec.MsgspecError:
            meta = {}
        kept = {key: value for key, value in meta.items() if key not in HOP}
        params = {key: value for key, value in params.items() if key != "_meta"}
        if kept:
            params["_meta"] = Raw(_encode(kept))
    return Raw(_encode(params))
