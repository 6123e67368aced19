"""Agreeing upon a version with all kinds of upstreams, and refusing those with which there is none."""

from __future__ import annotations

import pytest
import trio

from flow_agents.mcp.greeting import NoCommonVersion
from flowcore.errors import UpstreamError, UpstreamFailure
from flowcore.mcp import Era
from flowcore.processes import CommandNotFound
from support.upstreaming import (
    RecordingPort,
    failure,
    liar,
    open_mcp_source,
    opened,
    stdio_server,
    text,
)


async def speaks(*options: str, protocol: str = "auto") -> bool:
    """Whether an upstream is spoken to in 2026-07-28."""
    async with opened(command=stdio_server(*options), protocol=protocol) as up:
        return (await up.call("echo", text="x")).modern


async def test_the_newest_version_is_preferred() -> None:
    assert await speaks("--era", "both") is True
    assert await speaks("--era", "modern") is True
    assert await speaks("--era", "handshake") is False


async def test_a_version_can_be_demanded() -> None:
    assert await speaks("--era", "both", protocol="2025-11-25") is False
    assert await speaks("--era", "both", protocol="2026-07-28") is True
    for version in ("2025-06-18", "2025-03-26", "2024-11-05"):
        assert await speaks(protocol=version) is False


async def test_an_older_version_of_the_handshake_is_accepted() -> None:
    for version in ("2025-06-18", "2025-03-26", "2024-11-05"):
        assert await speaks("--version", version) is False


async def test_a_demanded_version_that_is_not_spoken_is_a_failure() -> None:
    error = await failure(command=stdio_server("--version", "2025-06-18"), protocol="2025-11-25")
    assert isinstance(error, UpstreamFailure)
    assert str(error) == "the upstream speaks version '2025-06-18', not '2025-11-25'"
    error = await failure(command=stdio_server(), protocol="2026-07-28")
    assert isinstance(error, UpstreamError)
    older = stdio_server("--era", "modern", "--version", "2025-11-25")
    error = await failure(command=older, protocol="2026-07-28")
    assert str(error) == "the upstream does not speak 2026-07-28"
    error = await failure(command=liar("OddDiscovery"), protocol="2026-07-28")
    assert str(error) == "the upstream answers server/discover with what is no discovery"


async def test_a_discovery_that_names_only_versions_with_a_handshake_leads_to_one() -> None:
    assert await speaks("--era", "both", "--version", "2025-11-25,2025-06-18") is False


@pytest.mark.parametrize("lie", ["OddDiscovery", "Picky", "OddRefusal", "Sloppy"])
async def test_whatever_answers_a_discovery_oddly_is_greeted_the_older_way(lie: str) -> None:
    async with opened(command=liar(lie)) as up:
        assert text(await up.call("lie")) == "truth"


async def test_an_upstream_that_does_not_answer_what_it_does_not_know_is_greeted_in_time() -> None:
    async with opened(command=liar("Silent"), probe_timeout=0.05) as up:
        assert text(await up.call("lie")) == "truth"


async def test_a_version_that_was_refused_and_is_offered_is_asked_for_again() -> None:
    async with opened(command=liar("PickyModern")) as up:
        assert text(await up.call("lie")) == "truth"


async def test_an_upstream_that_is_slow_to_start_is_not_taken_for_an_old_one() -> None:
    slow = stdio_server("--era", "modern", "--slow-start", "0.3")
    async with opened(command=slow, probe_timeout=0.05) as up:
        assert (await up.call("echo", text="x")).modern


@pytest.mark.parametrize(
    ("lie", "kind", "says"),
    [
        ("Refusing", UpstreamError, "no licence"),
        ("Odd", UpstreamFailure, "a malformed answer to initialize"),
        (
            "Future",
            NoCommonVersion,
            "the upstream speaks version '2031-01-01', not '2025-11-25' or",
        ),
        (
            "OtherTimes",
            NoCommonVersion,
            "the upstream speaks versions ('2031-01-01') that we do not",
        ),
        ("Mismatch", UpstreamError, "headers, on stdio?"),
        ("Gone", UpstreamFailure, "the upstream's process exited with code 7"),
        ("EndlessAtOnce", UpstreamFailure, "the upstream writes no messages, but something else"),
        ("Circle", UpstreamFailure, "the cursors of the upstream's tools/list lead in a circle"),
        ("NoList", UpstreamFailure, "a malformed answer to tools/list"),
        ("FailingList", UpstreamError, "the database is away"),
    ],
)
async def test_what_cannot_be_agreed_with_says_why(
    lie: str, kind: type[Exception], says: str
) -> None:
    error = await failure(command=liar(lie))
    assert type(error) is kind
    assert says in str(error)


async def test_the_last_words_of_an_upstream_that_does_not_start_are_kept() -> None:
    port = RecordingPort()
    await failure(port, command=liar("Gone"))
    assert port.lines == ["no configuration found"]


async def test_a_program_that_is_not_there_is_named() -> None:
    error = await failure(command=("no-such-program-anywhere",))
    assert isinstance(error, CommandNotFound)
    assert "'no-such-program-anywhere' was not found" in str(error)


async def test_an_upstream_that_never_answers_can_be_given_up() -> None:
    with trio.move_on_after(0.3) as scope:
        async with opened(command=liar("Mute"), probe_timeout=0.05):
            raise AssertionError("it was opened")
    assert scope.cancelled_caught


async def test_lists_are_bounded_in_entries_bytes_and_time() -> None:
    error = await failure(command=liar("Forever"), most_entries=50)
    assert str(error) == "the upstream's tools/list has more than 50 entries"
    error = await failure(command=liar("Empty"), most_entries=50)
    assert str(error) == "the cursors of the upstream's tools/list lead in a circle"
    error = await failure(command=liar("Heavy"), most_listed=3 << 20)
    assert str(error) == "the upstream's tools/list has more than 3,145,728 bytes"
    error = await failure(command=liar("SlowList"), list_timeout=0.05)
    assert str(error) == "the upstream does not list what it offers within 0.05 s"


async def test_entries_that_are_none_are_left_out_and_the_others_stay(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with opened(command=liar("Sloppy")) as up:
        tools = up.port.catalog.tools
        assert [tool.name for tool in tools] == ["lie", "hints", "odd"]
        assert not tools[1].read_only
        assert up.port.catalog.resources == ()
        assert up.port.catalog.prompts == ()
    logged = [record.getMessage() for record in caplog.records]
    assert sum("an entry of tools/list is left out" in one for one in logged) == 2
    assert "agent up: 'lie' stands twice in tools/list" in logged


async def test_the_era_of_an_upstream_is_remembered_for_its_next_connection() -> None:
    async with open_mcp_source(command=stdio_server()) as source:
        for _ in range(2):
            async with source.open_worker(RecordingPort()) as worker:
                await worker.ping()
            assert worker.first._memory.era is Era.HANDSHAKE


async def test_an_era_that_no_longer_fits_is_forgotten() -> None:
    async with open_mcp_source(command=stdio_server("--era", "modern")) as source:
        source._memory.era = Era.HANDSHAKE
        with pytest.raises(UpstreamError):
            async with source.open_worker(RecordingPort()):
                raise AssertionError("it was opened")
        async with source.open_worker(RecordingPort()) as worker:
            await worker.ping()
