"""Whole nodes that keep one state by consensus, in one process: real links, real disks."""

from __future__ import annotations

import pathlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from flowcore import Flow, open_flow
from flowcore.errors import OutcomeUnknown, Overloaded, StateUnavailable
from support.node import BIN


def config(
    name: str,
    folder: pathlib.Path,
    seeds: Sequence[str],
    certs: pathlib.Path,
    consensus: Mapping[str, Any],
) -> dict[str, Any]:
    """The configuration of one of them."""
    return {
        "node": {"name": name, "data_dir": str(folder / name)},
        "swarm": {
            "bind": "127.0.0.1:0",
            "seeds": [*seeds],
            "tls": {
                "cert": str(certs / f"{name}.pem"),
                "key": str(certs / f"{name}.key"),
                "ca": str(certs / "ca.pem"),
            },
            "membership": {"type": "swim", "profile": "local"},
        },
        "consensus": dict(consensus),
        "router": {},
        "edge": {"api": {"type": "api", "bind": "127.0.0.1:0"}},
    }


@attrs.define(eq=False)
class Nodes:
    """Some nodes, each in a task of its own, so that one can end while the others go on."""

    folder: pathlib.Path
    certs: pathlib.Path
    consensus: Mapping[str, Any]
    nursery: trio.Nursery
    flows: dict[str, Flow] = attrs.field(factory=dict)
    _ends: dict[str, tuple[trio.Event, trio.Event]] = attrs.field(factory=dict)

    async def start(self, name: str, **consensus: Any) -> Flow:
        """Start a node, or start it again; its `[consensus]` may differ."""
        await self.nursery.start(self._live, name, {**self.consensus, **consensus})
        return self.flows[name]

    async def _live(
        self, name: str, consensus: Mapping[str, Any], *, task_status: trio.TaskStatus[None]
    ) -> None:
        end, ended = self._ends[name] = trio.Event(), trio.Event()
        seeds = [flow.swarm.address for one, flow in self.flows.items() if one != name]
        async with open_flow(config(name, self.folder, seeds, self.certs, consensus)) as flow:
            self.flows[name] = flow
            task_status.started()
            await end.wait()
            del self.flows[name]
        ended.set()

    async def end(self, name: str) -> None:
        """End a node, and wait until it has."""
        end, ended = self._ends[name]
        end.set()
        await ended.wait()


@asynccontextmanager
async def nodes(
    folder: pathlib.Path, names: Sequence[str], certs: pathlib.Path, consensus: Mapping[str, Any]
) -> AsyncGenerator[Nodes]:
    """These nodes, as long as the block lasts."""
    async with trio.open_nursery() as nursery:
        made = Nodes(folder, certs, consensus, nursery)
        for name in names:
            await made.start(name)
        yield made
        for name in tuple(made.flows):
            await made.end(name)


async def keep(flow: Flow, key: str, text: str) -> None:
    """Put something into memory, again and again until it is acknowledged."""
    with trio.fail_after(30):
        while True:
            try:
                await flow.memory.put("shared", text, key=key)
                return
            except (StateUnavailable, OutcomeUnknown, Overloaded) as error:
                await trio.sleep(error.retry_after or 0.05)


async def ctl(flow: Flow, *words: str, check: bool = True) -> str:
    """What flowctl says, asking a node; it must have done it, unless that is not checked."""
    url = flow.endpoints["api"][0]
    done = await trio.run_process(
        [str(BIN / "flowctl"), "--url", url, *words],
        capture_stdout=True,
        capture_stderr=True,
        check=check,
    )
    return (done.stdout + done.stderr).decode()
