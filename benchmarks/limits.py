"""Limits: what guards cost a call and keep in memory, and what an attacker at ten times the limit does.

The attack is real: two principals with tokens over HTTP, one of them asking ten times as often as it may,
while the other's latencies are compared with those of the time before, in turns.
"""

from __future__ import annotations

import contextlib
import hashlib
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

import msgspec

from benchmarks.load import MODERN, LoadError, addressed
from benchmarks.overload import FLOWSERVE, GENERATOR, Phase
from benchmarks.report import Figure, as_table
from benchmarks.servers import ON_CLIENTS_CPU, free_port, running
from flowcore import Envelope, Principal
from flowcore.requests import Guard
from flowcore.resilience import FailedLogins, FailedLoginSettings, Rate

KEYS = 100_000
CALLS = 100_000
LIMIT, BURST = 100.0, 100
TIMES = 10.0
OTHERS = 50.0
SECONDS, ROUNDS = 5.0, 7
POLITE = ("nice", "-n", "19")
"""For the attacker: it shares the callers' CPU with the one who is measured, and may not be what slows it."""
TOKENS = {name: f"flow_{name * 12}" for name in ("ada", "bob")}
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
target = "benchmarks.agents:work"
pool = {{ min = 1, max = 1, concurrency = 256 }}

[edge.mcp]
type = "mcp"
bind = "127.0.0.1:{port}"
auth = ["token"]

[edge.api]
type = "api"
bind = "127.0.0.1:{api}"
"""


def run() -> list[Figure]:
    """Costs, memory, and the attack."""
    return [*_costs(), *_memory(), *_attack()]


def setup() -> dict[str, str]:
    """How the attack was measured."""
    return {
        "flowserve": config(0, 0),
        "callers": f"open loop, Poisson; ada at {OTHERS:g}/s, bob at {TIMES:g} times the limit;"
        f" {ROUNDS} turns of {SECONDS:g} s without and with bob, who is niced: both share the callers' CPU",
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


def _attack() -> list[Figure]:
    calm, under, share, attacks = [], [], [], []
    with _serving() as (url, _):
        _ask(url, "ada", 20.0, 1.0, 0)  # warm it
        for turn in range(ROUNDS):
            calm.append(_finish(_ask_in_background(url, "ada", OTHERS, turn)))
            attacker = _ask_in_background(url, "bob", TIMES * LIMIT, turn, before=POLITE)
            other = _ask_in_background(url, "ada", OTHERS, turn)
            under.append(_finish(other))
            attack = _finish(attacker)
            attacks.append(100 * attack.refused.count / (attack.rate * SECONDS))
            share.append(attack.good.count / (LIMIT * max(SECONDS, attack.last_good) + BURST))
    refused = sum(
        phase.refused.count + phase.wrong.count + phase.hung_up.count for phase in (*calm, *under)
    )
    changes = [100 * (b.good.p99 / a.good.p99 - 1) for a, b in zip(calm, under, strict=True)]
    return [
        Figure(
            name="attacker at 10 times the limit: passed, of the limit and one burst",
            value=max(share),
            unit="x",
            bar=1.05,
        ),
        Figure(
            name="another principal meanwhile: requests not served", value=refused, unit="", bar=0
        ),
        Figure(
            name="another principal: p99 alone",
            value=statistics.median(one.good.p99 for one in calm) * 1e3,
            unit="ms",
        ),
        Figure(
            name="attacker: refused, of what it asked",
            value=statistics.median(attacks),
            unit="%",
        ),
        Figure(
            name="another principal: change of p50 under attack, median",
            value=statistics.median(
                100 * (b.good.p50 / a.good.p50 - 1) for a, b in zip(calm, under, strict=True)
            ),
            unit="%",
        ),
        Figure(
            name="another principal: change of p99 under attack, median",
            value=statistics.median(changes),
            unit="%",
            bar=10,
        ),
    ]


@contextlib.contextmanager
def _serving() -> Generator[tuple[str, str]]:
    port, api = free_port(), free_port()
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(config(port, api))
        file.flush()
        with running([FLOWSERVE, "--config", file.name]):
            _wait_ready(f"http://127.0.0.1:{api}/readyz")
            yield f"http://127.0.0.1:{port}/mcp", f"http://127.0.0.1:{api}"


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


def _ask(url: str, who: str, rate: float, seconds: float, seed: int) -> Phase:
    return _finish(_ask_in_background(url, who, rate, seed, seconds))


def _ask_in_background(
    url: str,
    who: str,
    rate: float,
    seed: int,
    seconds: float = SECONDS,
    before: Sequence[str] = (),
) -> subprocess.Popen[str]:
    job: dict[str, Any] = addressed(url, MODERN, "busy.work")
    head, _, rest = job["request"].partition("\r\n")
    job["request"] = f"{head}\r\nAuthorization: Bearer {TOKENS[who]}\r\n{rest}"
    job |= {"seed": seed, "patience": 5.0, "phases": [{"rate": rate, "seconds": seconds}]}
    command = [*ON_CLIENTS_CPU, *before, sys.executable, "-I", "-S", str(GENERATOR)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(job))
    process.stdin.close()
    process.stdin = None
    return process


def _finish(process: subprocess.Popen[str]) -> Phase:
    said, errors = process.communicate()
    if process.returncode:
        raise LoadError(errors.strip())
    (phase,) = msgspec.json.decode(said, type=list[Phase])
    return phase


if __name__ == "__main__":
    print(as_table(run()))
