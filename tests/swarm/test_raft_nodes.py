"""Whole nodes that keep one state by Raft: real links, real disks."""

from __future__ import annotations

import contextlib
import logging
import pathlib
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager

import pytest
import trio

from flowcore import Flow, open_flow
from flowcore.config import ConfigError
from flowcore.errors import StateUnavailable
from support import whole_nodes
from support.linked import certificates
from support.whole_nodes import Nodes, config, ctl, keep

NAMES = ("alpha", "beta", "gamma")
CONSENSUS = {"type": "raft", "voters": [*NAMES], "election": "1s", "heartbeat": "100ms"}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def nodes(folder: pathlib.Path) -> AbstractAsyncContextManager[Nodes]:
    return whole_nodes.nodes(folder, NAMES, certificates(), CONSENSUS)


async def test_what_one_node_keeps_every_node_has_also_when_one_is_lost(
    tmp_path: pathlib.Path,
) -> None:
    async with nodes(tmp_path) as made:
        alpha, beta, gamma = (made.flows[name] for name in NAMES)
        await keep(alpha, "ferry", "the ferry leaves at noon")
        for flow in (beta, gamma):
            ((hit, _),) = await flow.memory.search("shared", "when does the ferry leave")
            assert hit.key == "ferry"
            kept = await flow.memory.get("shared", "ferry")
            assert kept is not None
            assert kept.text == "the ferry leaves at noon"
        await made.end("alpha")
        await keep(beta, "train", "the train leaves at one")
        kept = await gamma.memory.get("shared", "train")
        assert kept is not None
        assert kept.text == "the train leaves at one"
        alpha = await made.start("alpha")
        await keep(beta, "bus", "the bus leaves at two")
        found = await alpha.call("memory.search", {"query": "the bus leaves at two", "k": 1})
        assert found.structured["found"][0]["key"] == "bus"
        kept = await alpha.memory.get("shared", "train")
        assert kept is not None
        assert kept.text == "the train leaves at one"
        await made.end("alpha")
        await made.end("beta")
        for level in ("linearizable", "leased"):  # what a minority cannot tell
            with pytest.raises(StateUnavailable):
                await gamma.call("memory.get", {"key": "train", "level": level})
            with pytest.raises(StateUnavailable):
                await gamma.call("memory.search", {"query": "train", "level": level})
        told = await gamma.call("memory.get", {"key": "train", "level": "stale"})
        assert (told.structured["text"], told.structured["level"]) == (kept.text, "stale")
        found = await gamma.call("memory.search", {"query": "the train", "level": "stale"})
        assert found.structured["level"] == "stale"
        assert found.structured["found"][0]["key"] == "train"
        said = await ctl(gamma, "memory", "get", "train", "--level", "stale")
        assert said.startswith(f"{kept.text}\n(stale: ")
        said = await ctl(gamma, "memory", "search", "the train", "--level", "stale")
        assert "\n(stale: " in said


async def test_a_fourth_node_joins_and_replaces_one_without_a_stop(tmp_path: pathlib.Path) -> None:
    """While somebody writes all the time; what was acknowledged is at the three that are left."""
    written: list[str] = []
    send, more = trio.open_memory_channel[None](0)

    async def write(flow: Flow, scope: trio.CancelScope) -> None:
        with scope:
            while True:
                key = f"key {len(written)}"
                await keep(flow, key, "kept")
                written.append(key)
                with contextlib.suppress(trio.WouldBlock):
                    send.send_nowait(None)

    async with nodes(tmp_path) as made, trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        nursery.start_soon(write, made.flows["beta"], scope)
        await made.start("delta", voters=[])  # who is to join has none
        await ctl(made.flows["alpha"], "members", "add", "delta")
        before = len(written)
        said = await ctl(
            made.flows["beta"],
            "members",
            "promote",
            "delta",
            "--remove",
            "gamma",
            "--timeout",
            "60",
        )
        assert "gamma" not in said
        await made.end("gamma")
        assert len(written) >= before > 0
        for _ in range(20):
            await more.receive()
        scope.cancel()
        members = made.flows["delta"].status()["state"]["consensus"]
        assert members["voters"] == ["alpha", "beta", "delta"]
        assert not members["outgoing"]
        await made.end("alpha")  # delta counts: two of three are a majority
        await keep(made.flows["delta"], "last", "kept")
        with trio.fail_after(30):
            kept = await made.flows["delta"].state.list_patterns("shared", prefix="key ")
        assert {*written} <= {one.key for one in kept.patterns}


async def test_voters_without_a_swarm_are_refused_before_anything_opens(
    tmp_path: pathlib.Path,
) -> None:
    wrong = config("alpha", tmp_path, [], certificates(), CONSENSUS)
    del wrong["swarm"]
    with pytest.raises(ConfigError, match=r"consensus: .*needs a \[swarm\]"):
        async with open_flow(wrong):
            raise AssertionError
