"""Upstreams on stdio that lie: typed errors, bounded memory, and an end where nothing can be trusted."""

from __future__ import annotations

import json
import resource
import sys

import pytest
import trio

from flow_agents.mcp.calls import CallStatistics
from flowcore import open_flow
from flowcore.errors import (
    AgentUnavailable,
    CallError,
    OutcomeUnknown,
    UpstreamError,
    UpstreamFailure,
)
from support.upstreaming import (
    RecordingPeer,
    RecordingPort,
    failure,
    liar,
    losing,
    opened,
    stdio_server,
    text,
    tool,
    value,
)


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        ("Endless", "the upstream writes no messages, but something else"),
        ("LongLine", "the upstream wrote a line of more than 16,777,216 bytes"),
        ("Broken", "the upstream writes what is no message: not valid JSON"),
        ("Deep", "the upstream writes what is no message: nested more than 128 levels deep"),
        ("BrokenBatch", "the upstream writes what is no message"),
        ("EmptyBatch", "the upstream writes what is no message"),
    ],
)
async def test_a_lie_on_the_wire_ends_the_worker_and_its_calls(lie: str, says: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with losing(command=liar(lie)) as up:
        with pytest.raises(CallError) as caught:
            await up.call("lie")
        assert says in str(caught.value)
        assert caught.value.began
        error = await up.lost()
        assert isinstance(error, UpstreamFailure)
        assert says in str(error)
        with pytest.raises(AgentUnavailable) as refused:
            await up.call("lie")
        assert not refused.value.began
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 96 << 10  # KiB: no lie is kept, however long it is


async def test_an_answer_that_is_no_response_fails_its_call_alone() -> None:
    peer = RecordingPeer()
    async with opened(command=stdio_server()) as up:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(up.worker.call, tool("hang", peer=peer))
            await peer.until(lambda: bool(peer.told))
            with pytest.raises(UpstreamFailure, match="is no response"):
                await up.call("badly")
            assert text(await up.call("echo", text="still here")) == "still here"
            nursery.cancel_scope.cancel()
    async with opened(command=liar("NotUtf8")) as other:
        with pytest.raises(UpstreamFailure, match="is no response: not UTF-8"):
            await other.call("lie")
        await other.worker.ping()


async def test_answers_to_nothing_are_dropped_and_counted() -> None:
    async with opened(command=stdio_server()) as up:
        assert text(await up.call("twice")) == "first"
        assert text(await up.call("echo", text="x")) == "x"
        assert up.worker.statistics() == CallStatistics(late=1, stray=0)
        assert text(await up.call("stray")) == "ok"
        assert up.worker.statistics() == CallStatistics(late=1, stray=2)
        assert up.port.came_late == 1


async def test_an_error_that_names_no_request_is_of_the_only_one_there_is() -> None:
    async with opened(command=liar("NullId")) as up:
        with pytest.raises(UpstreamError, match="cannot read that"):
            await up.call("lie")


async def test_noise_between_messages_is_shown_with_stderr() -> None:
    async with opened(command=liar("Babbler")) as up:
        assert text(await up.call("lie")) == "truth"
        assert up.port.lines[0] == "stdout: Welcome to the server!"
        assert 'stdout: {"level": "info"}' in up.port.lines
        assert "stdout: called" in up.port.lines


async def test_a_batch_is_taken_apart() -> None:
    peer = RecordingPeer()
    async with opened(command=liar("Batch")) as up:
        assert value(await up.worker.call(tool("lie", peer=peer))) == {"content": []}
        assert len(peer.told) == 1


async def test_a_flood_on_stderr_holds_nothing_up() -> None:
    async with opened(command=liar("StderrFlood")) as up:
        assert text(await up.call("lie")) == "truth"
        await up.port.until(lambda: len(up.port.lines) == 20)
        assert max(map(len, up.port.lines)) < 10_000


async def test_an_upstream_that_lives_on_without_output_is_lost() -> None:
    async with losing(command=liar("Closing")) as up:
        with pytest.raises(OutcomeUnknown, match="closed its output"):
            await up.call("lie")
        assert str(await up.lost()) == "the upstream's process closed its output"


async def test_an_upstream_that_reads_no_more_takes_no_calls() -> None:
    async with losing(command=liar("Deaf")) as up:
        assert text(await up.call("lie")) == "truth"
        with pytest.raises(AgentUnavailable, match="reads no more") as refused:
            await up.call("lie")
        assert not refused.value.began


async def test_what_an_upstream_asks_outside_any_call_is_answered_sensibly() -> None:
    async with opened(command=liar("Asking"), roots=("file:///srv",)) as up:
        roots, pong, elicited = json.loads(text(await up.call("lie")))
        assert roots == {"roots": [{"uri": "file:///srv"}]}
        assert pong == {}
        assert elicited["code"] == -32600
    async with opened(command=liar("Asking")) as up:
        assert json.loads(text(await up.call("lie")))[0] == {"roots": []}


async def test_a_list_that_turns_into_a_lie_ends_the_worker() -> None:
    async with losing(command=liar("LaterCircle")) as up:
        await up.call("lie")
        error = await up.lost()
        assert isinstance(error, UpstreamFailure)
        assert "lead in a circle" in str(error)
        assert [tool.name for tool in up.port.catalog.tools] == ["lie"]


async def test_a_list_that_fails_once_is_asked_for_again() -> None:
    async with opened(command=liar("LaterFailure")) as up:
        await up.call("lie")
        await up.port.until(lambda: len(up.port.catalogs) == 2)
        assert [tool.name for tool in up.port.catalog.tools] == ["lie", "number-3"]


async def test_a_list_can_be_refreshed_without_being_announced() -> None:
    async with opened(command=liar("Refreshed"), refresh=0.02) as up:
        await up.port.until(lambda: len(up.port.catalogs) >= 3)
        assert up.port.catalogs[2].tools[1].name == "number-3"


async def test_an_upstream_that_changes_its_version_is_lost() -> None:
    async with losing(command=liar("Changing")) as up:
        with pytest.raises(UpstreamError, match="no more"):
            await up.call("lie")
        assert "does not speak the version" in str(await up.lost())


async def test_a_result_of_many_megabytes_passes() -> None:
    async with opened(command=stdio_server()) as up:
        size = 8_000_000
        assert len(text(await up.call("large", size=size))) == size
    async with losing(command=stdio_server(), message=1 << 20) as up2:
        with pytest.raises(OutcomeUnknown, match="more than 1,048,576 bytes"):
            await up2.call("large", size=size)
        await up2.lost()


@pytest.mark.parametrize("point", ["discover", "initialize", "initialized", "list"])
async def test_a_crash_on_the_way_to_being_ready_says_how_it_ended(point: str) -> None:
    port = RecordingPort()
    error = await failure(port, command=(*liar("Crashing"), point))
    assert isinstance(error, CallError)
    # whichever comes first: that it has ended, or that it does not take the next message
    assert "exited with code 9" in str(error) or "reads no more" in str(error)
    assert port.lines == [f"crashing at {point}"]


@pytest.mark.parametrize("point", ["call", "half"])
async def test_a_crash_in_a_call_leaves_its_outcome_unknown(point: str) -> None:
    async with losing(command=(*liar("Crashing"), point)) as up:
        with pytest.raises((OutcomeUnknown, UpstreamFailure)) as caught:
            await up.call("lie")
        assert caught.value.began
        assert isinstance(await up.lost(), UpstreamFailure)


async def test_a_crash_after_an_answer_takes_nothing_from_it() -> None:
    async with losing(command=(*liar("Crashing"), "answered")) as up:
        assert text(await up.call("lie")) == "truth"
        assert "exited with code 9" in str(await up.lost())


async def test_an_agent_that_crashes_in_every_call_comes_back_for_the_next() -> None:
    command = [sys.executable, *liar("Crashing")[1:], "call"]
    config = {"agent": {"up": {"type": "mcp", "command": command, "restart": {"limit": 100}}}}
    async with open_flow(config) as flow:
        await flow.wait_settled()
        for _ in range(3):
            with pytest.raises(CallError) as caught:
                await flow.call("up.lie", {})
            assert caught.value.began
