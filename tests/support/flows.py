"""Whole nodes that are a swarm, in one process: real sockets, certificates, gossip."""

from __future__ import annotations

import pathlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import trio

from flowcore import Flow, open_flow
from support.linked import certificates
from support.node import ROOT

AGENTS = f"{ROOT}/tests/support/agents.py"
TALK = {
    "type": "python",
    "target": "support.talkative:Talkative",
    "names": "bare",
    "pool": {"min": 1, "max": 1, "concurrency": 100},
}
"""An agent that does all that a client may meet."""


def config(name: str, folder: pathlib.Path, seeds: list[str], **swarm: Any) -> dict[str, Any]:
    """A node with one agent of its own, and one that every node has."""
    certs = certificates()
    return {
        "node": {"name": name, "data_dir": str(folder / name)},
        "agent": {
            f"of-{name}": {"type": "python", "target": AGENTS},
            "shared": {"type": "python", "target": AGENTS, "roles": ["shared"]},
        },
        "swarm": {
            "bind": "127.0.0.1:0",
            "seeds": seeds,
            "tls": {
                "cert": str(certs / f"{name}.pem"),
                "key": str(certs / f"{name}.key"),
                "ca": str(certs / "ca.pem"),
            },
            "membership": {"type": "swim", "profile": "local"},
            **swarm,
        },
    }


@asynccontextmanager
async def nodes(folder: pathlib.Path, *names: str, **swarm: Any) -> AsyncGenerator[dict[str, Flow]]:
    """Nodes of one swarm, that know each other."""
    flows: dict[str, Flow] = {}
    async with AsyncExitStack() as stack:
        seeds: list[str] = []
        for name in names:
            flow = await stack.enter_async_context(open_flow(config(name, folder, seeds, **swarm)))
            await flow.wait_settled()
            flows[name] = flow
            seeds = [flows[names[0]].swarm.address]
        for flow in flows.values():
            await lists(flow, *(f"of-{name}.echo" for name in names))
        yield flows


async def lists(flow: Flow, *names: str) -> None:
    """Wait until a node lists all of these tools."""
    with trio.fail_after(120):
        while True:
            revision = flow.directory.revision
            if set(names) <= {one.name for one in flow.directory.listing("tools").entries}:
                return
            await flow.directory.wait_changed(revision)


@asynccontextmanager
async def two(folder: pathlib.Path, agent: Mapping[str, Any]) -> AsyncGenerator[tuple[Flow, Flow]]:
    """Node alpha, that clients are connected to and that has no agent, and beta, that has one."""
    near, far = config("alpha", folder, []), config("beta", folder, [])
    near["agent"], far["agent"] = {}, {"talk": dict(agent)}
    near["edge"] = {"mcp": {"type": "mcp", "bind": "127.0.0.1:0"}}
    async with open_flow(near) as alpha:
        far["swarm"]["seeds"] = [alpha.swarm.address]
        async with open_flow(far) as beta:
            await beta.wait_settled()
            await available(alpha, "talk")
            yield alpha, beta


async def available(flow: Flow, name: str) -> None:
    """Wait until an agent can be had, wherever it is."""
    with trio.fail_after(120):
        while True:
            revision = flow.directory.revision
            if name in flow.roster.doers and flow.roster.doers[name].state.available:
                return
            await flow.directory.wait_changed(revision)


async def gone(flow: Flow, name: str) -> None:
    """Wait until an agent cannot be had anywhere."""
    with trio.fail_after(120):
        while True:
            revision = flow.directory.revision
            if name not in flow.roster.doers or not flow.roster.doers[name].state.available:
                return
            await flow.directory.wait_changed(revision)
