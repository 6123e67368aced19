"""Prints the scores of the official suite: `make conformance`.

The six that count: against an agent of flowcore's own, and through flowcore against a server on the official
SDK that is spoken to in the suite's version, or in the era of each client (`protocol = "auto"`). With --all,
also a flow in front of a flow, in each combination of eras, where one side is bound to one era: then not
everything can be passed, for a server that asks while it works gives its questions no names, and cannot be
told what a single request's client declared. (The everything server in the SDK's own repository answers two
tools that it does not list. What is not listed is not offered.)
"""

from __future__ import annotations

import logging
import pathlib
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

import trio

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from support.conformance import (
    EVERYTHING,
    EXPECTED,
    Version,
    open_chain,
    open_endpoint,
    run_suite,
    sdk_upstream,
)


async def score(
    name: str, version: Version, opening: Callable[[], AbstractAsyncContextManager[str]]
) -> bool:
    """Run the suite once and print what came of it; whether all that is required passed."""
    with tempfile.TemporaryDirectory() as folder:
        async with opening() as url:
            result = await run_suite(url, version, pathlib.Path(folder))
    print(f"{name:28} {result}", flush=True)
    for problem in result.problems:
        print(f"    {problem}", flush=True)
    return result.whole


async def main(everything: bool) -> int:
    """Run what counts, and the rest if asked to; how many of those that count were not whole."""
    short = 0
    for version in EXPECTED:
        short += not await score("native", version, partial(open_endpoint, EVERYTHING))
    for version in EXPECTED:
        agent = sdk_upstream(version)
        short += not await score("through, SDK behind", version, partial(open_endpoint, agent))
    for version in EXPECTED:
        agent = sdk_upstream("auto")
        short += not await score(
            "through, SDK of both eras", version, partial(open_endpoint, agent)
        )
    for link in EXPECTED if everything else ():
        for version in EXPECTED:
            name = f"through, {link} between"
            await score(name, version, partial(open_chain, link))
    return short


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    sys.exit(1 if trio.run(main, "--all" in sys.argv) else 0)
