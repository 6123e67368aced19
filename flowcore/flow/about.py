"""What nodes tell each other of themselves when somebody wants to know whether they agree: their clocks, the
embedder and index of their memory, how their gates learn, their version."""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any, Protocol

import attrs
import msgspec
import trio

from flowcore.assembly import FlowConfig
from flowcore.errors import AgentUnavailable, SwarmError
from flowcore.federation import WrongMessage
from flowcore.flow.inquiry import ask
from flowcore.flow.release import version
from flowcore.routing import Router
from flowcore.swarm import Overlay, Stream
from flowcore.wall import WallClock

SERVICE = "flow.about"
PATIENCE = 3.0
"""Seconds in which a node must have told of itself."""


class About(msgspec.Struct, array_like=True):
    """What a node tells."""

    time: float
    """Its wall clock, seconds since 1970."""
    version: str
    embedder: str
    """The identity of its embedder; empty without a router."""
    index: str
    """The type of its index; empty without a router."""
    gate: str = ""
    """What its gate is made with, as `gate_of` has it; empty without a router, and of older versions."""


class Node(Protocol):
    """What is asked of a node."""

    wall: WallClock

    @property
    def config(self) -> FlowConfig: ...
    @property
    def router(self) -> Router: ...


def gate_of(config: FlowConfig) -> str:
    """What a gate depends on besides experts and lessons, in words; empty without a router.

    Where it is another, the same lessons make another gate. Settings are told by a hash: they may be long.
    """
    settings = config.router
    if settings is None:
        return ""
    gate = settings.gate
    told = json.dumps(attrs.asdict(gate.config), sort_keys=True, default=repr)
    digest = blake2b(told.encode(), digest_size=4).hexdigest()
    seed = 0 if config.node.seed is None else config.node.seed
    return f"{gate.type} (settings {digest}), practice {settings.practice}, seed {seed}"


class Telling:
    """Tells others of a node."""

    def __init__(self, flow: Node) -> None:
        self._flow = flow

    def about(self) -> About:
        """This node."""
        flow = self._flow
        settings = flow.config.router
        if settings is None:
            return About(flow.wall(), version(), "", "", "")
        try:
            embedder = str(flow.router.embedder.identity)
        except AgentUnavailable:  # not open now: a type is told where an identity is not known
            embedder = settings.embedder.type
        gate = gate_of(flow.config)
        return About(flow.wall(), version(), embedder, settings.index.type, gate)

    async def serve(self, node: str, head: bytes, stream: Stream) -> None:
        """Tell one node: the handler of a stream, whose head says nothing."""
        del node, head
        async with stream:
            await stream.send(msgspec.msgpack.encode(self.about()))
            await stream.finish()


async def asked(overlay: Overlay, node: str, now: Any) -> dict[str, Any]:
    """What a node tells, as plain data, with how far its clock is from ours; `error`, if it tells nothing."""
    began = now()
    try:
        with trio.fail_after(PATIENCE):
            told = await ask(overlay, node, SERVICE, About)
            ended = now()
    except SwarmError as error:
        return {"node": node, "error": str(error) or type(error).__name__}
    except trio.TooSlowError:
        return {"node": node, "error": f"it did not answer within {PATIENCE:g} s"}
    except WrongMessage:
        return {"node": node, "error": "it told what is not understood here"}
    return {
        "node": node,
        # of a round trip, half is taken for the way there (RFC 5905, section 8)
        "ahead": round(told.time - (began + ended) / 2, 4),
        "within": round(max(0.0, ended - began) / 2, 4),
        "version": told.version,
        "embedder": told.embedder,
        "index": told.index,
        "gate": told.gate,
    }
