"""A busy upstream: alive if it answers beside its calls, lost if it does so no more."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from flow_agents.mcp.beats import Beats
from flow_agents.mcp.calls import Calls
from flow_agents.mcp.errands import open_errands
from flowcore.errors import UpstreamFailure
from support.upstreaming import RecordingPeer, opened, stdio_server, tool


class Answering:
    """Answers a ping when it is allowed to."""

    def __init__(self) -> None:
        self.asked = 0
        self.may = trio.Event()

    async def __call__(self) -> None:
        self.asked += 1
        await self.may.wait()


async def test_silence_counts_only_for_who_has_answered_beside_a_call() -> None:
    calls, ping = Calls(), Answering()
    async with open_errands() as errands:
        beats = Beats(calls, ping, errands)
        call = calls.begin("tools/call", {}, tool("x"))
        for _ in range(5):
            beats.beat()
            await trio.testing.wait_all_tasks_blocked()
        assert ping.asked == 1  # it never answered beside a call: it is left alone
        calls.end(call)
        ping.may.set()
        await trio.testing.wait_all_tasks_blocked()
        assert not beats.able  # it answered when its call was over
        calls.begin("tools/call", {}, tool("x"))
        beats.beat()
        await trio.testing.wait_all_tasks_blocked()
        assert beats.able
        ping.may = trio.Event()
        beats.beat()
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(3):
            with pytest.raises(UpstreamFailure, match="as it did before"):
                beats.beat()
        calls.heard()  # whatever it says, it is alive
        beats.beat()
        with pytest.raises(UpstreamFailure):
            beats.beat()


@pytest.mark.parametrize("era", ["handshake", "modern"])
async def test_a_busy_upstream_that_freezes_is_found_out(era: str) -> None:
    peer = RecordingPeer()
    async with opened(command=stdio_server("--era", era)) as up, trio.open_nursery() as nursery:
        nursery.start_soon(up.worker.call, tool("hang", peer=peer))
        await peer.until(lambda: bool(peer.told))
        beats = up.worker.first._beats
        while not beats.able:
            await up.worker.ping()
            await trio.lowlevel.checkpoint()
        nursery.start_soon(up.worker.call, tool("freeze"))
        with pytest.raises(UpstreamFailure, match="does not answer a ping"):
            while True:
                await up.worker.ping()
                await trio.testing.wait_all_tasks_blocked(0.01)
        nursery.cancel_scope.cancel()
