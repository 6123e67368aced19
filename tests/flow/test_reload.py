"""Reloading: what takes effect at once, agents that come, go and are replaced, and what needs a restart."""

from __future__ import annotations

import pathlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from flowcore import Flow, open_flow
from flowcore.agents import State
from flowcore.assembly import read_config
from flowcore.config import ConfigError
from flowcore.errors import UnknownTarget

AGENT = """
import trio
from flowcore.native import tool

hold = trio.Event()
held = trio.Event()


@tool
async def say() -> str:
    return "VERSION"


@tool
async def wait() -> str:
    held.set()
    await hold.wait()
    return "VERSION"
"""


class Files:
    """A configuration and its agents, in a folder."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.path = folder / "flow.toml"

    def agent(self, name: str, more: str = "") -> str:
        """The table of an agent whose tools answer with its version, which is its name."""
        (self.folder / f"{name}.py").write_text(AGENT.replace("VERSION", name))
        return f'type = "python"\ntarget = "{self.folder / name}.py"\n{more}\n'

    def write(self, text: str) -> pathlib.Path:
        self.path.write_text(text)
        return self.path


@pytest.fixture
def files(tmp_path: pathlib.Path) -> Files:
    return Files(tmp_path)


@asynccontextmanager
async def opened(files: Files, text: str) -> AsyncGenerator[Flow]:
    async with open_flow(files.write(text)) as flow:
        await flow.wait_settled()
        yield flow


async def said(flow: Flow, tool: str = "one.say") -> Any:
    return (await flow.call(tool)).text


async def test_settings_that_are_reloadable_take_effect_in_place(files: Files) -> None:
    agent = files.agent("a")
    async with opened(files, f"[agent.one]\n{agent}") as flow:
        one = flow.agents["one"]
        files.write(
            f'[requests]\nlimit = 7\nmax_deadline = "9s"\n[requests.retry]\nattempts = 1\n'
            f'[agent.one]\n{agent}deadline = "2s"\nvalidate_arguments = false\n'
        )
        done = await flow.reload(files.path)
        assert set(done.applied) == {
            "requests.limit",
            "requests.max_deadline",
            "requests.retry.attempts",
            "agent.one.deadline",
            "agent.one.validate_arguments",
        }
        assert (done.restart, done.failed) == ((), ())
        assert flow.agents["one"] is one
        assert (one.settings.deadline, one.settings.validate_arguments) == (2.0, False)
        assert (flow.requests.settings.limit, flow.config.requests.retry.attempts) == (7, 1)
        assert await said(flow) == "a"
        assert (await flow.reload(files.path)).applied == ()


async def test_what_is_told_as_applied_is_what_holds(files: Files) -> None:
    agent = files.agent("a")
    async with opened(files, f"[agent.one]\n{agent}") as flow:
        before = flow.config
        files.write(
            '[log]\nlevel = "debug"\nformat = "json"\n[log.levels]\n"a.b" = "error"\nc = "info"\n'
            f'[node]\ndrain = "3s"\n[telemetry]\nsampling = 0.5\n[agent.one]\n{agent}'
        )
        done = await flow.reload(files.path)
        levels = {'log.levels."a.b"', "log.levels.c"}
        others = {"log.level", "log.format", "node.drain", "telemetry.sampling"}
        assert set(done.applied) == levels | others
        assert flow.config.log.levels == {"a.b": "error", "c": "info"}
        assert flow.config == read_config(files.path, flow.plugins)
        files.write(f"[agent.one]\n{agent}")
        assert set((await flow.reload(files.path)).applied) == levels | others
        assert flow.config == before


async def test_agents_come_and_go(files: Files) -> None:
    one, two = files.agent("a"), files.agent("b")
    async with opened(files, f"[agent.one]\n{one}") as flow:
        kept = flow.agents["one"]
        files.write(f"[agent.one]\n{one}[agent.two]\n{two}")
        assert (await flow.reload(files.path)).applied == ("agent.two",)
        await flow.wait_settled()
        assert await said(flow, "two.say") == "b"
        files.write(f"[agent.two]\n{two}")
        assert (await flow.reload(files.path)).applied == ("agent.one",)
        with pytest.raises(UnknownTarget):
            await flow.call("one.say")
        assert kept.state is State.STOPPED
        assert await said(flow, "two.say") == "b"
        status = flow.status()
        assert [agent["name"] for agent in status["agents"]] == ["flow", "two"]
        assert not any(one["component"] == "agent.one" for one in status["components"])
        files.write(f"[agent.one]\n{one}[agent.two]\n{two}")
        await flow.reload(files.path)
        await flow.wait_settled()
        assert await said(flow) == "a"


async def test_an_agent_is_replaced_while_its_calls_end(files: Files) -> None:
    """Not a call fails: the new one is up before the old one goes, and what runs there ends there."""
    first = files.agent("a")
    async with opened(files, f"[agent.one]\n{first}") as flow:
        import sys

        (module,) = (
            one
            for one in sys.modules.values()
            if str(getattr(one, "__file__", "")) == str(files.folder / "a.py")
        )
        got: list[str] = []

        async def wait() -> None:
            got.append(await said(flow, "one.wait"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await module.held.wait()
            files.write(f"[agent.one]\n{files.agent('b')}")
            nursery.start_soon(flow.reload, files.path)
            while await said(flow) == "a":
                await trio.lowlevel.checkpoint()
            assert got == []
            module.hold.set()
        assert got == ["a"]
        assert await said(flow) == "b"
        assert len(flow.agents) == 2
        # and again, and in a node that is told to stop meanwhile
        files.write(f"[agent.one]\n{files.agent('c')}")
        assert (await flow.reload(files.path)).applied == ("agent.one",)
        assert await said(flow) == "c"


async def test_an_agent_that_does_not_come_up_is_not_put_in_place(files: Files) -> None:
    first = files.agent("a")
    async with opened(files, f"[agent.one]\n{first}") as flow:
        old = flow.agents["one"]
        files.write('[agent.one]\ntype = "python"\ntarget = "no.such.module"\n')
        done = await flow.reload(files.path)
        assert done.applied == ()
        assert len(done.failed) == 1
        assert done.failed[0].startswith("agent.one: there is no module 'no'")
        assert flow.agents["one"] is old
        assert await said(flow) == "a"
        assert flow.plan.find("agent.one").selection.config.target.endswith("a.py")
        files.write(f"[agent.one]\n{files.agent('b')}")
        assert (await flow.reload(files.path)).applied == ("agent.one",)
        assert await said(flow) == "b"


async def test_what_needs_a_restart_is_told_with_its_place(files: Files) -> None:
    agent = files.agent("a")
    async with opened(files, f"[agent.one]\n{agent}") as flow:
        files.write(
            f'[node]\nname = "other"\n[guard.limit]\ntype = "rate_limit"\n'
            f'[agent.one]\n{agent}guards = ["limit"]\n'
        )
        done = await flow.reload(files.path)
        assert done.applied == ()
        assert done.restart == (
            f"node.name ({files.path}:2)",
            f"guard.limit ({files.path}:3)",
            f"agent.one.guards ({files.path}:9)",
        )
        assert await said(flow) == "a"


async def test_a_wrong_configuration_changes_nothing(files: Files) -> None:
    agent = files.agent("a")
    async with opened(files, f"[agent.one]\n{agent}") as flow:
        files.write(f'[node]\ndrain = "1s"\n[agent.one]\n{agent}deadline = "never"\n')
        with pytest.raises(ConfigError, match="deadline"):
            await flow.reload(files.path)
        assert flow.config.node.drain == 10.0
        assert await said(flow) == "a"


async def test_the_agents_of_now_are_opened_when_their_branch_is_opened_anew(files: Files) -> None:
    """A guard that is opened anew takes the agents with it: those that are configured now come back."""
    guard = '[requests]\nguards = ["limit"]\n[guard.limit]\ntype = "rate_limit"\n'
    async with opened(files, f"{guard}[agent.one]\n{files.agent('a')}") as flow:
        files.write(f"{guard}[agent.one]\n{files.agent('b')}[agent.two]\n{files.agent('c')}")
        await flow.reload(files.path)
        await flow.wait_settled()
        assert flow.root is not None
        await flow.root.stop_child("agents")
        assert "one" not in flow.agents
        await flow.root.restart_child("agents")
        await flow.wait_settled()
        assert (await said(flow), await said(flow, "two.say")) == ("b", "c")
