"""What the kit says of plugins that do not hold to their interface: one fault each."""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import attrs
import msgspec
import pytest
import trio

from flowcore import Context, Envelope, Factory, Principal, Registry, Reply, hookimpl
from flowcore.agents import Catalog, Tool
from flowcore.config import Address, setting
from flowcore.envelope import Raw
from flowcore.errors import CallError, InternalError, Overloaded
from flowcore.http import HeaderMap, Request
from flowcore.interfaces import AgentPort, Load, PoolDefaults
from flowcore.requests import Guard
from flowcore.testing import CheckFailed, Trial, check_plugin


@attrs.frozen(kw_only=True)
class Plain:
    """Nothing to set."""


class Plugin:
    """A plugin of one component that yields whatever `make` gives."""

    def __init__(
        self, kind: str, make: Callable[[], object], config: type = Plain, **more: Any
    ) -> None:
        @asynccontextmanager
        async def open_(config: Any, context: Context) -> AsyncGenerator[object]:
            del config, context
            yield make()

        self._factory = Factory(kind, "bad", config, more.pop("open", open_), **more)

    @hookimpl
    def flow_register(self, registry: Registry) -> None:
        registry.add(self._factory)


async def faults(plugin: object, trial: Trial | None = None) -> str:
    """Everything that is wrong with it."""
    with pytest.raises(CheckFailed) as caught:
        await check_plugin(plugin, None if trial is None else {"bad": trial})
    return "\n".join(caught.value.problems)


class RoundRobin:
    """A balancer that is right."""

    def __init__(self) -> None:
        self.turn = 0
        self.kept: list[object] = []

    def pick(self, candidates: Sequence[Load], affinity: bytes | None, now: float) -> int:
        self.turn += 1
        return self.turn % len(candidates)

    def started(self, worker: int, now: float) -> None: ...

    def finished(self, worker: int, now: float, seconds: float, ok: bool) -> None: ...

    def removed(self, worker: int) -> None: ...


async def test_a_right_one_passes_and_is_told_what_was_checked() -> None:
    report = await check_plugin(Plugin("balancer", RoundRobin))
    assert list(report.checked) == ["balancer bad"]
    assert "it keeps nothing of workers that are gone" in str(report)


class Outside(RoundRobin):
    def pick(self, candidates: Sequence[Load], affinity: bytes | None, now: float) -> int:
        return 3


class First(RoundRobin):
    def pick(self, candidates: Sequence[Load], affinity: bytes | None, now: float) -> int:
        return 0


class Remembering(RoundRobin):
    def started(self, worker: int, now: float) -> None:
        self.kept.append((worker, now))


class Moody(RoundRobin):
    def pick(self, candidates: Sequence[Load], affinity: bytes | None, now: float) -> int:
        return os.urandom(1)[0] % len(candidates)


class Half:
    def pick(self, candidates: Sequence[Load], affinity: bytes | None, now: float) -> int:
        return 0


@pytest.mark.parametrize(
    ("balancer", "fault"),
    [
        (Outside, "picks one of the candidates.*: pick gave 3 for"),
        (First, "get about the same.*: of 1600 calls its 4 workers got"),
        (Remembering, "it keeps nothing of workers that are gone: 100 generations of workers left"),
        (Moody, "the same seed, times and calls make the same choices: they differ"),
        (Half, "has no started, finished, removed"),
    ],
)
async def test_balancers(balancer: type, fault: str) -> None:
    found = await faults(Plugin("balancer", balancer))
    assert re.search(fault, found), found


async def test_a_balancer_may_prefer_if_it_says_so() -> None:
    await check_plugin(Plugin("balancer", First), {"bad": Trial(fair=False)})


class Gullible:
    challenge = "Bearer"
    headers: tuple[bytes, ...] = (b"authorization",)

    async def identify(self, request: Request, resource: str) -> Principal | None:
        given = request.headers.get(b"authorization", b"")
        return Principal(name="anybody", scheme="x") if given.startswith(b"Bearer ") else None


class Brittle(Gullible):
    challenge = "Bearer\r\nSet-Cookie: a=b"

    async def identify(self, request: Request, resource: str) -> Principal | None:
        return Principal(name=request.headers[b"authorization"].decode(), scheme="x")


class Prefixed(Gullible):
    async def identify(self, request: Request, resource: str) -> Principal | None:
        given = request.headers.get(b"authorization", b"")
        return Principal(name="ann", scheme="x") if given.startswith(b"Key abc") else None


async def test_authentication() -> None:
    gullible = await faults(Plugin("auth", Gullible))
    assert "refused with Unauthenticated, or left to others: it takes" in gullible
    brittle = await faults(Plugin("auth", Brittle))
    assert "`challenge` can stand in a header: it is 'Bearer\\r\\n" in brittle
    assert "is nobody's: None, not a refusal and not a principal: KeyError" in brittle
    headers = {b"authorization": b"Key abc"}
    known = Request("POST", "/", HeaderMap(headers), b"", "127.0.0.1", 1, trio.Event())
    prefixed = await faults(Plugin("auth", Prefixed), Trial(known=[known]))
    assert (
        "or put to them, is not: with authorization: b'Key abcKey abc' it still knows" in prefixed
    )
    assert "it does not know who sends" in await faults(
        Plugin("auth", Prefixed), Trial(known=[msgspec.structs.replace(known, headers=HeaderMap())])
    )


class Leaky(Guard):
    """Counts what runs, and forgets to count down when a call fails."""

    def __init__(self) -> None:
        self.running = 0
        self.seen: list[Envelope] = []

    def enter(self, envelope: Envelope, now: float) -> None:
        if self.running > 20:
            raise InternalError("full", began=True)
        self.running += 1
        self.seen.append(envelope)

    def leave(self, envelope: Envelope, now: float, error: CallError | None) -> None:
        self.running -= error is None

    def status(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def act(self, action: str, arguments: Any) -> dict[str, Any]:
        return {}


class Greedy(Guard):
    """Counts whom it has not looked at yet."""

    def __init__(self) -> None:
        self.left = 10

    def knock(self, principal: Principal, now: float) -> None:
        self.left -= 1

    def enter(self, envelope: Envelope, now: float) -> None:
        if self.left <= 0:
            raise Overloaded("nothing is left")


class Waiting(Guard):
    async def enter(self, envelope: Envelope, now: float) -> None:  # type: ignore[override]
        await trio.sleep(1)


@pytest.mark.filterwarnings("ignore:coroutine 'Waiting.enter':RuntimeWarning")
async def test_guards() -> None:
    leaky = await faults(Plugin("guard", Leaky))
    assert "fare as the first ones: it refuses with began=True" in leaky
    assert "its status is plain data for JSON" in leaky
    assert "it does not say that it has no action 'no-such-action'" in leaky
    assert "requests 0 pass after it was asked, and 7 else" in await faults(Plugin("guard", Greedy))
    waiting = await faults(Plugin("guard", Waiting))
    assert "enter is async: it is called without await" in waiting
    assert "it inherits from flowcore.requests.Guard" in await faults(Plugin("guard", RoundRobin))


class Worker:
    async def call(self, envelope: Envelope) -> Reply:
        return Reply(Raw(b"[]"))

    async def ping(self) -> None: ...


class Source:
    pool_defaults = PoolDefaults(min=3, max=1)
    heartbeat = False

    @asynccontextmanager
    async def open_worker(self, port: AgentPort) -> AsyncGenerator[Worker]:
        port.announce(Catalog(tools=(Tool(name="a", definition=Raw(b'{"name":"b"}')),)))
        yield Worker()


class Silent(Source):
    pool_defaults = PoolDefaults()

    @asynccontextmanager
    async def open_worker(self, port: AgentPort) -> AsyncGenerator[Worker]:
        yield Worker()


async def test_agents() -> None:
    found = await faults(Plugin("agent", Source), Trial(calls={"a": {}}))
    assert (
        "how many workers there should be, and whether they must be pinged: pool_defaults" in found
    )
    assert "tool 'a' is defined as 'b'" in found
    assert "the result of a: no JSON object" in found
    assert "ready before it has announced" in await faults(Plugin("agent", Silent))


@attrs.frozen(kw_only=True)
class Listening:
    """Where to listen."""

    bind: Address = setting(Address("127.0.0.1", 0), help="the address to listen on")


async def test_edges() -> None:
    found = await faults(Plugin("edge", lambda: SimpleNamespace(endpoints=()), Listening))
    assert "Factory(claims=lambda config: config.bind.claims())" in found
    assert "Factory(exposed=lambda config: config.bind.host)" in found
    assert "its endpoints are ()" in found


@attrs.define(kw_only=True)
class Careless:
    many: int = setting(1, help="")
    word: str = setting("a", help="a word")

    def __attrs_post_init__(self) -> None:
        if self.many / len(self.word) > 1e9:
            raise ValueError("expected fewer")


async def test_settings() -> None:
    found = await faults(Plugin("balancer", RoundRobin, Careless))
    assert "Careless has no docstring" in found
    assert "Careless.many can be set; use attrs.frozen" in found
    assert "a check of its own failed instead of refusing: word = ''" in found
    assert "ZeroDivisionError" in found


@attrs.frozen(kw_only=True)
class Needing:
    """Needs a key."""

    key: str = setting(help="what it needs")


async def test_what_cannot_be_tried_says_what_is_missing() -> None:
    found = await faults(Plugin("balancer", RoundRobin, Needing))
    assert "say in trials how, Trial(settings=...)" in found
    assert "key" in found
    await check_plugin(
        Plugin("balancer", RoundRobin, Needing), {"bad": Trial(settings={"key": "x"})}
    )


async def test_factories() -> None:
    found = await faults(
        Plugin("balancer", RoundRobin, claims=lambda config: ["port"], exposed=lambda config: 3)
    )
    assert "claims gives ['port'], no tuple of texts" in found

    async def no_manager(config: Plain, context: Context) -> None: ...

    with pytest.warns(RuntimeWarning, match="never awaited"):
        found = await faults(Plugin("balancer", RoundRobin, open=no_manager))
    assert "is @asynccontextmanager missing?" in found


async def test_files_left_open() -> None:
    opened: list[int] = []

    def make() -> RoundRobin:
        opened.append(os.open(os.devnull, os.O_RDONLY))
        return RoundRobin()

    found = await faults(Plugin("balancer", make))
    assert "each time leaves 1 more descriptors open" in found
    for one in opened:
        os.close(one)


async def test_hooks(tmp_path: pathlib.Path) -> None:
    assert "implements no hook" in await faults(SimpleNamespace())
    path = tmp_path / "private.py"
    path.write_text(
        "from flowcore import hookimpl\n"
        "from flowcore.http.pool import Pool\n"
        "@hookimpl\ndef flow_register(registry): ...\n"
    )
    assert "registers nothing" in await faults(path)
    with pytest.raises(ModuleNotFoundError):
        await check_plugin("no_such_module")


async def test_a_trial_of_what_is_not_there() -> None:
    with pytest.raises(CheckFailed, match="a trial for 'other', which the plugin does not offer"):
        await check_plugin(Plugin("balancer", RoundRobin), {"other": Trial()})


async def test_a_component_that_hangs_is_told() -> None:
    @asynccontextmanager
    async def hang(config: Plain, context: Context) -> AsyncGenerator[object]:
        await trio.sleep_forever()
        yield

    found = await faults(Plugin("balancer", RoundRobin, open=hang), Trial(within=0.05))
    assert "not within 0.05 s" in found
