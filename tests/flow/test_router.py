"""A node that routes: requests in words find tools, outcomes teach it, and what it knows lasts."""

from __future__ import annotations

import logging
import pathlib
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from flowcore import Flow, Principal, open_flow
from flowcore.config import ConfigError
from flowcore.envelope import ANONYMOUS, LOCAL
from flowcore.errors import (
    AgentUnavailable,
    InvalidArguments,
    Overloaded,
    PermissionDenied,
    TooLarge,
    UnknownTarget,
)
from flowcore.routing import ROUTES
from flowcore.routing.files import read_kept

TOOLS = '''
from flowcore.native import tool, ToolError

@tool(read_only=True)
async def weather(text: str) -> str:
    """The weather forecast of a city: rain, sun, temperature."""
    return f"weather: {text}"

@tool(read_only=True)
async def translate(text: str, language: str = "German") -> str:
    """Translate a sentence into another language."""
    return f"{language}: {text}"

@tool(read_only=True)
async def capital(question: str) -> str:
    """The capital of a country: which city governs a nation."""
    return "Oslo"

@tool
async def pay(amount: float, account: str) -> str:
    """Pay an invoice: send money to a bank account."""
    return "paid"

@tool(read_only=True)
async def broken(text: str) -> str:
    """Diagnose an engine that does not start: car repair, motor trouble."""
    raise ToolError("no garage is open")
'''


def configured(folder: pathlib.Path, **router: Any) -> dict[str, Any]:
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


async def settled(flow: Flow) -> Flow:
    await flow.wait_settled()
    return flow


# ---- finding


@pytest.mark.parametrize("gate", ["similarity", "moe"])
async def test_words_find_the_tool_and_say_why(tmp_path: pathlib.Path, gate: str) -> None:
    async with open_flow(configured(tmp_path, gate=gate)) as flow:
        await flow.wait_settled()
        route = await flow.route("will it rain in the city tomorrow? the weather forecast please")
        assert route.ranked[0].expert == "desk.weather"
        assert route.ranked[0].agent == "desk"
        assert route.in_scope
        assert route.lessons == 0
        assert route.ranked[0].reasons
        assert sum(one.probability for one in route.ranked) <= 1.0 + 1e-6
        assert [one.probability for one in route.ranked] == sorted(
            (one.probability for one in route.ranked), reverse=True
        )
        tools = await flow.find_tools("send money to pay an invoice", k=1)
        assert [one["name"] for one in tools] == ["desk.pay"]
        assert tools[0]["inputSchema"]["required"] == ["amount", "account"]


async def test_it_says_when_it_does_not_know(tmp_path: pathlib.Path) -> None:
    async with open_flow(configured(tmp_path)) as flow:
        await flow.wait_settled()
        route = await flow.route("zyx qwv jjj kpt")
        assert not route.in_scope
        with pytest.raises(UnknownTarget, match="no tool here is known to be for this"):
            await flow.ask("zyx qwv jjj kpt")


async def test_the_nodes_own_tools_are_never_found(tmp_path: pathlib.Path) -> None:
    async with open_flow(configured(tmp_path)) as flow:
        await flow.wait_settled()
        route = await flow.route("the status of the node, its agents and its memory", k=16)
        assert {one.agent for one in route.ranked} == {"desk"}


async def test_an_agent_that_is_gone_is_never_chosen_and_returns(tmp_path: pathlib.Path) -> None:
    config = configured(tmp_path)
    (tmp_path / "other.py").write_text(
        "from flowcore.native import tool\n\n@tool\nasync def paint(text: str) -> str:\n"
        '    """Paint a picture with a brush and colours."""\n    return text\n'
    )
    config["agent"]["artist"] = {"type": "python", "target": str(tmp_path / "other.py")}
    async with open_flow(config) as flow:
        await flow.wait_settled()
        text = "paint a picture with colours"
        assert (await flow.route(text)).ranked[0].expert == "artist.paint"
        del config["agent"]["artist"]
        await flow.reload(config)
        assert "artist" not in {one.agent for one in (await flow.route(text, 16)).ranked}
        config["agent"]["artist"] = {"type": "python", "target": str(tmp_path / "other.py")}
        await flow.reload(config)
        await flow.wait_settled()
        assert (await flow.route(text)).ranked[0].expert == "artist.paint"


# ---- learning


async def test_feedback_changes_what_is_found_at_once_and_for_good(tmp_path: pathlib.Path) -> None:
    text = "how is my uncle Bob doing"
    async with open_flow(configured(tmp_path)) as flow:
        await flow.wait_settled()
        before = await flow.route(text)
        assert before.lessons == 0
        await flow.feedback(before.id, "desk.translate")
        after = await flow.route(text)
        assert after.ranked[0].expert == "desk.translate"
        assert after.lessons == 1
        assert after.nearest[0].text == text
        assert after.nearest[0].expert == "desk.translate"
        with pytest.raises(UnknownTarget, match="no route"):
            await flow.feedback(before.id, "desk.translate")
    async with open_flow(configured(tmp_path)) as flow:
        await flow.wait_settled()
        again = await flow.route(text)
        assert again.ranked[0].expert == "desk.translate"
        assert again.lessons == 1
        assert abs(again.ranked[0].probability - after.ranked[0].probability) < 1e-6


async def test_texts_are_at_hand_after_a_start_without_asking_the_store(
    tmp_path: pathlib.Path,
) -> None:
    texts = [f"a letter to number {number}" for number in range(120)]
    async with open_flow(configured(tmp_path)) as flow:
        await flow.wait_settled()
        for text in texts:
            await flow.router.teach(text, "desk.translate")
    async with open_flow(configured(tmp_path)) as flow:
        shelf = flow.router.learning._following.shelf(ROUTES)
        await flow.router.learning.bring_texts()
        assert [shelf.text(id_) for id_ in shelf.latest().tolist()] == texts


async def test_what_was_wrong_sinks(tmp_path: pathlib.Path) -> None:
    text = "the weather forecast"
    async with open_flow(configured(tmp_path)) as flow:
        await flow.wait_settled()
        first = (await flow.route(text)).ranked[0]
        for _ in range(5):
            route = await flow.route(text)
            await flow.feedback(route.id, first.expert, 0.0)
        now = {one.expert: one.probability for one in (await flow.route(text)).ranked}
        assert now.get(first.expert, 0.0) < first.probability


async def test_a_call_after_a_search_teaches_by_itself(tmp_path: pathlib.Path) -> None:
    async with open_flow(configured(tmp_path)) as flow:
        await flow.wait_settled()
        await flow.find_tools("which city is the boss of Norway")
        await flow.call("desk.capital", {"question": "Norway"})
        with trio.fail_after(30):
            await flow.router.learning.wait_learned(1)  # the lesson is given in the background
        route = await flow.route("which city is the boss of Norway")
        assert route.ranked[0].expert == "desk.capital"


async def test_of_clients_without_a_name_a_call_teaches_only_where_one_search_fits(
    tmp_path: pathlib.Path,
) -> None:
    async def call(question: str) -> None:
        await flow.call("desk.capital", {"question": question}, principal=ANONYMOUS)

    async with open_flow(configured(tmp_path)) as flow:
        await flow.wait_settled()
        await flow.find_tools("which city is the boss of Norway", principal=ANONYMOUS)
        await call("Norway")
        with trio.fail_after(30):
            await flow.router.learning.wait_learned(1)
        await call("once more, without a search")
        for text in ("the capital of Peru", "the capital of a country that one goes to"):
            await flow.find_tools(text, principal=ANONYMOUS)
        await call("Peru")
        assert flow.router.status()["feedback"]["ambiguous"] == 1
        assert flow.router.learning.lessons == 1


async def test_without_implicit_feedback_nothing_is_learned_unasked(tmp_path: pathlib.Path) -> None:
    async with open_flow(configured(tmp_path, feedback={"implicit": False})) as flow:
        await flow.wait_settled()
        await flow.ask("the capital of a country: which city governs Norway")
        await flow.find_tools("the capital of a country")
        await flow.call("desk.capital", {"question": "Norway"})
        feedback = flow.router.status()["feedback"]
        assert set(feedback.values()) == {0}


async def test_feedback_of_others_unknown_experts_and_odd_rewards_is_refused(
    tmp_path: pathlib.Path,
) -> None:
    ann = Principal(name="ann", scheme="jwt")
    async with open_flow(configured(tmp_path)) as flow:
        await flow.wait_settled()
        route = await flow.route("the weather", principal=ann)
        with pytest.raises(UnknownTarget, match="no route"):
            await flow.feedback(route.id, "desk.weather")
        with pytest.raises(UnknownTarget, match="no route"):
            await flow.feedback("nonsense", "desk.weather", principal=ann)
        with pytest.raises(UnknownTarget, match="no expert 'desk.nothing'"):
            await flow.feedback(route.id, "desk.nothing", principal=ann)
        for reward in (-0.1, 1.1, float("nan"), float("inf")):
            with pytest.raises(InvalidArguments, match="expected a reward of 0"):
                await flow.feedback(route.id, "desk.weather", reward, principal=ann)
        await flow.feedback(route.id, "desk.weather", principal=ann)
        assert flow.router.status()["learning"]["lessons"] == 1


async def test_one_who_floods_is_bounded_and_told_so(tmp_path: pathlib.Path) -> None:
    share = {"lessons": {"rate": 0.001, "burst": 5}}
    eve = Principal(name="eve", scheme="jwt")
    async with open_flow(configured(tmp_path, feedback=share)) as flow:
        await flow.wait_settled()
        for number in range(5):
            await flow.router.teach(f"say number {number}", "desk.pay", principal=eve)
        with pytest.raises(Overloaded, match="as many lessons as one may") as caught:
            await flow.router.teach("say number 6", "desk.pay", principal=eve)
        assert caught.value.retry_after is not None
        await flow.router.teach("others may", "desk.pay", principal=LOCAL)
        assert flow.router.status()["learning"]["lessons"] == 6


# ---- asking


async def test_ask_calls_the_tool_with_the_text(tmp_path: pathlib.Path) -> None:
    async with open_flow(configured(tmp_path)) as flow:
        await flow.wait_settled()
        result = await flow.ask("the weather forecast of a city, rain or sun")
        assert result.text.startswith("weather: the weather forecast")
        assert result.raw["_meta"]["io.flowcore/route"]["expert"] == "desk.weather"
        result = await flow.ask(
            "translate a sentence into another language", {"language": "French"}
        )
        assert result.text.startswith("French: ")


async def test_ask_says_what_keeps_a_tool_from_being_called(tmp_path: pathlib.Path) -> None:
    config = configured(tmp_path)
    (tmp_path / "tools.py").write_text(
        "from flowcore.native import tool\n\n@tool\nasync def pay(amount: float, account: str) -> str:\n"
        '    """Pay an invoice: send money to a bank account."""\n    return "paid"\n'
    )
    async with open_flow(config) as flow:
        await flow.wait_settled()
        with pytest.raises(UnknownTarget, match="desk.pay also needs 'amount'"):
            await flow.ask("pay an invoice, send money to a bank account", guess=True)
        result = await flow.ask(
            "pay an invoice, send money to a bank account",
            {"amount": 5.0, "account": "x"},
            guess=True,
        )
        assert result.text == "paid"


async def test_fan_out_asks_readers_only_and_tells_who_said_what(tmp_path: pathlib.Path) -> None:
    async with open_flow(configured(tmp_path)) as flow:
        await flow.wait_settled()
        text = "translate the weather forecast of the capital city of a country"
        merged = await flow.ask(text, fan_out={"want": "merge", "ask": 4}, guess=True)
        told = merged.structured
        assert told["reached"]
        assert {one["expert"] for one in told["answers"]} == {
            "desk.weather",
            "desk.translate",
            "desk.capital",
            "desk.broken",
        }
        assert "desk.broken" not in told["chosen"]
        first = await flow.ask(text, fan_out={"want": "first", "ask": 3}, guess=True)
        assert len(first.structured["chosen"]) == 1
        two = await flow.ask(text, fan_out={"want": "first_n", "ask": 4, "n": 2}, guess=True)
        assert len(two.structured["chosen"]) == 2
        none = await flow.ask(text, fan_out={"want": "quorum", "ask": 3, "n": 3}, guess=True)
        assert none.is_error
        assert not none.structured["reached"]
        with pytest.raises(InvalidArguments):
            await flow.ask(text, fan_out={"want": "quorum", "ask": 3, "n": 4})
        with pytest.raises(InvalidArguments):
            await flow.ask(text, fan_out={"want": "all"})


async def test_call_tool_passes_on_what_the_other_says(tmp_path: pathlib.Path) -> None:
    async with open_flow(configured(tmp_path)) as flow:
        await flow.wait_settled()
        arguments = {"name": "desk.translate", "arguments": {"text": "hello"}}
        assert (await flow.call("flow.call_tool", arguments)).text == "German: hello"
        with pytest.raises(UnknownTarget, match="did you mean 'desk.translate'"):
            await flow.call("flow.call_tool", {"name": "desk.translat"})
        with pytest.raises(InvalidArguments, match="cannot call itself"):
            await flow.call("flow.call_tool", {"name": "flow.call_tool"})
        with pytest.raises(InvalidArguments):
            await flow.call("flow.call_tool", {"name": "desk.translate", "arguments": {"text": 5}})


# ---- what is not taken


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", InvalidArguments),
        (" \n\t", InvalidArguments),
        ("\ud800", InvalidArguments),
        ("x" * (16 << 20), TooLarge),
    ],
    ids=["empty", "blank", "surrogate", "16 MiB"],
)
async def test_texts_that_are_none(
    tmp_path: pathlib.Path, text: str, error: type[Exception]
) -> None:
    async with open_flow(configured(tmp_path)) as flow:
        await flow.wait_settled()
        with pytest.raises(error):
            await flow.route(text)
        with pytest.raises(error):
            await flow.memory.put("notes", text)
        with pytest.raises(error):
            await flow.memory.search("notes", text)


@pytest.mark.parametrize(
    "text", ["a" * 60_000, "weather " * 7_000, "\x00\x01\x02", "🌧️" * 1000, "؟", "--- ???"]
)
async def test_odd_texts_get_an_answer(tmp_path: pathlib.Path, text: str) -> None:
    async with open_flow(configured(tmp_path)) as flow:
        await flow.wait_settled()
        route = await flow.route(text)
        assert len(route.ranked) <= 8


@pytest.mark.parametrize("k", [0, 17, -1])
async def test_a_k_that_is_none(tmp_path: pathlib.Path, k: int) -> None:
    async with open_flow(configured(tmp_path)) as flow:
        await flow.wait_settled()
        with pytest.raises(InvalidArguments, match="expected a k of 1 to 16"):
            await flow.route("weather", k)


async def test_a_node_without_a_router_says_so() -> None:
    async with open_flow({}) as flow:
        with pytest.raises(AgentUnavailable, match="this node has no"):
            await flow.route("weather")
        with pytest.raises(UnknownTarget):
            await flow.call("flow.route", {"text": "weather"})


def test_the_agent_memory_is_the_routers_own(tmp_path: pathlib.Path) -> None:
    config = configured(tmp_path)
    config["agent"]["memory"] = config["agent"]["desk"]
    with pytest.raises(ConfigError, match=r"agent.memory: this name is the router's own"):
        from flowcore.assembly import read

        read(config)
    config["router"]["memory"] = {"enabled": False}
    read(config)


# ---- who may


async def test_nobody_is_told_of_tools_that_are_not_for_them(tmp_path: pathlib.Path) -> None:
    config = configured(tmp_path)
    config["requests"] = {"guards": ["rules"]}
    rules = [
        {"allow": ["flow.*", "desk.translate", "memory.*"], "principals": ["ann"]},
        {"allow": ["*"], "principals": ["local"]},
    ]
    config["guard"] = {"rules": {"type": "permissions", "rules": rules}}
    ann = Principal(name="ann", scheme="jwt")
    async with open_flow(config) as flow:
        await flow.wait_settled()
        text = "the weather forecast"
        assert (await flow.route(text)).ranked[0].expert == "desk.weather"
        assert {one.expert for one in (await flow.route(text, 16, principal=ann)).ranked} == {
            "desk.translate"
        }
        named = [one["name"] for one in await flow.find_tools(text, 16, principal=ann)]
        assert named == ["desk.translate"]
        with pytest.raises(PermissionDenied):
            await flow.call(
                "flow.call_tool",
                {"name": "desk.weather", "arguments": {"text": "x"}},
                principal=ann,
            )


async def test_the_status_tells_what_was_measured(tmp_path: pathlib.Path) -> None:
    async with open_flow(configured(tmp_path)) as flow:
        await flow.wait_settled()
        for _ in range(3):
            await flow.route("the weather")
        status = flow.status()["router"]
        assert status["experts"] == 5
        assert status["routes"]["known"] + status["routes"]["unknown"] == 3
        assert status["routes"]["durations"]["count"] == 3
        assert msgspec.json.encode(flow.status())


async def test_routes_are_answered_while_the_gate_is_saved_and_lessons_wait(
    tmp_path: pathlib.Path,
) -> None:
    async with open_flow(configured(tmp_path, gate="moe")) as flow:
        await settled(flow)
        learning = flow.router.learning
        await flow.router.teach("the weather in Paris", "desk.weather")
        gate, going, let_go = learning.gate, threading.Event(), threading.Event()
        made = gate.snapshot

        def held() -> bytes:
            going.set()
            assert let_go.wait(20)
            return made()

        gate.snapshot = held  # type: ignore[method-assign]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(learning.save)
            try:
                assert await trio.to_thread.run_sync(going.wait, 20)
                nursery.start_soon(flow.router.teach, "pay what I owe", "desk.pay")
                for _ in range(20):  # each asks state and index: time to learn in, if it could
                    route = await flow.route("pay an invoice")
                    assert route.ranked[0].expert == "desk.pay"
                learning.set_experts(learning._experts[:1])
                nursery.start_soon(learning.told)
                await trio.testing.wait_all_tasks_blocked()
                assert gate.status()["experts"] == 5
                assert learning.lessons == 1
            finally:
                let_go.set()
        assert gate.status()["experts"] == 1
        assert learning.lessons == 2
        (kept,) = (tmp_path / "data").rglob("gate")
        assert read_kept(kept)["lessons"] == 1
