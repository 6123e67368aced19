"""What the upstream says that is not an answer: told to the call it is about, or to the whole flow."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Protocol

import msgspec
from msgspec import Raw

from flow_agents.mcp.calls import Call, Calls
from flowcore.envelope import Principal
from flowcore.mcp import LIST_CHANGED, Message, Notification, Request, Response
from flowcore.mcp.meta import HOP, LOG_LEVEL, PROGRESS_TOKEN, SUBSCRIPTION_ID

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


class Notify(Protocol):
    """Tells the whole flow; with an audience, only what of it is of that principal."""

    def __call__(self, method: str, params: Raw, *, audience: Principal | None = None) -> None: ...


class Hearing:
    """The ears of one connection. Nothing here waits or raises, whatever is heard."""

    def __init__(
        self, calls: Calls, asked: Asked, notify: Notify, *, everyone: bool = False
    ) -> None:
        """With `everyone`, a log message that may be of several owners' calls is told to all who listen."""
        self._calls = calls
        self._asked = asked
        self._notify = notify
        self._everyone = everyone
        self._offered: Offered | None = None
        self._modern = False
        self.ignored = 0
        """Notifications that nobody here knows, or that are about nothing."""
        self.withheld = 0
        """Notifications that were told to nobody, since they may be of several owners' calls."""

    def attach(self, offered: Offered, *, modern: bool) -> None:
        """The upstream was greeted: who is told that its lists change, and whether it is of 2026-07-28."""
        self._offered = offered
        self._modern = modern

    def hear(self, message: Message, call: Call | None) -> None:
        """A message came; `call` is the one on whose stream it came, where calls have streams."""
        self._calls.heard()
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
        meant = self._calls.get(_value(params.get(PROGRESS_TOKEN)))
        if call is not None and meant is not None and meant is not call:
            meant = None  # what is on a call's stream belongs to it, and to no other
        elif call is not None:
            meant = call
        call = meant
        if call is None or call.envelope is None:
            self.ignored += 1
        else:
            call.envelope.peer.notify("notifications/progress", Raw(_encode(params)))

    def _logged(self, params: dict[str, Raw], call: Call | None) -> None:
        """A log message goes to the call it belongs to.

        Where all share one stream nothing says which call that is. It may be of any that is under way or has
        just ended: it is told to the latest of them if all are one owner's, else to nobody. One that comes in
        a silence is told to those who listen, if the connection has only ever worked for their principal.
        """
        method = "notifications/message"
        if call is not None or not self._everyone:
            self._about_a_call(method, params, call)
        elif len(working := self._calls.working()) == 1:
            self._tell(method, params, working[0])
        else:
            self._notify(method, Raw(_encode(params)))

    def _about_a_call(self, method: str, params: dict[str, Raw], call: Call | None) -> None:
        if call is not None and call.envelope is not None:
            self._tell(method, params, call)
        elif self._calls.of_several() or self._calls.lately_of_several():
            self.withheld += 1
        elif working := self._calls.working():
            curious = [one for one in working if one.envelope and LOG_LEVEL in one.envelope.meta]
            self._tell(method, params, (curious or working)[-1])
        elif method not in OUTSIDE:
            self.ignored += 1
        elif self._calls.served.several:
            self.withheld += 1
        else:
            self._notify(method, Raw(_encode(params)), audience=self._calls.served.principal)

    def _tell(self, method: str, params: dict[str, Raw], call: Call) -> None:
        assert call.envelope is not None
        call.envelope.peer.notify(method, Raw(_encode(params)))

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
