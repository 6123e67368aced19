"""Another embedder: what was learned is embedded and learned anew, and routing is as good as before."""

from __future__ import annotations

import logging
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from flowcore import Flow, open_flow
from flowcore.errors import CallError, OtherEmbedder
from flowcore.routing import ROUTES
from flowcore.state import Feedback, GiveFeedback, PatternLine, PutPattern, PutPatterns, Retrain

INTENTS = {
    "alpha": ["umbrella", "drizzle", "storm", "sunshine", "thunder", "snowfall"],
    "beta": ["salary", "payslip", "bonus", "overtime", "wages", "earnings"],
    "gamma": ["goalkeeper", "striker", "referee", "penalty", "offside", "league"],
    "delta": ["flour", "yeast", "oven", "dough", "crust", "baking"],
    "epsilon": ["visa", "passport", "customs", "border", "embassy", "luggage"],
    "zeta": ["guitar", "violin", "chord", "melody", "rhythm", "orchestra"],
}
"""What each tool is for, in words that no description has."""
ASKED = (
    "tell me about the {}",
    "i need something with {} please",
    "what is going on with my {}",
    "can you help, it is the {} again",
    "{}, as quickly as you can",
)
TOOLS = "from flowcore.native import tool\n" + "".join(
    f'\n@tool(read_only=True)\nasync def {name}(text: str) -> str:\n    """A desk."""\n    return text\n'
    for name in INTENTS
)
OTHER = {"type": "hashed", "dimensions": 256}


def asked(words: slice) -> list[tuple[str, str]]:
    """Texts, and whom each is for: by some of the words of each intent."""
    return [
        (how.format(word), f"desk.{name}")
        for how in ASKED
        for name, all_ in INTENTS.items()
        for word in all_[words]
    ]


LEARNED = asked(slice(0, 4))
LESSONS = [PatternLine(namespace=ROUTES, text=text, expert=expert) for text, expert in LEARNED]
JUDGED = [
    (f"{how.format(word)} and the {other}", f"desk.{name}")
    for how, name, all_ in zip(ASKED * 2, INTENTS, INTENTS.values(), strict=False)
    for word, other in zip(all_[:4], all_[2:], strict=False)
]


def configured(folder: pathlib.Path, **router: Any) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tools.py").write_text(TOOLS)
    return {
        "node": {"data_dir": str(folder / "data"), "seed": 7},
        "router": router,
        "agent": {"desk": {"type": "python", "target": str(folder / "tools.py")}},
    }


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


async def right(flow: Flow) -> float:
    """The share of requests that come to whom they are for."""
    count = 0
    for text, expert in JUDGED:
        count += (await flow.route(text)).ranked[0].expert == expert
    return count / len(JUDGED)


async def trained(flow: Flow) -> float:
    """Of a node that has just been given all lessons at once."""
    await flow.wait_settled()
    await flow.route("hello")
    await flow.router.porting.take(LESSONS, 1.7e9)
    await flow.router.learning.retrain()
    return await right(flow)


async def test_after_reembedding_routes_are_as_those_of_who_learned_with_the_new_embedder(
    tmp_path: pathlib.Path,
) -> None:
    async with open_flow(configured(tmp_path / "new", embedder=OTHER)) as flow:
        untaught = 1 / len(INTENTS)
        expected = await trained(flow)
        assert expected > 0.9 > untaught
        gate = flow.router.learning.gate.snapshot()
    async with open_flow(configured(tmp_path / "old")) as flow:
        assert await trained(flow) > 0.9
    async with open_flow(configured(tmp_path / "old", embedder=OTHER)) as flow:
        await flow.wait_settled()
        learning = flow.status()["router"]["learning"]
        assert (learning["lessons"], learning["foreign"]) == (0, len(LESSONS))
        with pytest.raises(OtherEmbedder):
            await flow.route("hello")
        heard: list[tuple[int, int]] = []
        done = await flow.router.reembed(lambda done, of: heard.append((done, of)))
        assert (done.patterns, done.lessons, done.complete) == (len(LESSONS), len(LESSONS), True)
        assert heard[-1] == (len(LESSONS), len(LESSONS))
        learning = flow.status()["router"]["learning"]
        assert (learning["lessons"], learning["foreign"]) == (len(LESSONS), 0)
        assert await right(flow) == expected
        assert flow.router.learning.gate.snapshot() == gate
        times = learning["retrained"]
        assert (await flow.router.reembed()).lessons == 0
        assert flow.status()["router"]["learning"]["retrained"] == times
    async with open_flow(configured(tmp_path / "old", embedder=OTHER)) as flow:
        await flow.wait_settled()
        assert await right(flow) == expected


async def test_a_node_that_comes_later_learns_the_same_of_the_log(tmp_path: pathlib.Path) -> None:
    async with open_flow(configured(tmp_path)) as flow:
        await trained(flow)
    async with open_flow(configured(tmp_path, embedder=OTHER)) as flow:
        await flow.wait_settled()
        await flow.router.reembed()
        there = flow.router.learning.gate.snapshot()
    (kept,) = (tmp_path / "data").rglob("gate")
    kept.unlink()
    async with open_flow(configured(tmp_path, embedder=OTHER)) as flow:
        await flow.wait_settled()
        await flow.route("hello")  # by which the gate is told of experts
        with trio.fail_after(60):
            await flow.router.learning.wait_retrained(1)
        assert flow.router.learning.gate.snapshot() == there


def failing(flow: Flow, monkeypatch: pytest.MonkeyPatch, at: int | None) -> None:
    """Have the embedder fail at a time, counted from 1; None: the command that has gates trained anew."""
    embed, do = flow.router.embedder.embed, flow.state.do
    times = 0

    async def embedding(texts: Any) -> Any:
        nonlocal times
        times += 1
        if times == at:
            raise CallError("it is gone")
        return await embed(texts)

    async def doing(command: Any, **how: Any) -> Any:
        if at is None and isinstance(command, Retrain):
            raise CallError("it is gone")
        return await do(command, **how)

    monkeypatch.setattr(flow.router.embedder, "embed", embedding)
    monkeypatch.setattr(flow.state, "do", doing)


@pytest.mark.parametrize(
    "at",
    [
        pytest.param(2, id="among lessons"),
        pytest.param(None, id="after lessons"),
        pytest.param(4, id="among patterns"),
    ],
)
async def test_it_goes_on_where_it_was_stopped(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, at: int | None
) -> None:
    async with open_flow(configured(tmp_path)) as flow:
        await flow.wait_settled()
        await flow.router.porting.take(LESSONS, 1.7e9)
    async with open_flow(configured(tmp_path, embedder=OTHER)) as flow:
        await flow.wait_settled()
        stopped = await flow.router.reembed(within=0.0)
        assert (stopped.patterns, stopped.lessons, stopped.complete) == (0, 0, False)
        failing(flow, monkeypatch, at)
        with pytest.raises(CallError, match="it is gone"):
            await flow.router.reembed()
        with pytest.raises(OtherEmbedder):
            await flow.route("hello")
    async with open_flow(configured(tmp_path, embedder=OTHER)) as flow:
        await flow.wait_settled()
        done = await flow.router.reembed()
        assert done.complete
        assert done.patterns > 0
        assert flow.router.learning.lessons == len(LESSONS)
        assert await right(flow) > 0.9


async def test_what_has_expired_holds_nobody_up(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_flow(configured(tmp_path)) as flow:
        await flow.call("memory.put", {"text": "gone soon", "ttl": 3600.0})
    async with open_flow(configured(tmp_path, embedder=OTHER)) as flow:
        with pytest.raises(OtherEmbedder):
            await flow.call("memory.put", {"text": "another"})
        later = time.time() + 7200
        monkeypatch.setattr(flow.state, "_clock", lambda: later)
        assert (await flow.router.reembed()).patterns == 0
        await flow.call("memory.put", {"text": "another"})


async def test_lessons_alone_are_embedded_anew_where_their_patterns_are_already(
    tmp_path: pathlib.Path,
) -> None:
    """As older versions of `flowctl memory reembed` left them."""
    async with open_flow(configured(tmp_path)) as flow:
        await flow.wait_settled()
        lessons = tuple(
            Feedback(text=text, vector=b"\0\0\x80\x3f", embedder="old", expert=expert, reward=1.0)
            for text, expert in LEARNED
        )
        await flow.state.do(GiveFeedback(lessons))
        await flow.state.do(PutPatterns((PutPattern(namespace=ROUTES, text="x", expert="y"),)))
        done = await flow.router.reembed()
        assert (done.patterns, done.lessons) == (0, len(LEARNED))
        assert await right(flow) > 0.9
