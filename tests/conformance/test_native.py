"""The official suite against an agent of flowcore's own, in both eras."""

from __future__ import annotations

import pathlib

import pytest

from support.conformance import EVERYTHING, Version, open_endpoint, run_suite


@pytest.mark.parametrize("version", ["2025-11-25", "2026-07-28"])
async def test_the_official_suite_passes(version: Version, tmp_path: pathlib.Path) -> None:
    async with open_endpoint(EVERYTHING) as url:
        score = await run_suite(url, version, tmp_path)
    assert score.whole, "\n".join([str(score), *score.problems])
