"""Finding tools in a whole node: 1,000 tools, 100,000 patterns, texts that come one after another.

What is measured is the product's way: embed, search, gate, answer; feedback until it is durable and learned;
memory until it is durable and found. Texts are made of words drawn from Zipf's distribution, each tool having
words of its own, so that texts of a tool are alike and others are not. `FINDING_PATTERNS` makes it smaller.

What a model is spared is the length of `tools/list`: of all tools, and of the edge that shows only the way to
find them. A token is taken for four bytes, which is about what JSON in English takes.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from statistics import median
from typing import Any

import msgspec
import trio

from benchmarks.report import Figure
from benchmarks.waiting import Waiting, waiting
from flowcore import Flow, open_flow
from flowcore.cli.serve import calculate_alone, settle_garbage
from flowcore.native import tool
from flowcore.routing import ROUTES
from flowcore.state import PatternLine

TOOLS = 1_000
PATTERNS = int(os.environ.get("FINDING_PATTERNS", "100000"))
ROUTES_ASKED = 3_000
FEEDBACK = 300
WORDS = 8_000


class Language:
    """Words, and the texts of tools."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        letters = "aeioubcdfghklmnprstvw"
        self.words = [
            "".join(self.chance.choice(letters) for _ in range(self.chance.randint(3, 9)))
            for _ in range(WORDS)
        ]
        self.own = [self.chance.sample(self.words, 12) for _ in range(TOOLS)]

    def text(self, of: int) -> str:
        """A text for a tool: some of its own words among common ones."""
        own = self.chance.sample(self.own[of], 4)
        common = [self.words[int(self.chance.paretovariate(1.0)) % WORDS] for _ in range(5)]
        made = own + common
        self.chance.shuffle(made)
        return " ".join(made)


def box(language: Language) -> Any:
    """An agent of a thousand tools that describe themselves."""
    made: dict[str, Any] = {}
    for number in range(TOOLS):

        async def function(self: Any, text: str) -> str:
            del self
            return text

        name, about = f"tool_{number}", " ".join(language.own[number])
        made[name] = tool(name, description=about, read_only=True)(function)
    return type("Box", (), made)()


def run() -> list[Figure]:
    """All figures."""
    calculate_alone()
    with tempfile.TemporaryDirectory() as folder:
        figures = trio.run(_measure, folder)
    return figures + trio.run(_spared)


def setup() -> dict[str, str]:
    """How it was measured."""
    return {
        "tools": str(TOOLS),
        "patterns": str(PATTERNS),
        "router": "by its defaults, but that one may give any number of lessons",
        "texts": "9 words each, 4 of the tool's own 12; 8,000 words in all",
        "state": "single over sqlite, synchronous",
        "linear algebra": "on one thread, as `flowserve` has it",
        "garbage": "what the start has made is looked through no more, as `flowserve` has it",
        "event loop held": "how late a task is that sleeps a millisecond each time, less what threads"
        " waited for a processor meanwhile",
        "tokens": "bytes / 4",
    }


async def _measure(folder: str) -> list[Figure]:
    language = Language(1)
    config: dict[str, Any] = {
        "node": {"data_dir": folder, "seed": 1},
        "router": {"feedback": {"lessons": {"rate": 1000.0, "burst": 100_000}}},
        "agent": {"box": {"type": "python", "target": box(language)}},
    }
    async with open_flow(config) as flow:
        await flow.wait_settled()
        settle_garbage()
        taking = await _fill(flow, language)
        await _built(flow)
        with waiting() as waited:
            late = _Lateness(waited)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(late.watch)
                routes = await _routes(flow, language)
                lessons = await _lessons(flow, language)
                puts, searches = await _memory(flow, language)
                nursery.cancel_scope.cancel()
        right = sum(one for one, _ in routes) / len(routes)
        seconds = sorted(one for _, one in routes)
    about = f"{TOOLS:,} tools, {PATTERNS:,} patterns"
    return [
        Figure(name=f"{about}: route, p50", value=1e3 * median(seconds), unit="ms", bar=0.5),
        Figure(name=f"{about}: route, p99", value=1e3 * _p99(seconds), unit="ms", bar=2.0),
        Figure(name=f"{about}: first of the ranked is right", value=100 * right, unit="%"),
        Figure(
            name=f"{about}: feedback, durable and learned, p50",
            value=1e3 * median(lessons),
            unit="ms",
        ),
        Figure(
            name=f"{about}: memory.put, durable and found, p50", value=1e3 * median(puts), unit="ms"
        ),
        Figure(name=f"{about}: memory.search, p50", value=1e3 * median(searches), unit="ms"),
        Figure(name=f"{about}: event loop held, p99.9", value=1e3 * late.p999, unit="ms", bar=5.0),
        Figure(name=f"{about}: patterns taken in", value=PATTERNS / taking, unit="/s"),
    ]


def _p99(ordered: list[float]) -> float:
    return ordered[int(0.99 * len(ordered))]


async def _fill(flow: Flow, language: Language) -> float:
    """Put the patterns; how many seconds it took."""
    began = time.perf_counter()
    lines: list[PatternLine] = []
    for number in range(PATTERNS):
        of = number % TOOLS
        text = f"{language.text(of)} {number}"
        lines.append(PatternLine(namespace="patterns", text=text, expert=f"box.tool_{of}"))
        if len(lines) == 500:
            await _take(flow, lines)
            lines = []
    await _take(flow, lines)
    return time.perf_counter() - began


async def _take(flow: Flow, lines: list[PatternLine]) -> None:
    """Straight into the shelf of routes: patterns that were learned, without a gate's lesson for each."""
    from flowcore.state import PutPattern, PutPatterns

    if not lines:
        return
    vectors = await flow.router.embedder.embed([one.text for one in lines])
    patterns = tuple(
        PutPattern(
            namespace=ROUTES,
            text=line.text,
            vector=vector.astype("<f4").tobytes(),
            embedder=str(flow.router.embedder.identity),
            expert=line.expert,
        )
        for line, vector in zip(lines, vectors, strict=True)
    )
    stored = await flow.state.do(PutPatterns(patterns))
    await flow.router.memory.wait_followed(stored.position)


async def _built(flow: Flow) -> None:
    """Wait until indexes have done nothing in the background for a while."""
    idle = 0
    while idle < 150:
        indexes = flow.router.memory.status()["following"]["indexes"].values()
        idle = 0 if any(one.get("building") for one in indexes) else idle + 1
        await trio.sleep(0.1)


async def _routes(flow: Flow, language: Language) -> list[tuple[bool, float]]:
    made = []
    for number in range(ROUTES_ASKED):
        of = (7 * number) % TOOLS
        text = language.text(of)
        began = time.perf_counter()
        route = await flow.route(text)
        took = time.perf_counter() - began
        if number >= ROUTES_ASKED // 10:  # the first warm caches
            made.append((route.ranked[0].expert == f"box.tool_{of}", took))
        await trio.lowlevel.checkpoint()
    return made


async def _lessons(flow: Flow, language: Language) -> list[float]:
    made = []
    for number in range(FEEDBACK):
        of = (11 * number) % TOOLS
        route = await flow.route(language.text(of))
        began = time.perf_counter()
        await flow.feedback(route.id, f"box.tool_{of}")
        made.append(time.perf_counter() - began)
    return made


async def _memory(flow: Flow, language: Language) -> tuple[list[float], list[float]]:
    puts, searches = [], []
    for number in range(FEEDBACK):
        text = language.text(number % TOOLS)
        began = time.perf_counter()
        await flow.memory.put("notes", text)
        puts.append(time.perf_counter() - began)
    for number in range(FEEDBACK):
        text = language.text(number % TOOLS)
        began = time.perf_counter()
        await flow.memory.search("notes", text)
        searches.append(time.perf_counter() - began)
    return puts, searches


class _Lateness:
    """How much later than it should a task gets its turn, but for what others took of the processors."""

    def __init__(self, waited: Waiting) -> None:
        self._waited = waited
        self._late: list[float] = []

    async def watch(self) -> None:
        while True:
            due, before = trio.current_time() + 0.001, self._waited()
            await trio.sleep_until(due)
            self._late.append(trio.current_time() - due - (self._waited() - before))

    @property
    def p999(self) -> float:
        """Seconds."""
        ordered = sorted(self._late)
        return ordered[int(0.999 * len(ordered))]


async def _spared() -> list[Figure]:
    """What `tools/list` takes of a model's context, with every tool and with the way to find them."""
    language = Language(2)
    sizes = {}
    for expose in ("all", "search"):
        config: dict[str, Any] = {
            "router": {},
            "storage": {"type": "memory"},
            "agent": {"box": {"type": "python", "target": box(language)}},
            "edge": {"mcp": {"type": "mcp", "bind": "127.0.0.1:0", "expose": expose}},
        }
        async with open_flow(config) as flow:
            await flow.wait_settled()
            sizes[expose] = await _listed(flow.endpoints["mcp"][0])
            if expose == "search":
                found = await flow.call("flow.find_tools", {"query": language.text(5)})
                sizes["found"] = len(msgspec.json.encode(found.structured))
    whole, search = sizes["all"] / 4, (sizes["search"] + sizes["found"]) / 4
    return [
        Figure(name="tools/list of 1,000 tools", value=whole, unit="tokens"),
        Figure(
            name="the list of an edge that searches, and one search", value=search, unit="tokens"
        ),
        Figure(name="tokens spared on 1,000 tools", value=100 * (1 - search / whole), unit="%"),
    ]


async def _listed(url: str) -> int:
    """The bytes of all pages of `tools/list`."""
    from flowcore.http import open_client

    version = "2026-07-28"
    meta = {
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}}
    headers = [
        (b"content-type", b"application/json"),
        (b"accept", b"application/json, text/event-stream"),
        (b"mcp-protocol-version", version.encode()),
        (b"mcp-method", b"tools/list"),
    ]
    async with open_client() as client:
        answer = await client.request("POST", url, headers=headers, body=msgspec.json.encode(body))
    tools_ = msgspec.json.decode(answer.body)["result"]["tools"]
    return len(msgspec.json.encode(tools_))
