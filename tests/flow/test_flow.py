"""A flow embedded in a program: from TOML, a dict or objects, several at a time, in order."""

from __future__ import annotations

import logging
import math
import pathlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

import flowcore
from flowcore import (
    AssemblyError,
    Context,
    Factory,
    FlowConfig,
    Registry,
    Selection,
    hookimpl,
    open_flow,
)
from flowcore.agents import AgentSettings, PoolSettings, State, StateChanged
from flowcore.config import ConfigError, reference, setting
from flowcore.errors import (
    AgentUnavailable,
    DeadlineExceeded,
    InvalidArguments,
    InvalidRequest,
    UnknownTarget,
)
from support.node import ROOT

AGENTS = f"{ROOT}/tests/support/agents.py"
CONFIG: dict[str, Any] = {"agent": {"demo": {"type": "python", "target": AGENTS}}}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_the_public_api_is_what_all_says() -> None:
    for name in flowcore.__all__:
        assert getattr(flowcore, name) is not None
    assert sorted(flowcore.__all__) == flowcore.__all__
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = flowcore.nothing


async def test_a_flow_from_a_dict_calls_a_tool() -> None:
    async with open_flow(CONFIG) as flow:
        await flow.wait_settled()
        result = await flow.call("demo.echo", {"text": "ab", "times": 2})
        assert (result.text, result.is_error, result.structured) == ("abab", False, None)
        assert (await flow.call("demo.add", {"a": 1, "b": 2})).structured == {"result": 3}


async def test_a_flow_from_text_and_from_a_file(tmp_path: pathlib.Path) -> None:
    text = f'[agent.demo]\ntype = "python"\ntarget = "{AGENTS}"\n'
    path = tmp_path / "flow.toml"
    path.write_text(text)
    for source in (text, path):
        async with open_flow(source) as flow:
            await flow.wait_settled()
            assert (await flow.call("demo.echo", {"text": "x"})).text == "x"


async def test_a_flow_from_objects() -> None:
    from flow_agents.python import PythonConfig

    demo = Selection(
        kind="agent",
        type="python",
        name="demo",
        path="agent.demo",
        config=PythonConfig(target=AGENTS),
        common=AgentSettings(pool=PoolSettings(min=1, max=1)),
    )
    async with open_flow(FlowConfig(agent={"demo": demo})) as flow:
        await flow.wait_settled()
        assert (await flow.call("demo.echo", {"text": "x"})).text == "x"


async def test_a_flow_from_a_files_name_and_with_paths_in_a_dict(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "flow.toml"
    path.write_text('[node]\nname = "named"\n')
    async with open_flow(str(path), overrides=["node.drain=3s"]) as flow:
        assert (flow.name, flow.config.node.drain) == ("named", 3.0)
    async with open_flow({"node": {"data_dir": tmp_path / "data"}}) as flow:
        assert flow.config.node.data_dir == tmp_path / "data"
    with pytest.raises(ConfigError, match="there-is-none.toml: the file cannot be read"):
        async with open_flow("there-is-none.toml"):
            raise AssertionError("never entered")


async def test_what_could_only_be_ignored_is_refused() -> None:
    with pytest.raises(ValueError, match="a FlowConfig takes no overrides"):
        async with open_flow(FlowConfig(), overrides=["node.name=x"]):
            raise AssertionError("never entered")
    with pytest.raises(TypeError, match="expected a configuration as a path, TOML text or a map"):
        async with open_flow(b"[node]"):  # type: ignore[arg-type]
            raise AssertionError("never entered")


async def test_a_flow_that_is_closed_says_so() -> None:
    async with open_flow(CONFIG) as flow:
        assert not flow.closed
        await flow.drain()
        assert not flow.closed
    assert flow.closed
    for target in ("demo.echo", "flow.status", "nobody.nothing"):
        with pytest.raises(AgentUnavailable, match="this flow is closed"):
            await flow.call(target)
    with pytest.raises(AssemblyError, match="this flow is closed"):
        await flow.reload(CONFIG)


async def test_a_flow_that_is_closed_is_not_ready() -> None:
    async with open_flow(CONFIG) as flow:
        assert flow.ready
    assert not flow.ready
    assert not flow.status()["ready"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(7)])
def test_what_ends_the_program_within_a_flow_ends_it_as_it_is(error: BaseException) -> None:
    async def main() -> None:
        async with open_flow(CONFIG), open_flow(CONFIG):
            raise error

    with pytest.raises(type(error)) as raised:
        trio.run(main)
    assert raised.value is error


async def test_flows_within_each_other_and_many_at_a_time() -> None:
    said: list[str] = []

    async def one(name: str) -> None:
        async with open_flow({"node": {"name": name}, **CONFIG}) as outer:
            async with open_flow({"node": {"name": f"{name}-inner"}, **CONFIG}) as inner:
                said.append((await inner.call("demo.echo", {"text": inner.name})).text)
            said.append((await outer.call("demo.echo", {"text": outer.name})).text)

    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(one, name)
    assert sorted(said) == ["a", "a-inner", "b", "b-inner", "c", "c-inner"]


async def test_several_flows_live_in_one_process() -> None:
    async with open_flow(CONFIG) as one, open_flow(CONFIG) as two:
        await one.wait_settled()
        await two.wait_settled()
        one.agents["demo"].pause()
        with pytest.raises(AgentUnavailable):
            await one.call("demo.echo", {"text": "x"})
        assert (await two.call("demo.echo", {"text": "x"})).text == "x"
        assert one.requests.statistics().accepted == 0
        assert two.requests.statistics().accepted == 1


async def test_what_can_go_wrong_with_a_call_is_typed() -> None:
    async with open_flow(CONFIG) as flow:
        await flow.wait_settled()
        with pytest.raises(UnknownTarget, match="did you mean 'demo.echo'"):
            await flow.call("demo.ecko", {"text": "x"})
        with pytest.raises(UnknownTarget, match="unknown tool 'nobody.x'"):
            await flow.call("nobody.x")
        with pytest.raises(InvalidArguments, match=r"arguments.times of 'echo'"):
            await flow.call("demo.echo", {"text": "x", "times": "y"})
        with pytest.raises(InvalidArguments, match="text"):
            await flow.call("demo.echo", {})
        with pytest.raises(DeadlineExceeded, match="did not answer before the deadline"):
            await flow.call("demo.wait", {"seconds": 60}, deadline=0.05)
        with pytest.raises(DeadlineExceeded, match="had passed before"):
            await flow.call("demo.wait", {"seconds": 60}, deadline=-1)
        failed = await flow.call("demo.fail", {"how": "tool"})
        assert (failed.is_error, failed.text) == (True, "this is how it failed")
        failed = await flow.call("demo.fail", {"how": "other"})
        assert failed.is_error
        assert "Traceback" not in failed.text
        with pytest.raises(UnknownTarget, match="no agent 'nobody'"):
            flow.agent("nobody")


async def test_a_call_waits_for_an_agent_that_is_starting() -> None:
    notes = {"type": "python", "target": f"{ROOT}/examples/notes_agent.py:Notes", "names": "bare"}
    async with open_flow({"agent": {**CONFIG["agent"], "notes": notes}}) as flow:
        assert (await flow.call("demo.echo", {"text": "x"})).text == "x"
        assert (await flow.call("write", {"title": "a", "text": "b"})).text == "noted: a"
        assert (await flow.read_resource("notes://all")).raw["contents"]
    async with open_flow(CONFIG) as flow:
        with pytest.raises(UnknownTarget, match="did you mean 'demo.echo'"):
            await flow.call("demo.ecko")
    broken = {"type": "python", "target": "there.is.no.such.module"}
    async with open_flow({"agent": {"broken": broken}}) as flow:
        with pytest.raises(AgentUnavailable, match="is failed: .*no module 'there'"):
            await flow.call("broken.x")


async def test_a_call_waits_no_longer_than_its_deadline_for_an_agent_that_hangs(
    autojump_clock: MockClock,
) -> None:
    async with open_flow({"agent": {"odd": {"type": "odd"}}}, plugins=[HangingPlugin()]) as flow:
        began = trio.current_time()
        with pytest.raises(DeadlineExceeded, match="agent 'odd' is starting, until the deadline"):
            await flow.call("odd.x", deadline=2)
        assert trio.current_time() - began == pytest.approx(2)
        with pytest.raises(UnknownTarget, match="unknown tool 'nobody.x'"):
            await flow.call("nobody.x")
        with pytest.raises(AgentUnavailable, match="is failed: agent odd was not open within 30 s"):
            await flow.call("odd.x")


async def test_a_deadline_that_is_no_number_is_refused() -> None:
    async with open_flow(CONFIG) as flow:
        with pytest.raises(InvalidRequest, match="expected a deadline in seconds, not nan"):
            await flow.call("demo.echo", {"text": "x"}, deadline=math.nan)


async def test_cancelling_the_caller_cancels_the_work() -> None:
    async with open_flow(CONFIG) as flow:
        await flow.wait_settled()
        with trio.move_on_after(0.05) as scope:
            await flow.call("demo.wait", {"seconds": 60})
        assert scope.cancelled_caught
        assert flow.requests.statistics().cancelled == 1
        assert flow.agents["demo"].state is State.IDLE


async def test_an_agent_that_cannot_start_disturbs_no_other() -> None:
    broken = {"type": "python", "target": "there.is.no.such.module"}
    async with open_flow({"agent": {"broken": broken, **CONFIG["agent"]}}) as flow:
        await flow.wait_settled()
        assert flow.agents["broken"].state is State.FAILED
        assert "no module 'there'" in flow.agents["broken"].reason
        with pytest.raises(AgentUnavailable, match="agent 'broken' is failed: .*no module 'there'"):
            await flow.call("broken.anything")
        assert (await flow.call("demo.echo", {"text": "x"})).text == "x"
        assert flow.directory.listing("tools").missing == ("broken",)
        assert flow.ready
        status = flow.status()
        states = {one["component"]: one["status"] for one in status["components"]}
        assert states == {"agent.flow": "ok", "agent.broken": "failed", "agent.demo": "ok"}


async def test_state_changes_can_be_watched() -> None:
    seen: list[tuple[str, str]] = []

    def note(change: StateChanged) -> None:
        if change.agent == "demo":
            seen.append((change.old.value, change.new.value))

    async with open_flow(CONFIG) as flow:
        await flow.wait_settled()
        stop = flow.on_state_change(note)
        await flow.call("demo.echo", {"text": "x"})
        stop()
        await flow.call("demo.echo", {"text": "x"})
    assert seen == [("idle", "busy"), ("busy", "idle")]


async def test_the_node_tells_of_itself() -> None:
    async with open_flow({"node": {"name": "me"}, **CONFIG}) as flow:
        await flow.wait_settled()
        agents = (await flow.call("flow.agents")).structured["agents"]
        assert [one["name"] for one in agents] == ["demo", "flow"]
        status = (await flow.call("flow.status")).structured
        assert status["node"] == "me"
        assert status["agents"]["demo"] == "idle"
        with pytest.raises(UnknownTarget):
            await flow.call("flow.nothing")


async def test_resources_and_prompts_are_asked_for_by_name() -> None:
    config = {
        "agent": {"notes": {"type": "python", "target": f"{ROOT}/examples/notes_agent.py:Notes"}}
    }
    async with open_flow(config) as flow:
        await flow.wait_settled()
        read = await flow.read_resource("notes://all")
        assert read.raw["contents"][0]["uri"] == "notes://all"
        prompt = await flow.get_prompt("notes.summarise", {"topic": "trio"})
        assert "about trio" in prompt.raw["messages"][0]["content"]["text"]


@pytest.mark.parametrize("value", [object(), "\ud800", {1j: 2}])
async def test_arguments_that_are_no_json_are_refused(value: object) -> None:
    async with open_flow(CONFIG) as flow:
        with pytest.raises(InvalidArguments, match="arguments of 'echo' are no JSON: ") as caught:
            await flow.call("demo.echo", {"text": value})
        assert not caught.value.began


async def test_a_call_that_waits_for_nothing_is_a_checkpoint_all_the_same() -> None:
    config = {"agent": {"demo": {"type": "python", "target": AGENTS}}}
    async with open_flow(config) as flow:
        await flow.wait_settled()
        with trio.testing.assert_checkpoints():
            await flow.call("demo.echo", {"text": "x"})
        with trio.testing.assert_checkpoints(), pytest.raises(UnknownTarget):
            await flow.call("demo.nothing")
        with trio.testing.assert_checkpoints(), pytest.raises(UnknownTarget):
            await flow.read_resource("notes://nowhere")
        calls = 0
        async with trio.open_nursery() as nursery:

            async def for_ever() -> None:
                nonlocal calls
                while True:
                    await flow.call("demo.echo", {"text": "x"})
                    calls += 1

            nursery.start_soon(for_ever)
            while calls < 3:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        told = flow.requests.statistics()
        assert (told.cancelled, told.results) == (0, calls + 1)


async def test_a_drain_refuses_new_work_and_waits_for_the_old() -> None:
    async with open_flow(CONFIG) as flow, trio.open_nursery() as nursery:
        await flow.wait_settled()
        done: list[str] = []

        async def call() -> None:
            done.append((await flow.call("demo.wait", {"seconds": 0.05})).text)

        nursery.start_soon(call)
        while not flow.requests.statistics().running:
            await trio.lowlevel.checkpoint()
        assert await flow.drain()
        assert done == ["waited"] or flow.requests.statistics().running == 0
        assert not flow.ready
        with pytest.raises(AgentUnavailable, match="draining"):
            await flow.call("demo.echo", {"text": "x"})


async def test_a_drain_that_takes_too_long_says_so() -> None:
    async with open_flow(CONFIG) as flow, trio.open_nursery() as nursery:
        await flow.wait_settled()
        nursery.start_soon(flow.call, "demo.wait", {"seconds": 60})
        while not flow.requests.statistics().running:
            await trio.lowlevel.checkpoint()
        assert not await flow.drain(0.01)
        nursery.cancel_scope.cancel()


async def test_one_key_has_one_outcome() -> None:
    async with open_flow(CONFIG) as flow:
        await flow.wait_settled()
        results: list[str] = []

        async def call() -> None:
            result = await flow.call("demo.wait", {"seconds": 0.02}, idempotency_key="k")
            results.append(result.text)

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(call)
        assert results == ["waited"] * 5
        assert flow.agents["demo"].statistics().calls == 1
        assert flow.requests.statistics().replayed == 4


def test_a_wrong_configuration_is_refused_before_anything_opens() -> None:
    async def main() -> None:
        async with open_flow({"agent": {"demo": {"type": "pyton"}}}):
            raise AssertionError("never entered")

    with pytest.raises(ConfigError, match="unknown agent type 'pyton', did you mean 'python'"):
        trio.run(main)


# ---- components made for these tests


@attrs.frozen(kw_only=True)
class OddConfig:
    fails: bool = setting(False, help="fail to open")


@attrs.frozen
class OddEdge:
    endpoints: tuple[str, ...] = ("nowhere",)


class OddPlugin:
    """An edge that writes down what it sees, and may fail to open."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.context: Context | None = None

    @asynccontextmanager
    async def open(self, config: OddConfig, context: Context) -> AsyncGenerator[OddEdge]:
        if config.fails:
            raise OSError("the cable is not plugged in")
        self.context = context
        self.log.append(f"open {context.name}")
        try:
            yield OddEdge()
        finally:
            agents = context.host.directory.members()
            self.log.append(f"close, {sum(one.state is State.IDLE for one in agents)} agents idle")

    @hookimpl
    def flow_register(self, registry: Registry) -> None:
        registry.add(Factory("edge", "odd", OddConfig, self.open))


class HangingPlugin:
    """An agent that never opens."""

    @asynccontextmanager
    async def open(self, config: OddConfig, context: Context) -> AsyncGenerator[None]:
        await trio.sleep_forever()
        yield

    @hookimpl
    def flow_register(self, registry: Registry) -> None:
        registry.add(Factory("agent", "odd", OddConfig, self.open))


async def test_an_edge_closes_while_all_agents_are_still_there() -> None:
    plugin = OddPlugin()
    async with open_flow({**CONFIG, "edge": {"odd": {"type": "odd"}}}, plugins=[plugin]) as flow:
        await flow.wait_settled()
        assert flow.endpoints == {"odd": ("nowhere",)}
    assert plugin.log == ["open edge.odd", "close, 2 agents idle"]


async def test_an_edge_that_cannot_open_fails_the_start_by_name() -> None:
    config = {**CONFIG, "edge": {"odd": {"type": "odd", "fails": True}}}
    with pytest.raises(AssemblyError, match="edge.odd: the cable is not plugged in"):
        async with open_flow(config, plugins=[OddPlugin()]):
            raise AssertionError("never entered")


async def test_a_component_has_a_folder_a_seed_and_a_status(tmp_path: pathlib.Path) -> None:
    from flowcore.assembly import Status

    numbers = []
    for _ in range(2):
        plugin = OddPlugin()
        config = {
            "node": {"data_dir": str(tmp_path), "seed": 7},
            "edge": {"odd": {"type": "odd"}},
        }
        async with open_flow(config, plugins=[plugin]) as flow:
            context = plugin.context
            assert context is not None
            assert context.data_dir == tmp_path / "edge.odd"
            assert context.data_dir.is_dir()
            numbers.append(context.random.random())
            context.report(Status.DEGRADED, "half the cable")
            (status,) = (one for one in flow.components() if one.component == "edge.odd")
            assert (status.status, status.reason) == (Status.DEGRADED, "half the cable")
            assert flow.ready
            context.report(Status.FAILED, "no cable")
            assert not flow.ready
            with pytest.raises(LookupError, match="does not refer to agent.x"):
                context.component("agent", "x")
    assert numbers[0] == numbers[1]


@attrs.frozen(kw_only=True)
class FriendConfig:
    friend: str = reference("agent", help="an agent it needs")


async def test_a_component_is_given_the_agents_it_refers_to_and_no_others() -> None:
    seen: list[object] = []

    @asynccontextmanager
    async def open_friend(config: FriendConfig, context: Context) -> AsyncGenerator[None]:
        seen.append(context.component("agent", config.friend))
        context.component("agent", "other")
        yield

    class Friends:
        @hookimpl
        def flow_register(self, registry: Registry) -> None:
            registry.add(Factory("agent", "friend", FriendConfig, open_friend))

    agents = {"a-friend": {"type": "friend", "friend": "demo"}, **CONFIG["agent"]}
    agents["other"] = CONFIG["agent"]["demo"]
    async with open_flow({"agent": agents}, plugins=[Friends()]) as flow:
        await flow.wait_settled()
        assert seen[0] is flow.agents["demo"]
        assert "a-friend does not refer to agent.other" in flow.agents["a-friend"].reason


async def test_plugins_that_were_given_are_there_when_a_file_is_read_again(
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / "flow.toml"
    path.write_text('[edge.odd]\ntype = "odd"\n')
    async with open_flow(path, plugins=[OddPlugin()]) as flow:
        path.write_text('[edge.odd]\ntype = "odd"\n[node]\ndrain = "1s"\n')
        done = await flow.reload(path)
        assert (done.applied, done.restart) == (("node.drain",), ())


async def test_reload_tells_what_it_applied(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "flow.toml"
    path.write_text("")
    async with open_flow(path) as flow:
        path.write_text('[node]\ndrain = "1s"\nname = "other"\n')
        done = await flow.reload(path)
        assert (done.applied, done.restart) == (("node.drain",), (f"node.name ({path}:3)",))
        assert flow.config.node.drain == 1.0
        assert flow.name == "flow"
        path.write_text("[node]\nx = 1\n")
        with pytest.raises(ConfigError):
            await flow.reload(path)
        assert flow.config.node.drain == 1.0


async def test_an_embedded_block_that_raises_raises_that() -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_flow(CONFIG):
            raise ZeroDivisionError


async def test_the_one_file_plugin_of_the_examples_works(tmp_path: pathlib.Path) -> None:
    config = {
        "plugins": {"files": [f"{ROOT}/examples/one_file_plugin.py"]},
        "agent": {"counter": {"type": "counter", "start": 10}},
    }
    async with open_flow(config) as flow:
        await flow.wait_settled()
        assert [(await flow.call("counter.next")).text for _ in range(3)] == ["10", "11", "12"]
