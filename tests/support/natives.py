"""Workers of Python objects, called directly: a port that records, a peer that answers from a script."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import msgspec
import trio
from msgspec import Raw

from flowcore.agents import Catalog
from flowcore.native import NativeAgent, NativeWorker, Offering, Offers, Seal, Threads, offering_of
from flowcore.requests import DEAF, LOCAL, Envelope, Peer, Principal


@attrs.define
class RecordingPort:
    """What a worker said of itself."""

    agent: str = "mine"
    worker: str = "mine/1"
    catalogs: list[Catalog] = attrs.field(factory=list)
    notes: list[tuple[str, Any]] = attrs.field(factory=list)
    left: list[str] = attrs.field(factory=list)
    """What was left behind and has not ended."""
    came_late: int = 0

    def announce(self, catalog: Catalog) -> None:
        self.catalogs.append(catalog)

    def notify(self, method: str, params: Raw, *, audience: Principal | None = None) -> None:
        del audience
        self.notes.append((method, msgspec.json.decode(params)))

    def stderr(self, line: str) -> None:
        raise AssertionError(line)

    def late(self) -> None:
        self.came_late += 1

    def left_behind(self, what: str, *, retire: bool) -> Callable[[], None]:
        assert retire
        self.left.append(what)
        return partial(self.left.remove, what)


@attrs.define
class ScriptedPeer:
    """A client that answers each question from a table, and keeps what it was told."""

    answers: dict[str, Any] = attrs.field(factory=dict)
    capabilities: dict[str, Raw] = attrs.field(factory=dict)
    told: list[tuple[str, Any]] = attrs.field(factory=list)
    asked: list[tuple[str, Any]] = attrs.field(factory=list)

    def notify(self, method: str, params: Raw) -> None:
        trio.lowlevel.current_task()  # what a peer does, it does in trio's thread
        self.told.append((method, msgspec.json.decode(params)))

    async def request(self, method: str, params: Raw) -> Raw:
        self.asked.append((method, msgspec.json.decode(params)))
        await trio.lowlevel.checkpoint()
        return Raw(msgspec.json.encode(self.answers[method]))


class Native:
    """A worker of an object, and what it said."""

    def __init__(
        self,
        target: Any,
        *,
        seal: Seal | None = None,
        threads: int = 10,
    ) -> None:
        self.port = RecordingPort()
        self.offers = Offers(offering_of(target, where="test"), Offering(), "test")
        self.agent = NativeAgent(self.port, self.offers)
        self.seal = seal or Seal()
        self.worker = NativeWorker(
            self.agent,
            self.offers,
            self.seal,
            Threads(threads),
            partial(self.port.left_behind, retire=True),
        )

    async def ask(
        self,
        method: str,
        name: str,
        *,
        peer: Peer = DEAF,
        meta: dict[str, Any] | None = None,
        principal: Principal = LOCAL,
        modern: bool = True,
        **params: Any,
    ) -> Any:
        """The decoded result of a request; params that are Raw are taken as they are."""
        envelope = Envelope(
            method=method,
            agent="mine",
            name=name,
            params={key: raw(value) for key, value in params.items()},
            meta={key: raw(value) for key, value in (meta or {}).items()},
            principal=principal,
            deadline=trio.current_time() + 30,
            modern=modern,
            peer=peer,
        )
        return msgspec.json.decode((await self.worker.call(envelope)).result)

    async def tool(self, name: str, *, peer: Peer = DEAF, **arguments: Any) -> Any:
        """The decoded result of a tool."""
        return await self.ask("tools/call", name, peer=peer, arguments=arguments)


def raw(value: Any) -> Raw:
    """A value as raw JSON."""
    return value if isinstance(value, Raw) else Raw(msgspec.json.encode(value))


def text_of(result: dict[str, Any]) -> str:
    """The one text of a tool's result."""
    (block,) = result["content"]
    assert block["type"] == "text"
    text: str = block["text"]
    return text
