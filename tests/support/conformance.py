"""Runs the official conformance suite against an endpoint and counts what passed."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal

import attrs
import trio

from flowcore import open_flow
from support import needs

Version = Literal["2025-11-25", "2026-07-28"]
EXPECTED: Mapping[Version, int] = {"2025-11-25": 30, "2026-07-28": 37}
"""How many server scenarios each frozen set of requirements scores."""

_SCORED = re.compile(r"^[✓✗] ([\w-]+): (\d+) passed, (\d+) failed", re.MULTILINE)
_UNSCORED = re.compile(r"^  [✓✗] ([\w-]+) \(", re.MULTILINE)


@attrs.frozen
class Score:
    """What one run of the suite came to, in scenarios."""

    version: Version
    passed: int
    total: int
    problems: tuple[str, ...]
    """Every check that failed or warned, with its scenario; those of unscored scenarios, too."""
    unscored_passed: int
    unscored: int

    @property
    def whole(self) -> bool:
        """Whether all that is required passed."""
        return self.passed == self.total == EXPECTED[self.version]

    def __str__(self) -> str:
        return (
            f"{self.version}: {self.passed} of {self.total} required scenarios,"
            f" {self.unscored_passed} of {self.unscored} others"
        )


async def run_suite(url: str, version: Version, folder: pathlib.Path) -> Score:
    """Run the server scenarios of a version against an endpoint; details are left in `folder`."""
    suite = needs.npm("@modelcontextprotocol/conformance") / "dist" / "index.js"
    command = [needs.node(), str(suite), "server", "--url", url]
    command += ["--requirements", version, "-o", str(folder)]
    run = await trio.run_process(
        command, capture_stdout=True, stderr=subprocess.STDOUT, check=False
    )
    return _score(run.stdout.decode(), version, folder)


def _score(output: str, version: Version, folder: pathlib.Path) -> Score:
    summary = output.partition("=== SUMMARY ===")[2]
    others = set(_UNSCORED.findall(summary))
    results = {name: failed == "0" for name, _, failed in _SCORED.findall(summary)}
    required = {name: ok for name, ok in results.items() if name not in others}
    problems = tuple(_problems(folder))
    if not results:
        problems = (output[-2000:],)
    return Score(
        version,
        sum(required.values()),
        len(required),
        problems,
        sum(ok for name, ok in results.items() if name in others),
        len(others),
    )


def _problems(folder: pathlib.Path) -> list[str]:
    found = []
    for path in sorted(folder.glob("*/checks.json")):
        scenario = re.sub(r"^server-|-20\d\d-\d\d-\d\dT.*$", "", path.parent.name)
        for check in json.loads(path.read_bytes()):
            if check["status"] in ("FAILURE", "WARNING"):
                message = str(check.get("errorMessage", ""))[:300]
                found.append(f"{check['status']} {scenario}: {check['id']}: {message}")
    return found


EVERYTHING: dict[str, Any] = {
    "type": "python",
    "target": str(needs.ROOT / "examples" / "everything_agent.py"),
    "names": "bare",
}
"""The agent that offers what the suite calls."""


@asynccontextmanager
async def open_endpoint(agent: Mapping[str, Any]) -> AsyncGenerator[str]:
    """A flow with one agent behind an MCP edge; the edge's URL."""
    config = {
        "node": {"name": "conformance"},
        "agent": {"everything": dict(agent)},
        "edge": {"mcp": {"type": "mcp", "bind": "127.0.0.1:0"}},
    }
    async with open_flow(config) as flow:
        await flow.wait_settled()
        yield flow.endpoints["mcp"][0]


SDK_SERVER = needs.ROOT / "tests" / "support" / "upstreams" / "sdk_everything.py"


def sdk_upstream(protocol: str) -> dict[str, Any]:
    """An agent that is the same surface on the official SDK's server, spoken to in one version."""
    command = [sys.executable, str(SDK_SERVER)]
    return {"type": "mcp", "command": command, "names": "bare", "protocol": protocol}


def sdk_upstream_over_http() -> dict[str, Any]:
    """The same, started on a port of its own and spoken to over HTTP in the era of each client."""
    command = [sys.executable, str(SDK_SERVER), "--port", "{port}"]
    url = "http://127.0.0.1:{port}/mcp"
    return {"type": "mcp", "command": command, "url": url, "names": "bare"}


@asynccontextmanager
async def open_chain(protocol: str) -> AsyncGenerator[str]:
    """A flow in front of the everything agent's flow, which speaks one version to it; the first's URL."""
    async with open_endpoint(EVERYTHING) as url:
        agent = {"type": "mcp", "url": url, "names": "bare", "protocol": protocol}
        async with open_endpoint(agent) as outer:
            yield outer
