"""The official suite through a gateway: a flow in front of another flow's everything agent."""

from __future__ import annotations

import pathlib

import pytest

from support.conformance import Version, open_everything, run_suite


@pytest.mark.parametrize("version", ["2025-11-25", "2026-07-28"])
async def test_the_official_suite_passes_through_flowcore(
    version: Version, tmp_path: pathlib.Path
) -> None:
    async with open_everything(through=version) as url:
        score = await run_suite(url, version, tmp_path)
    assert score.whole, "\n".join([str(score), *score.problems])
