"""What holds for every guard: it answers at once, refuses by typed errors, and is even again afterwards."""

from __future__ import annotations

import contextlib
import inspect
import pathlib
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import msgspec
import trio

from flowcore.assembly import BUILTIN, FlowConfig
from flowcore.assembly.settings import NodeSettings
from flowcore.envelope import Envelope, Principal, Raw
from flowcore.errors import (
    CallCancelled,
    CallError,
    DeadlineExceeded,
    InternalError,
    InvalidArguments,
    OutcomeUnknown,
    UnknownTarget,
    UpstreamError,
)
from flowcore.flow import Flow, open_flow
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.requests import Guard, RequestSettings
from flowcore.testing.bench import NAME, Bench, held
from flowcore.testing.findings import Wrong

_WHO = Principal(name="somebody", scheme="trial", roles=frozenset({"r"}), scopes=frozenset({"s"}))
_ENDS: tuple[CallError | None, ...] = (
    None,
    UpstreamError("its own", code=-1),
    InternalError("it failed"),
    DeadlineExceeded("too late"),
    OutcomeUnknown("its worker was lost"),
    CallCancelled("its caller went away"),
    InvalidArguments("that does not fit"),
)
_METHODS = (
    *("tools/call", "resources/read", "prompts/get", "completion/complete"),
    *("resources/subscribe", "resources/unsubscribe", "logging/setLevel"),
)
_GROWTH = 50
"""Objects by which a guard may grow from some hundred requests to the next."""


def _envelope(method: str = "tools/call", name: str = "work", agent: str = BUILTIN) -> Envelope:
    return Envelope(
        method=method,
        agent=agent,
        name=name,
        params={"name": Raw(msgspec.json.encode(name)), "arguments": Raw(b"{}")},
        deadline=1e9,
        principal=_WHO,
        edge="edge",
    )


def _entered(guard: Guard, envelope: Envelope, now: float) -> bool:
    """Whether it let the request pass."""
    try:
        passed: object = guard.enter(envelope, now)  # type: ignore[func-returns-value]
    except CallError as error:
        if error.began:
            raise Wrong(f"it refuses with began=True: {error}; that work has not begun") from None
        if not error.message:
            raise Wrong(f"its {type(error).__name__} says nothing") from None
        return False
    if inspect.isawaitable(passed):
        raise Wrong("enter is async: it is called without await, and cannot wait")
    return True


async def is_a_guard(bench: Bench) -> None:
    """it inherits from flowcore.requests.Guard, so that what later versions ask is answered"""
    async with bench.opened() as guard:
        if not isinstance(guard, Guard):
            raise Wrong(f"{type(guard).__name__} does not")


async def passes_or_refuses(bench: Bench) -> None:
    """any request is let pass, or refused by a CallError that says that nothing has begun"""
    async with bench.opened() as guard:
        for method in _METHODS:
            for name in ("work", "", "file:///x", "ü" * 1000, "\x00"):
                envelope = _envelope(method, name)
                if _entered(guard, envelope, 1.0):
                    guard.leave(envelope, 1.5, None)


async def takes_nothing_unseen(bench: Bench) -> None:
    """it lets pass, or refuses by a CallError, whose request is not looked at yet, and that takes nothing"""
    async with bench.opened() as guard:
        first = _round(guard, 0)
    async with bench.opened() as guard:
        for _ in range(2 * _ROUND):
            _asked(guard.knock, 0.0)
        passed = _round(guard, 0)
        if passed != first:
            raise Wrong(f"of {_ROUND} requests {passed} pass after it was asked, and {first} else")
        _asked(guard.attend, 3600.0)


def _asked(ask: Callable[[Principal, float], None], now: float) -> None:
    with contextlib.suppress(CallError):
        told: object = ask(_WHO, now)  # type: ignore[func-returns-value]
        if inspect.isawaitable(told):
            raise Wrong(f"{ask.__name__} is async: it is called without await")


async def is_even_again(bench: Bench) -> None:
    """however requests end, and in whatever order, those that come afterwards fare as the first ones"""
    async with bench.opened() as guard:
        first = _round(guard, 0)
        for turn in range(1, 20):
            passed = _round(guard, turn)
            if passed < first:
                raise Wrong(
                    f"of {_ROUND} requests {first} passed at first, and {passed} an hour later"
                )


async def forgets_what_is_over(bench: Bench) -> None:
    """it keeps nothing of requests that have left"""
    async with bench.opened() as guard:
        for turn in range(20):
            _round(guard, turn)
        before = await _settled(guard, 0)
        for turn in range(20, 40):
            _round(guard, turn)
        after = await _settled(guard, before + _GROWTH)
        if after > before + _GROWTH:
            raise Wrong(f"it held on to {before} objects, and to {after} after {_ROUND} x 20 more")


_ROUND = len(_ENDS)


def _round(guard: Guard, turn: int) -> int:
    """Requests that run together and end in every way; how many of them were let pass."""
    now = 3600.0 * turn  # whatever it counts or waits for is over
    running = [_envelope(name=f"work{number % 3}") for number in range(_ROUND)]
    passed = [_entered(guard, one, now) for one in running]
    ends = [(one, end) for one, end, ok in zip(running, _ENDS, passed, strict=True) if ok]
    for envelope, end in reversed(ends) if turn % 2 else ends:
        guard.leave(envelope, now + 0.001, end)
    return sum(passed)


async def _settled(guard: Guard, enough: int) -> int:
    """What it holds on to once it has done what it still had to do, such as to write; a second at most."""
    now, before = held(guard), -1
    with trio.move_on_after(1):
        while now > enough and now != before:
            await trio.sleep(0.05)
            now, before = held(guard), now
    return now


class _Watched(Guard):
    """A guard with somebody beside it who notes who is inside."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.asked = 0
        self.inside: list[Envelope] = []

    def enter(self, envelope: Envelope, now: float) -> None:
        self.asked += 1
        self.guard.enter(envelope, now)
        self.inside.append(envelope)

    def leave(self, envelope: Envelope, now: float, error: CallError | None) -> None:
        self.inside.remove(envelope)
        self.guard.leave(envelope, now, error)

    def status(self) -> dict[str, Any]:
        return self.guard.status()


class _WithWatcher:
    """A plugin of the same guard, watched."""

    def __init__(self, factory: Factory) -> None:
        @asynccontextmanager
        async def watched(config: Any, context: Context) -> AsyncGenerator[Guard]:
            async with factory.open(config, context) as guard:
                yield _Watched(guard)

        self._factory = attrs.evolve(factory, type=f"watched {factory.type}", open=watched)

    @hookimpl
    def flow_register(self, registry: Registry) -> None:
        registry.add(self._factory)


async def stands_in_a_flow(bench: Bench) -> None:
    """in a flow each request that it let pass leaves it, also one that is given up, and so the flow drains"""
    guard = bench.selection(bench.made())
    watched = attrs.evolve(guard, type=f"watched {guard.type}")
    with tempfile.TemporaryDirectory() as folder:
        config = FlowConfig(
            node=NodeSettings(data_dir=pathlib.Path(folder)),
            guard={NAME: watched},
            requests=RequestSettings(guards=(NAME,)),
        )
        async with open_flow(config, plugins=[_WithWatcher(bench.factory)]) as flow:
            await _use(flow)


async def _use(flow: Flow) -> None:
    watcher = flow.guard(NAME)
    assert isinstance(watcher, _Watched)

    async def call() -> None:
        with contextlib.suppress(CallError):  # it may refuse
            await flow.call(f"{BUILTIN}.status")

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(call)
    with trio.CancelScope() as scope:
        scope.cancel()
        await call()
    assert watcher.asked >= 20
    if watcher.inside or not await flow.drain(5):
        raise Wrong(f"{len(watcher.inside)} requests never left")
    msgspec.json.encode(flow.status())


async def says_what_it_does(bench: Bench) -> None:
    """its status is plain data for JSON, and its views can be compared"""
    async with bench.opened() as guard:
        _round(guard, 0)
        msgspec.json.encode(guard.status())
        if guard.view(_WHO) != guard.view(_WHO):
            raise Wrong("two views of one principal differ")
        hash(guard.view(_WHO))
        for kind in ("tools", "resources", "templates", "prompts"):
            shown: object = guard.shows(_WHO, BUILTIN, kind, "work")
            if not isinstance(shown, bool):
                raise Wrong(f"shows gives {shown!r:.100}, neither True nor False")


async def is_steered_by_name(bench: Bench) -> None:
    """an operator's action that it does not know is refused, and the others are let pass or refused"""
    async with bench.opened() as guard:
        try:
            guard.act("no-such-action", {})
        except UnknownTarget:
            pass
        else:
            raise Wrong("it does not say that it has no action 'no-such-action'")
        for action in ("agents.pause", "guards.act", "status"):
            error: CallError | None = None
            try:
                guard.admit(_WHO, action, BUILTIN)
            except CallError as refusal:
                error = refusal
            guard.decided(_WHO, action, BUILTIN, error)
