"""Look-ups in a directory of 10,000 agents: by name, by role, by a list of capabilities, and of their tools.

Each is measured when the same was asked before, and the first time after somebody has joined, when what
concerns all of them is put together anew. The agents are only what the directory sees of one.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

import attrs
import msgspec

from benchmarks.report import Figure
from flowcore.agents import Catalog, Directory, State, Tool

MEMBERS = 10_000
ROLES = 100
CAPABILITIES = 100
EACH = 5
"""Capabilities of one agent."""
ASKED = 1000
ROUNDS = 3
BAR = 100.0
"""Microseconds (FR3)."""


@attrs.frozen(eq=False)
class Entry:
    """An agent as the directory sees it."""

    name: str
    catalog: Catalog
    roles: frozenset[str]
    capabilities: frozenset[str]
    state: State = State.IDLE
    bare: bool = False
    reason: str = ""
    retry_after: float | None = None


def run() -> list[Figure]:
    """The mean of many look-ups of each kind, the best of some rounds."""
    chance = random.Random(1)
    directory = Directory()
    entries = [_entry(number, chance) for number in range(MEMBERS)]
    for entry in entries:
        directory.join(entry)
    names = [chance.choice(entries).name for _ in range(ASKED)]
    roles = [f"role-{number}" for number in range(ROLES)]
    lists = [
        chance.sample(sorted(chance.choice(entries).capabilities), k=number % 3 + 1)
        for number in range(ASKED)
    ]
    kinds: list[tuple[str, Sequence[str] | Sequence[list[str]], Callable[..., object]]] = [
        ("name", names, directory.by_name),
        ("role", roles, directory.by_role),
        ("a list of capabilities", lists, directory.by_capability),
        ("a tool's name", names, lambda name: directory.resolve("tools", f"{name}.work")),
    ]
    figures = []
    for kind, asked, ask in kinds:
        first, again = [], []
        for number in range(ROUNDS):
            directory.join(_entry(MEMBERS + number, chance))
            first.append(_mean(asked, ask))
            again.append(_mean(asked, ask))
            directory.leave(f"agent-{MEMBERS + number}")
        figures.append(Figure(name=f"by {kind}", value=min(again), unit="µs", bar=BAR))
        what = f"by {kind}, the first time after a change"
        figures.append(Figure(name=what, value=min(first), unit="µs", bar=BAR))
    return figures


def setup() -> dict[str, str]:
    """How it is measured."""
    return {
        "agents": f"{MEMBERS}, each with one of {ROLES} roles and {EACH} of {CAPABILITIES} capabilities",
        "asked": f"{ASKED} times, for lists of 1 to 3 capabilities that at least one agent has",
    }


def _entry(number: int, chance: random.Random) -> Entry:
    capabilities = chance.sample(range(CAPABILITIES), k=EACH)
    raw = msgspec.Raw(b'{"name":"work"}')
    return Entry(
        name=f"agent-{number}",
        catalog=Catalog(tools=(Tool(name="work", definition=raw),)),
        roles=frozenset({f"role-{number % ROLES}"}),
        capabilities=frozenset(f"capability-{one}" for one in capabilities),
    )


def _mean(asked: Sequence[object], ask: Callable[..., object]) -> float:
    """CPU microseconds of a look-up."""
    began = time.process_time()
    for one in asked:
        ask(one)
    return (time.process_time() - began) / len(asked) * 1e6
