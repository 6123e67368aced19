"""Five times what an agent can do, for a minute: how much is still done, and how soon the others know.

An agent of eight workers that take 20 ms a call, behind the MCP edge. Callers come by a schedule, whatever
becomes of them, and hang up after a second. First at half of what the agent can do, then at five times that,
then at half again. Beside it the same without a limit: the agent's queue takes everybody.

`python -m benchmarks.overload --quick` does it in a fifth of the time, and keeps no results.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import tempfile

import attrs
import msgspec

from benchmarks.load import MODERN, LoadError, addressed, closed_loop, wait_ready
from benchmarks.report import Figure, as_table, beside
from benchmarks.servers import ON_CLIENTS_CPU, free_port, running

GENERATOR = pathlib.Path(__file__).parent / "crowd.py"
FLOWSERVE = str(pathlib.Path(sys.executable).parent / "flowserve")
TOOL = "busy.work"
PATIENCE = 1.0
TIMES = 5.0
CALM = 0.5

AGENT = """\
[agent.busy]
type = "python"
target = "benchmarks.agents:work"
pool = {{ min = 8, max = 8, concurrency = 1{queue} }}
{guards}
[edge.mcp]
type = "mcp"
bind = "127.0.0.1:{port}"
http = {{ connections = 15000 }}
"""
LIMITED = """\
guards = ["crowd"]

[guard.crowd]
type = "concurrency"
"""
UNLIMITED = """
[requests]
limit = 1000000
"""


class Ends(msgspec.Struct, frozen=True):
    """Requests that ended one way: how many, and what they took, in seconds."""

    count: int
    p50: float
    p99: float
    most: float


class Phase(msgspec.Struct, frozen=True):
    """What became of the callers of one phase; see `crowd`."""

    rate: float
    good_rate: float
    last_unserved: float
    last_good: float
    late_p99: float
    good: Ends
    refused: Ends
    wrong: Ends
    hung_up: Ends

    @property
    def told(self) -> float:
        """The callers that got a result or a refusal in time, in per cent."""
        told = self.good.count + self.refused.count
        return 100 * told / max(1, told + self.wrong.count + self.hung_up.count)


@attrs.frozen(kw_only=True)
class Outcome:
    """One configuration under overload."""

    peak: float
    """Calls a second with as many callers as keep the agent busy."""
    before: Phase
    overload: Phase
    after: Phase

    @property
    def goodput(self) -> float:
        """What was done in time under overload, in per cent of the peak."""
        return 100 * self.overload.good_rate / self.peak


def config(port: int, *, limited: bool) -> str:
    """The configuration that is measured."""
    if limited:
        return AGENT.format(port=port, queue="", guards=LIMITED)
    return AGENT.format(port=port, queue=", queue = 1000000", guards="") + UNLIMITED


def measure(*, limited: bool, seconds: float, calm: float) -> Outcome:
    """Calm, overload and calm again; raises LoadError if something was neither served nor refused rightly."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(config(port, limited=limited))
        file.flush()
        with running([FLOWSERVE, "--config", file.name]) as server:
            wait_ready(url, MODERN, TOOL)
            peak = closed_loop(server, url, MODERN, TOOL, connections=16, seconds=calm).rate
            job = addressed(url, MODERN, TOOL)
            job |= {
                "requests": [job["request"]],
                "seed": 1,
                "patience": PATIENCE,
                "phases": [
                    {"rate": CALM * peak, "seconds": calm},
                    {"rate": TIMES * peak, "seconds": seconds},
                    {"rate": CALM * peak, "seconds": 2 * calm, "usual": 0.25},
                ],
            }
            command = [*ON_CLIENTS_CPU, sys.executable, "-I", "-S", str(GENERATOR)]
            done = subprocess.run(
                command, input=json.dumps(job), capture_output=True, text=True, check=False
            )
    if done.returncode:
        raise LoadError(done.stderr.strip())
    before, overload, after = msgspec.json.decode(done.stdout, type=list[Phase])
    if limited and (before.wrong.count or overload.wrong.count or after.wrong.count):
        raise LoadError(f"{overload.wrong.count} requests got neither a result nor a refusal")
    return Outcome(peak=peak, before=before, overload=overload, after=after)


def run(*, quick: bool = False) -> list[Figure]:
    """Every figure; the unlimited run is shorter, for its callers wait no longer after a minute."""
    seconds, calm = (12.0, 4.0) if quick else (60.0, 5.0)
    ours = measure(limited=True, seconds=seconds, calm=calm)
    bare = measure(limited=False, seconds=seconds / 4, calm=calm)

    def figure(
        name: str,
        value: float,
        theirs: float,
        unit: str,
        bar: float | None = None,
        *,
        least: bool = False,
    ) -> Figure:
        peers = {"without a limit": beside([value], [theirs])}
        return Figure(name=name, value=value, unit=unit, bar=bar, least=least, peers=peers)

    over, other = ours.overload, bare.overload
    return [
        Figure(name="peak, 16 callers in turns", value=ours.peak, unit="/s"),
        Figure(name=f"offered, {TIMES:g} times the peak", value=over.rate, unit="/s"),
        figure(
            "goodput: done within 1 s, of the peak", ours.goodput, bare.goodput, "%", 80, least=True
        ),
        figure("done: p99 from when due", over.good.p99 * 1e3, other.good.p99 * 1e3, "ms"),
        Figure(name="refused: p50 from when due", value=over.refused.p50 * 1e3, unit="ms"),
        Figure(name="refused: p99 from when due", value=over.refused.p99 * 1e3, unit="ms", bar=10),
        figure("callers served, or told when to come back", over.told, other.told, "%"),
        Figure(
            name="normal again: until the last that was not served within 0.25 s",
            value=ours.after.last_unserved,
            unit="s",
            bar=5,
        ),
        Figure(name="normal again, without a limit", value=bare.after.last_unserved, unit="s"),
        Figure(name="before: p99 at half of the peak", value=ours.before.good.p99 * 1e3, unit="ms"),
        Figure(name="the callers' own lateness, p99", value=over.late_p99 * 1e3, unit="ms"),
    ]


def setup() -> dict[str, str]:
    """How it was measured."""
    return {
        "flowserve": config(0, limited=True),
        "without a limit": config(0, limited=False),
        "callers": f"open loop, Poisson, {PATIENCE:g} s of patience, 60 s at {TIMES:g} times the peak"
        " (15 s without a limit)",
    }


if __name__ == "__main__":
    print(as_table(run(quick="--quick" in sys.argv[1:])))
