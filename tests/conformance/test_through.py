"""The official suite through flowcore, against a server on the official SDK behind it."""

from __future__ import annotations

import pathlib

import pytest

from support.conformance import (
    Version,
    open_endpoint,
    run_suite,
    sdk_upstream,
    sdk_upstream_over_http,
)


@pytest.mark.parametrize("version", ["2025-11-25", "2026-07-28"])
async def test_the_official_suite_passes_through_flowcore(
    version: Version, tmp_path: pathlib.Path
) -> None:
    async with open_endpoint(sdk_upstream(version)) as url:
        score = await run_suite(url, version, tmp_path)
    assert score.whole, "\n".join([str(score), *score.problems])


@pytest.mark.parametrize("transport", ["stdio", "http"])
@pytest.mark.parametrize("version", ["2025-11-25", "2026-07-28"])
async def test_one_agent_of_both_eras_passes_for_clients_of_both(
    version: Version, transport: str, tmp_path: pathlib.Path
) -> None:
    agent = sdk_upstream("auto") if transport == "stdio" else sdk_upstream_over_http()
    async with open_endpoint(agent) as url:
        score = await run_suite(url, version, tmp_path)
    assert score.whole, "\n".join([str(score), *score.problems])
