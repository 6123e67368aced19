"""Prints the scores of the official suite: `make conformance`."""

from __future__ import annotations

import logging
import pathlib
import sys
import tempfile

import trio

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from support.conformance import EXPECTED, open_everything, run_suite

LINKS = ("2025-11-25", "2026-07-28")
"""What a flow in front of another one speaks to it. Across eras two scenarios cannot be passed: they want
names of questions, and refusals for lack of a capability, which the earlier protocol does not carry."""


async def main() -> int:
    """Run everything; the number of runs that were not whole."""
    short = 0
    for link in (None, *LINKS):
        for version in EXPECTED:
            with tempfile.TemporaryDirectory() as folder:
                async with open_everything(link) as url:
                    score = await run_suite(url, version, pathlib.Path(folder))
            across = link == "2025-11-25" and version == "2026-07-28"
            short += not score.whole and not across
            name = "native" if link is None else f"through {link}"
            print(f"{name:20} {score}", flush=True)
            for problem in score.problems:
                print(f"    {problem}", flush=True)
    return short


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    sys.exit(1 if trio.run(main) else 0)
