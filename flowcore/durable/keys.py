"""Idempotency keys that hold on every node: reserved in the state before the work, settled after it."""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from flowcore.durable.asking import PASSING, Patience
from flowcore.durable.records import pack_outcome, short, unpack_outcome
from flowcore.envelope import Envelope, Owner, Reply
from flowcore.errors import (
    CallCancelled,
    CallError,
    DeadlineExceeded,
    InvalidArguments,
    OutcomeUnknown,
    StillRunning,
    VersionConflict,
)
from flowcore.federation.wire import WrongMessage
from flowcore.requests import RequestSettings
from flowcore.state import (
    VALUE_SIZE,
    Command,
    KeyTold,
    ReadLevel,
    ReserveKey,
    SettleKey,
    State,
)

logger = logging.getLogger(__name__)

MARGIN = 30.0
"""Seconds beyond its deadline after which a request's node is taken for lost, where nothing else tells so."""
PATIENCE = 5.0
"""Seconds for which an answer waits until all nodes know of it, longer than a new leader takes; then it goes
out, and they are told on."""
_UNKNOWN = (OutcomeUnknown, DeadlineExceeded, CallCancelled)

Place = tuple[Owner, str, str]
"""Owner, scope and key."""


class StateKeys:
    """`flowcore.requests.SharedKeys`, over the hard state."""

    def __init__(
        self,
        state: State,
        holder: str,
        settings: Callable[[], RequestSettings],
        nursery: trio.Nursery,
    ) -> None:
        self._state = state
        self._holder = holder
        self._settings = settings
        self._nursery = nursery
        self._waiting: dict[Place, set[trio.Event]] = {}
        self._pending: dict[Place, trio.Event] = {}
        """Keys whose outcome is known here, and not in the state yet."""
        self.reserved = self.replayed = self.joined = 0

    async def reserve(
        self, envelope: Envelope, fingerprint: bytes, *, join: bool, repeatable: bool
    ) -> Held | Reply:
        assert envelope.idempotency_key is not None
        scheme, name = envelope.principal.owner
        place = (
            (short(scheme), short(name)),
            short(envelope.agent),
            short(envelope.idempotency_key),
        )
        with trio.move_on_at(envelope.deadline):
            return await self._reserve(
                place, envelope, fingerprint, join=join, repeatable=repeatable
            )
        raise DeadlineExceeded(
            "the request with this idempotency key is still running, or it could not be reserved in time",
            began=False,
        )

    async def _reserve(
        self, place: Place, envelope: Envelope, fingerprint: bytes, *, join: bool, repeatable: bool
    ) -> Held | Reply:
        while place in self._pending:  # what was here before is still being told
            await self._pending[place].wait()
        patience = Patience()
        doubt = joined = False
        try:
            while True:
                before, doubt = doubt, True
                try:
                    told = await self._state.do(
                        self._command(place, envelope, fingerprint, repeatable)
                    )
                except OutcomeUnknown as error:  # asked again: who holds it may ask for it again
                    await patience.wait(error)
                    continue
                except CallError:
                    doubt = before
                    raise
                doubt = False
                if told.state == "reserved":
                    self.reserved += 1
                    return Held(self, place, told.fence)
                if told.state != "running":
                    self.replayed += 1
                    return _outcome(told)
                if not join:
                    raise StillRunning(
                        "the request with this idempotency key is still running at another node"
                    )
                self.joined += not joined
                joined = True
                await self._moved(place)
        finally:
            if doubt:
                self._free(place, self._command(place, envelope, fingerprint, repeatable))

    def _command(
        self, place: Place, envelope: Envelope, fingerprint: bytes, repeatable: bool
    ) -> ReserveKey:
        owner, scope, key = place
        return ReserveKey(
            owner=owner,
            scope=scope,
            key=key,
            fingerprint=fingerprint,
            holder=self._holder,
            seconds=max(0.0, envelope.deadline - trio.current_time()) + MARGIN,
            repeatable=repeatable,
        )

    def _free(self, place: Place, command: ReserveKey) -> None:
        """Free a key that may have been reserved for a request that was given up before it began."""
        self._pending[place] = done = trio.Event()
        self._nursery.start_soon(self._free_now, place, command, done)

    async def _free_now(self, place: Place, command: ReserveKey, done: trio.Event) -> None:
        owner, scope, key = place
        try:
            told: KeyTold = await self._state.do(command)
            if told.state == "reserved":
                await self._state.do(
                    SettleKey(owner=owner, scope=scope, key=key, fence=told.fence, state="free")
                )
        except CallError as error:
            logger.info("a key that was given up stays reserved for a while: %s", error)
        finally:
            self._told(place, done)

    def _told(self, place: Place, done: trio.Event) -> None:
        if self._pending.get(place) is done:
            del self._pending[place]
        done.set()

    # ---- those of others

    async def _moved(self, place: Place) -> None:
        """Wait until a key that another node works on is not being worked on any more."""
        waiting = self._waiting.setdefault(place, set())
        try:
            while True:
                event = trio.Event()
                waiting.add(event)
                found = await self._state.key(*place, level=ReadLevel.STALE)
                if found is None or found.state != "running":
                    return
                await event.wait()
                waiting.discard(event)
        finally:
            waiting.discard(event)
            if not waiting:
                self._waiting.pop(place, None)

    def heard(self, command: Command | None) -> None:
        """A command was applied here: whoever waits for a key that it may be about looks again."""
        if not self._waiting:
            return
        if isinstance(command, SettleKey):
            places = [(command.owner, command.scope, command.key)]
        else:
            places = list(self._waiting)
        for place in places:
            for event in self._waiting.get(place, ()):
                event.set()

    async def drain(self, seconds: float) -> None:
        """Wait until the state has every outcome that is known here, for so long at most."""
        with trio.move_on_after(seconds):
            while self._pending:
                await next(iter(self._pending.values())).wait()

    # ---- outcomes

    @property
    def settling(self) -> int:
        """Outcomes that are known here, and not in the state yet."""
        return len(self._pending)

    def begin(self, command: SettleKey) -> trio.Event:
        """Have an outcome stored, however long that takes; what is set once it is."""
        place = command.owner, command.scope, command.key
        self._pending[place] = done = trio.Event()
        self._nursery.start_soon(self._settle, command, done)
        return done

    async def _settle(self, command: SettleKey, done: trio.Event) -> None:
        patience = Patience()
        try:
            with trio.move_on_after(self._settings().idempotency.keep):
                while True:
                    try:
                        await self._state.do(command)
                    except PASSING as error:
                        await patience.wait(error)
                        continue
                    except (VersionConflict, InvalidArguments) as error:
                        # it was settled by the attempt before, or this node was taken for lost
                        logger.debug("an outcome is not taken: %s", error)
                    return
        finally:
            self._told((command.owner, command.scope, command.key), done)

    def settled_by(
        self, place: Place, fence: int, reply: Reply | None, error: CallError | None
    ) -> SettleKey:
        """The command that stores an outcome."""
        owner, scope, key = place
        keep = self._settings().idempotency.keep
        if error is not None and not error.began:
            return SettleKey(owner=owner, scope=scope, key=key, fence=fence, state="free")
        if isinstance(error, _UNKNOWN):
            return SettleKey(
                owner=owner, scope=scope, key=key, fence=fence, state="unknown", keep=keep
            )
        outcome = pack_outcome(reply, error)
        if len(outcome) > VALUE_SIZE:
            outcome = b""  # that it is done must be known, whether or not what came of it is
        return SettleKey(owner=owner, scope=scope, key=key, fence=fence, outcome=outcome, keep=keep)


class Held:
    """`flowcore.requests.HeldKey`: a key that this node has reserved."""

    def __init__(self, keys: StateKeys, place: Place, fence: int) -> None:
        self._keys = keys
        self._place = place
        self._fence = fence

    async def settle(self, reply: Reply | None, error: CallError | None) -> None:
        done = self._keys.begin(self._keys.settled_by(self._place, self._fence, reply, error))
        with trio.move_on_after(PATIENCE):
            await done.wait()

    def give_up(self, *, began: bool) -> None:
        error = OutcomeUnknown("the request was cut off", began=began)
        self._keys.begin(self._keys.settled_by(self._place, self._fence, None, error))


def _outcome(told: KeyTold) -> Reply:
    """The stored result; raises the stored error, or that it is not known."""
    if told.state == "unknown":
        raise OutcomeUnknown(
            "the request with this idempotency key was begun, and its node was lost or could not say what"
            " came of it: it may have happened"
        )
    try:
        outcome = unpack_outcome(told.outcome or b"")
    except WrongMessage as error:
        raise OutcomeUnknown(
            f"the request with this idempotency key was done; its result cannot be read here: {error}",
            data={"done": True},
        ) from None
    if outcome is None:
        raise OutcomeUnknown(
            "the request with this idempotency key was done; its result is no longer kept",
            data={"done": True},
        )
    if isinstance(outcome, CallError):
        raise outcome
    return outcome
