"""The requests that wait for an answer of the upstream: by number, and by whom they were made."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs
import trio
from msgspec import Raw

from flow_agents.mcp.attribution import Served, Trail, owner_of, principal_of
from flowcore.envelope import Envelope
from flowcore.errors import CallError
from flowcore.mcp import Response


class Acknowledgement:
    """Whether the upstream has confirmed a subscription, and which part of it."""

    def __init__(self) -> None:
        self.came = trio.Event()
        self.notifications: Raw | None = None
        """The part of the filter that it will honour."""


@attrs.define(eq=False)
class Call:
    """One request to the upstream, until it is answered or given up."""

    number: int
    """Its JSON-RPC id, and its progress token."""
    method: str
    params: dict[str, Raw]
    envelope: Envelope | None = None
    """Whose request it is; None for one of our own."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """HTTP headers that mirror its arguments."""
    answered: bool = False
    """Whether its response has come."""
    acknowledgement: Acknowledgement | None = None
    """Of a request that opens a subscription: what the upstream confirmed of it."""
    scopes: set[trio.CancelScope] | None = None
    """What is done for this call elsewhere, and is in vain without it."""
    _outcome: Response | CallError | None = None
    _task: trio.lowlevel.Task | None = None

    def settle(self, result: Response | CallError) -> None:
        """Give it its outcome, and wake who waits."""
        self._outcome = result
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)
            self._task = None

    @property
    def settled(self) -> bool:
        """Whether its outcome is there."""
        return self._outcome is not None

    async def answer(self) -> Response:
        """Wait for the response. Raises CallError if there will be none. One task waits."""
        if self._outcome is None:
            # what trio.Event does for many waiters, for the one there is
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        if isinstance(self._outcome, CallError):
            raise self._outcome
        assert self._outcome is not None
        return self._outcome

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED


@attrs.frozen(kw_only=True)
class CallStatistics:
    """What became of answers that nobody waited for."""

    late: int
    """Answers to requests that had been answered or given up."""
    stray: int
    """Answers with ids that we never gave."""


class Calls:
    """The calls under way on one connection."""

    def __init__(self, *, linger: float = 30.0, late: Callable[[], None] | None = None) -> None:
        """`linger`: seconds that a call may be spoken of after it ended; `late` is called with each answer
        to one that had been answered or given up."""
        self._tell_late = late
        self.served = Served()
        self._linger = linger
        self._given_up_trail = Trail()
        self._answered_trail = Trail()
        self._calls: dict[int, Call] = {}
        self._last = 0
        self._late = 0
        self._stray = 0
        self._given_up = 0
        """Calls given up since the upstream was last heard."""
        self.messages = 0
        """How often it was heard."""

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[Call]:
        """The calls under way, the oldest first."""
        return iter(tuple(self._calls.values()))

    def begin(self, method: str, params: dict[str, Raw], envelope: Envelope | None = None) -> Call:
        """A new call, under a number that was never given before."""
        self._last += 1
        call = self._calls[self._last] = Call(self._last, method, params, envelope)
        if envelope is not None:
            self.served.note(envelope.principal)
        return call

    def end(self, call: Call) -> None:
        """It is answered or given up. What is done for it elsewhere is cancelled."""
        del self._calls[call.number]
        if call.envelope is not None:
            now = trio.current_time()
            if call.answered:
                self._answered_trail.note(principal_of(call.envelope), now)
            else:
                self._given_up_trail.note(owner_of(call.envelope), now)
        if call.scopes:
            for scope in call.scopes:
                scope.cancel()

    def get(self, number: object) -> Call | None:
        """The call of a number that came from the upstream; None if there is none."""
        return self._calls.get(number) if type(number) is int else None

    def working(self) -> list[Call]:
        """The calls under way that somebody waits for, the oldest first."""
        return [call for call in self._calls.values() if call.envelope is not None]

    def of_several(self) -> bool:
        """Whether the upstream may be working on several owners' calls: those under way, and those that were
        given up a while ago."""
        owners = {owner_of(call.envelope) for call in self._calls.values() if call.envelope}
        return len(owners | self._given_up_trail.since(trio.current_time() - self._linger)) > 1

    def lately_of_several(self) -> bool:
        """Whether it may speak of several principals' calls: these, and those it answered a while ago."""
        names = {principal_of(call.envelope) for call in self._calls.values() if call.envelope}
        return len(names | self._answered_trail.since(trio.current_time() - self._linger)) > 1

    def take(self, response: Response) -> None:
        """Give a response to whoever waits for it; count it if nobody does."""
        call = self.get(response.id)
        if call is not None and not call.settled:
            call.settle(response)
        elif response.id is None and self._is_of_the_only_one():
            # it could not read what it answers, and there is only one request that can be
            next(iter(self._calls.values())).settle(response)
        else:
            self.unwanted(response)

    def _is_of_the_only_one(self) -> bool:
        return len(self._calls) == 1 and not self.of_several()

    def unwanted(self, response: Response) -> None:
        """Count a response that nobody waits for."""
        if type(response.id) is int and 0 < response.id <= self._last:
            self._late += 1
            if self._tell_late is not None:
                self._tell_late()
        else:
            self._stray += 1

    def given_up(self) -> None:
        """A call was cancelled, or its deadline passed, before it was answered."""
        self._given_up += 1

    def heard(self) -> None:
        """The upstream said something: it is alive."""
        self.messages += 1
        self._given_up = 0

    @property
    def at_work(self) -> bool:
        """Whether the upstream may be busy with calls and therefore silent.

        Servers that do their work in the loop that reads their input cannot answer a ping meanwhile. Only
        if a call was given up and nothing was heard since is its silence held against it.
        """
        if self._given_up:
            return False
        return any(call.envelope is not None for call in self._calls.values())

    def fail(self, error: CallError) -> None:
        """The connection is gone: every call that has no outcome yet ends with this error."""
        for call in tuple(self._calls.values()):
            if not call.settled:
                call.settle(error)

    def statistics(self) -> CallStatistics:
        """Counts since the connection was opened."""
        return CallStatistics(late=self._late, stray=self._stray)
