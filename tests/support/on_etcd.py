"""Nodes on an etcd, without a flow around them."""

from __future__ import annotations

import itertools
import pathlib
import random
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import trio

from flow_consensus.etcd import Etcd, EtcdSettings, open_node
from flow_storage.memory import MemoryLog
from flowcore.errors import OutcomeUnknown, StateUnavailable
from flowcore.state import Committed, Installed, Storage

_PREFIXES = itertools.count()


def new_prefix() -> str:
    """Under which nothing is yet."""
    return f"test/{next(_PREFIXES)}/"


@asynccontextmanager
async def on_etcd(
    *urls: str,
    name: str = "alpha",
    storage: Storage | None = None,
    folder: pathlib.Path | None = None,
    told: list[str] | None = None,
    **settings: Any,
) -> AsyncGenerator[Etcd]:
    """A node, patient enough for a machine that is busy; it asks for what nobody has told only where a test
    says so (`silence`)."""
    made = EtcdSettings(
        **{
            "endpoints": urls,
            "patience": 20.0,
            "timeout": 10.0,
            "silence": 30.0,
            "backoff": 0.01,
            "backoff_most": 0.05,
            **settings,
        }
    )
    storage = MemoryLog("a log") if storage is None else storage
    tell = ([] if told is None else told).append
    folder = pathlib.Path() if folder is None else folder
    async with open_node(name, made, storage, folder, random.Random(7), tell) as node:
        yield node


async def read(node: Etcd, last: int, after: int = 0) -> list[bytes]:
    """What is committed after a position, up to another one."""
    found: list[Committed] = []
    if after < last:
        async with aclosing(node.committed(after)) as stream:
            async for batch in stream:
                assert not isinstance(batch, Installed)
                found += batch
                if found[-1].position >= last:
                    break
    expected = list(range(after + 1, after + 1 + len(found)))
    assert [one.position for one in found] == expected
    return [one.data for one in found if one.position <= last]


async def surely(node: Etcd, command: bytes) -> int:
    """Its position, however often it must be asked: what was not acknowledged may be there as well."""
    with trio.fail_after(60):
        while True:
            try:
                return await node.propose(command)
            except (StateUnavailable, OutcomeUnknown):
                await trio.lowlevel.checkpoint()


async def says(why: str, ask: Callable[[], Awaitable[object]]) -> None:
    """It is refused, and for that reason, once the machine has had the time to find it out."""
    with trio.fail_after(60):
        while True:
            try:
                await ask()
            except StateUnavailable as error:
                if re.search(why, str(error)):
                    return
                assert re.search("etcd is slow|has not been asked yet", str(error)), error
            else:
                raise AssertionError("it was not refused")


async def opens(*urls: str, **settings: Any) -> None:
    """Open a node, and close it."""
    async with on_etcd(*urls, **settings):
        await trio.lowlevel.checkpoint()
