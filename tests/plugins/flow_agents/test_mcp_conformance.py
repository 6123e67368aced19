"""The official suite's tests of clients, against the client face (but for OAuth, which has no part in it)."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest
import trio

from support import needs
from support.upstreaming import UPSTREAMS

SCENARIOS = {
    "2025-11-25": ["initialize", "tools_call", "elicitation-sep1034-client-defaults"],
    "2026-07-28": [
        "tools_call",
        "request-metadata",
        "sep-2322-client-request-state",
        "http-standard-headers",
        "http-custom-headers",
        "http-invalid-tool-headers",
        "json-schema-ref-no-deref",
        "json-schema-2020-12-preservation",
    ],
}


async def run(scenario: str, version: str, folder: pathlib.Path, seconds: int = 60) -> str:
    """Have the suite test a scenario; what it printed if it did not pass."""
    suite = needs.npm("@modelcontextprotocol/conformance") / "dist" / "index.js"
    client = f"{sys.executable} {UPSTREAMS / 'conformance_client.py'}"
    done = await trio.run_process(
        [
            *(needs.node(), str(suite), "client", "--command", client),
            *("--scenario", scenario, "--spec-version", version),
            *("--timeout", str(seconds * 1000), "-o", str(folder)),
        ],
        env={**os.environ, "PYTHONPATH": str(UPSTREAMS.parents[1])},
        capture_stdout=True,
        stderr=subprocess.STDOUT,
        check=False,
    )
    said = done.stdout.decode()
    return "" if "OVERALL: PASSED" in said else said


@pytest.mark.parametrize("version", SCENARIOS)
async def test_the_official_suite_passes_the_client(version: str, tmp_path: pathlib.Path) -> None:
    wrong: dict[str, str] = {}
    two_at_a_time = trio.CapacityLimiter(2)

    async def one(scenario: str) -> None:
        async with two_at_a_time:
            said = await run(scenario, version, tmp_path / scenario)
        if said:
            wrong[scenario] = said

    needs.npm("@modelcontextprotocol/conformance")
    needs.node()
    async with trio.open_nursery() as nursery:
        for scenario in SCENARIOS[version]:
            nursery.start_soon(one, scenario)
    assert not wrong, "\n".join(wrong.values())


@pytest.mark.long
async def test_the_official_suite_passes_a_client_that_takes_streams_up(
    tmp_path: pathlib.Path,
) -> None:
    said = await run("sse-retry", "2025-11-25", tmp_path)  # it measures time
    assert not said, said
