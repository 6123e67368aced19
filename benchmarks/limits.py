"""Limits: what guards cost a call and keep in memory, and what an attacker at ten times the limit does.

The attack is real: principals with tokens over HTTP, one of them asking ten times as often as it may, while
the others' latencies are compared with those of the turn before or after, in which it is silent. Turns are
short and the median of all comparisons counts, so that a machine may do other things meanwhile.

`python -m benchmarks.limits --quick` does it in a few turns, and keeps no results.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Sequence
from typing import Any

import attrs
import msgspec

from benchmarks.load import MODERN, LoadError, addressed
from benchmarks.overload import FLOWSERVE, GENERATOR, Phase
from benchmarks.report import Figure, as_table
from benchmarks.servers import ON_CLIENTS_CPU, Server, free_port, running
from flowcore import Envelope, Principal
from flowcore.requests import Guard
from flowcore.resilience import FailedLogins, FailedLoginSettings, Rate

KEYS = 100_000
CALLS = 100_000
LIMIT, BURST = 100.0, 100
TIMES = 10.0
RATE = 50.0
"""Requests a second of each of the others."""
SECONDS, ROUNDS, QUICK = 2.0, 20, 4
POLITE = ("nice", "-n", "19")
"""For the attacker: it shares a CPU with the callers who are measured, and may not be what slows them."""
OTHERS = ("ada", "cid", "dot", "eve", "fay", "gus", "hal", "ida")
BOB = ("bob",)
TOKENS = {name: f"flow_{name * 12}" for name in (*OTHERS, *BOB)}
TOOL = "busy.work"
TOOLS = {TOOL: "calls of 20 ms", "busy.echo": "calls of no time"}
"""The bar is for agents that do something; how much is added to those that do nothing is shown beside."""
_ORDER = (("alone", "beside"), ("beside", "alone"))
CONFIG = """\
[requests]
guards = ["rates"]

[guard.rates]
type = "rate_limit"
principal = {{ rate = {limit}, burst = {burst} }}

[auth.token]
type = "token"
tokens = [{tokens}]

[agent.busy]
type = "python"
target = "benchmarks.agents"
pool = {{ min = 1, max = 1, concurrency = 256 }}

[edge.mcp]
type = "mcp"
bind = "127.0.0.1:{port}"
auth = ["token"]

[edge.api]
type = "api"
bind = "127.0.0.1:{api}"
"""


def run(*, quick: bool = False) -> list[Figure]:
    """Costs, memory, and the attack."""
    return [*_costs(), *_memory(), *_attack(QUICK if quick else ROUNDS)]


def setup() -> dict[str, str]:
    """How the attack was measured."""
    return {
        "flowserve": config(0, 0),
        "callers": f"open loop, Poisson; {len(OTHERS)} principals at {RATE:g}/s each, the attacker at"
        f" {TIMES:g} times its limit; {ROUNDS} turns of {SECONDS:g} s without and with it, in pairs;"
        " it is niced, for all share the callers' CPU",
    }


def config(port: int, api: int) -> str:
    """The configuration that is attacked."""
    tokens = ", ".join(
        f'{{ name = "{name}", sha256 = "{hashlib.sha256(token.encode()).hexdigest()}" }}'
        for name, token in TOKENS.items()
    )
    return CONFIG.format(limit=LIMIT, burst=BURST, tokens=tokens, port=port, api=api)


# ---- in this process


def _costs() -> list[Figure]:
    from flow_guards.breaker import BreakerConfig, Breakers
    from flow_guards.concurrency import Concurrency, ConcurrencyConfig
    from flow_guards.rate_limit import RateLimit, RateLimitConfig

    weights = {"busy.heavy": 2}
    every = RateLimitConfig(
        principal=Rate(rate=1e6), agent=Rate(rate=1e6), total=Rate(rate=1e6), weights=weights
    )
    guards: dict[str, Callable[[], Guard]] = {
        "rate_limit, of principals": lambda: RateLimit(RateLimitConfig(principal=Rate(rate=1e6))),
        "rate_limit, every limit and weights": lambda: RateLimit(every),
        "breaker": lambda: Breakers(BreakerConfig(), lambda: 0.0),
        "concurrency": lambda: Concurrency(ConcurrencyConfig()),
    }
    return [
        Figure(
            name=f"CPU of a call's way in and out: {name}",
            value=min(_cost(make()) for _ in range(5)) * 1e6,
            unit="µs",
            bar=5,
        )
        for name, make in guards.items()
    ]


def _cost(guard: Guard) -> float:
    """CPU seconds of `enter` and `leave` of one call."""
    envelope = _envelope(Principal(name="ada", scheme="token"))
    began = time.process_time()
    for number in range(CALLS):
        now = number * 1e-3
        guard.enter(envelope, now)
        envelope.started = now
        guard.leave(envelope, now + 1e-4, None)
    return (time.process_time() - began) / CALLS


def _envelope(principal: Principal) -> Envelope:
    return Envelope(agent="busy", name="work", params={}, deadline=1e9, principal=principal)


def _memory() -> list[Figure]:
    from flow_guards.rate_limit import RateLimit, RateLimitConfig

    def principals() -> RateLimit:
        guard = RateLimit(RateLimitConfig(principal=Rate(rate=0.001, burst=10)), lambda: 0.0)
        for number in range(KEYS):
            # a name of its own, as a token brings it: the length of a UUID
            guard.enter(_envelope(Principal(name=f"{number:036}", scheme="token")), 0.0)
        assert guard.status()["principals"] == KEYS
        return guard

    def addresses() -> FailedLogins:
        logins = FailedLogins(FailedLoginSettings(rate=0.001, burst=2))
        for number in range(3 * KEYS):
            logins.failed(f"10.{number % KEYS >> 16}.{number >> 8 & 255}.{number & 255}", 0.0)
        return logins

    return [
        Figure(name=f"memory of {KEYS:,} {what}", value=_held(make) / 1e6, unit="MB", bar=50)
        for what, make in (
            ("principals below their limit", principals),
            ("addresses with failed logins", addresses),
        )
    ]


def _held(make: Callable[[], object]) -> float:
    """Bytes that what is made holds on to."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        made = make()
        after = tracemalloc.get_traced_memory()[0]
        del made
        return after - before
    finally:
        tracemalloc.stop()


# ---- the attack


@attrs.frozen(kw_only=True)
class Attack:
    """What came of one tool's callers, turn by turn: alone, and beside an attacker."""

    alone: list[Phase]
    beside: list[Phase]
    attacker: list[Phase]
    cpu_alone: list[float]
    """CPU seconds of the server, for each turn."""
    cpu_beside: list[float]

    def change(self, of: Callable[[Phase], float]) -> float:
        """By how much a figure of the others changes beside the attacker, in per cent: the median of all
        turns, each compared with the turn next to it, so that what else the machine does is in both."""
        pairs = zip(self.alone, self.beside, strict=True)
        return 100 * (statistics.median(of(b) / of(a) for a, b in pairs) - 1)

    @property
    def unserved(self) -> int:
        """Requests of the others that got no result."""
        phases = (*self.alone, *self.beside)
        return sum(one.refused.count + one.wrong.count + one.hung_up.count for one in phases)

    @property
    def passed(self) -> float:
        """What the attacker got beyond one burst, of its limit: the most of all turns."""
        return max(
            (one.good.count - BURST) / (LIMIT * max(SECONDS, one.last_good))
            for one in self.attacker
        )

    @property
    def refused(self) -> float:
        """Refusals in all turns."""
        return sum(one.refused.count for one in self.attacker)

    @property
    def cost(self) -> float:
        """CPU seconds of the server for one refusal; what the attacker got is taken to cost as much as the
        others' requests do."""
        others = [sum(one.good.count for one in phases) for phases in (self.alone, self.beside)]
        each = sum(self.cpu_alone) / others[0]
        served = others[1] + sum(one.good.count for one in self.attacker)
        return (sum(self.cpu_beside) - each * served) / self.refused


def _attack(rounds: int) -> list[Figure]:
    figures = []
    for tool, what in TOOLS.items():
        found = _attacked(tool, rounds)
        bar = 10.0 if tool == TOOL else None
        alone = statistics.median(one.good.p99 for one in found.alone)
        p99 = found.change(lambda phase: phase.good.p99)
        figures += [
            Figure(
                name=f"attacker at 10 times the limit, {what}: passed beyond one burst, of the limit",
                value=found.passed,
                unit="x",
                bar=1.05,
            ),
            Figure(
                name=f"others meanwhile, {what}: requests not served",
                value=found.unserved,
                unit="",
                bar=0,
            ),
            Figure(name=f"others alone, {what}: p99", value=alone * 1e3, unit="ms"),
            Figure(name=f"others, {what}: change of p99", value=p99, unit="%", bar=bar),
            Figure(name=f"others, {what}: p99 in addition", value=p99 * alone * 10, unit="ms"),
            Figure(
                name=f"others, {what}: change of p50",
                value=found.change(lambda phase: phase.good.p50),
                unit="%",
            ),
            Figure(
                name=f"CPU of the node for a refusal, {what}", value=found.cost * 1e6, unit="µs"
            ),
        ]
    return figures


def _attacked(tool: str, rounds: int) -> Attack:
    """Turns of a few seconds without and with the attacker, two and two, each first in every other pair."""
    with _serving() as (url, server):
        # warmed, and the files of both programs read
        for program in (
            _callers(url, tool, OTHERS, [1.0], 99),
            _callers(url, tool, BOB, [1.0], 99),
        ):
            _finish(program)
        order = [pair == "beside" for turn in range(rounds) for pair in _ORDER[turn % 2]]
        rates = [TIMES * LIMIT if attacked else 0.0 for attacked in order]
        at = time.monotonic() + 1.0
        attacker = _callers(url, tool, BOB, rates, 1, at=at, before=POLITE)
        others = _callers(url, tool, OTHERS, [RATE * len(OTHERS)] * len(order), 2, at=at)
        spent = []
        for turn in range(len(order) + 1):
            time.sleep(max(0.0, at + turn * SECONDS - time.monotonic()))
            spent.append(server.cpu())
        theirs, its = _finish(others), _finish(attacker)
    cpu = [after - before for before, after in itertools.pairwise(spent)]

    def of(values: Sequence[Any], *, attacked: bool) -> list[Any]:
        return [value for value, one in zip(values, order, strict=True) if one == attacked]

    return Attack(
        alone=of(theirs, attacked=False),
        beside=of(theirs, attacked=True),
        attacker=of(its, attacked=True),
        cpu_alone=of(cpu, attacked=False),
        cpu_beside=of(cpu, attacked=True),
    )


@contextlib.contextmanager
def _serving() -> Generator[tuple[str, Server]]:
    port, api = free_port(), free_port()
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(config(port, api))
        file.flush()
        with running([FLOWSERVE, "--config", file.name]) as server:
            _wait_ready(f"http://127.0.0.1:{api}/readyz")
            yield f"http://127.0.0.1:{port}/mcp", server


def _wait_ready(url: str) -> None:
    began = time.monotonic()
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except urllib.error.URLError:
            if time.monotonic() - began > 30:
                raise
            time.sleep(0.1)


def _callers(
    url: str,
    tool: str,
    who: Sequence[str],
    rates: Sequence[float],
    seed: int,
    *,
    at: float | None = None,
    before: Sequence[str] = (),
) -> subprocess.Popen[str]:
    """A program whose callers come at these rates, for some seconds each, in the names of all in turn."""
    job: dict[str, Any] = addressed(url, MODERN, tool)
    head, _, rest = job["request"].partition("\r\n")
    job["requests"] = [f"{head}\r\nAuthorization: Bearer {TOKENS[one]}\r\n{rest}" for one in who]
    phases = [{"rate": rate, "seconds": SECONDS} for rate in rates]
    job |= {"seed": seed, "patience": 5.0, "phases": phases}
    if at is not None:
        job["at"] = at
    command = [*ON_CLIENTS_CPU, *before, sys.executable, "-I", "-S", str(GENERATOR)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(job))
    process.stdin.close()
    process.stdin = None
    return process


def _finish(process: subprocess.Popen[str]) -> list[Phase]:
    said, errors = process.communicate()
    if process.returncode:
        raise LoadError(errors.strip())
    return msgspec.json.decode(said, type=list[Phase])


if __name__ == "__main__":
    print(as_table(run(quick="--quick" in sys.argv[1:])))
