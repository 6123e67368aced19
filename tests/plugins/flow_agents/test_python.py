"""The `python` agent: what a configuration may name, and what becomes of it."""

from __future__ import annotations

import secrets
import sys
import textwrap
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

import flowcore
from flow_agents.python import PythonConfig, PythonSource, load_target
from flowcore.agents import State
from flowcore.config import ConfigError, Secret
from flowcore.errors import AssemblyError, DeadlineExceeded, Overloaded
from support.natives import RecordingPort

NOTES = '''
from __future__ import annotations

import sys
import threading

import trio
from flowcore.native import CallContext, NativeAgent, ToolError, resource, tool

opened = []
closed = []
ended = []
started = threading.Semaphore(0)
go_on = threading.Event()
lingering = trio.Event()
let_go = trio.Event()


class Notes:
    """Keeps notes."""

    def __init__(self, agent: NativeAgent, *, greeting: str = "hello") -> None:
        self.agent = agent
        self.greeting = greeting
        self.busy = False

    async def __aenter__(self) -> Notes:
        opened.append(self.agent.worker)
        return self

    async def __aexit__(self, *exc: object) -> None:
        closed.append(self.agent.worker)

    @tool(read_only=True)
    async def greet(self, name: str) -> str:
        return f"{self.greeting}, {name}, from {self.agent.worker}"

    @tool
    def slow(self) -> str:
        "In a thread."
        return "slow"

    @tool
    def work(self, seconds: float = 60.0) -> str:
        "In a thread, until it is told that it may end."
        assert not self.busy, "two calls at once in one instance"
        self.busy = True
        started.release()
        assert go_on.wait(seconds)
        self.busy = False
        ended.append(self.agent.worker)
        return self.agent.worker

    @tool
    async def linger(self) -> str:
        lingering.set()
        await let_go.wait()
        return self.agent.worker

    @tool
    async def leave(self) -> None:
        sys.exit(1)

    @resource("note://all")
    async def all(self) -> str:
        return "all"


def wait() -> str:
    started.release()
    assert go_on.wait(60)
    return "waited"


def shout(text: str) -> str:
    return text.upper()
'''


STUCK = """
import threading
from flowcore.native import tool

go_on = threading.Event()


class Stuck:
    def __init__(self) -> None:
        assert go_on.wait(60)

    @tool
    def shout(self, text: str) -> str:
        return text.upper()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "notes.py").write_text(textwrap.dedent(NOTES))
    return tmp_path


@asynccontextmanager
async def opened(folder: Path, **settings: Any) -> AsyncGenerator[flowcore.Flow]:
    settings["target"] = str(folder / settings["target"])
    config = {"agent": {"mine": {"type": "python", **settings}}}
    async with flowcore.open_flow(config) as flow:
        await flow.wait_settled()
        yield flow


async def test_a_class_has_an_instance_per_worker(folder: Path) -> None:
    async with opened(
        folder,
        target="notes.py:Notes",
        options={"greeting": "hi"},
        pool={"min": 2, "max": 2},
    ) as flow:
        result = await flow.call("mine.greet", {"name": "ann"})
        assert result.text in ("hi, ann, from mine/1", "hi, ann, from mine/2")
        assert (await flow.call("mine.slow")).text == "slow"
        assert (await flow.read_resource("note://all")).raw["contents"][0]["text"] == "all"
        module = sys.modules[type_module(folder)]
        with trio.fail_after(60):
            while len(module.opened) < 2:
                await trio.lowlevel.checkpoint()
    assert sorted(module.closed) == ["mine/1", "mine/2"]


def type_module(folder: Path) -> str:
    (name,) = (
        name
        for name, module in sys.modules.items()
        if name.startswith("flowcore_agent_notes_")
        and str(folder) in str(getattr(module, "__file__", ""))
    )
    return name


async def give_up_on_work(flow: flowcore.Flow, folder: Path) -> Any:
    """Call a function that is not async, and go away once it is at work; its module."""
    module = sys.modules[type_module(folder)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(flow.call, "mine.work")
        await trio.to_thread.run_sync(module.started.acquire)
        nursery.cancel_scope.cancel()
    return module


async def test_an_instance_whose_thread_goes_on_is_given_no_other_call(folder: Path) -> None:
    """The caller gives up, the thread does not: another instance takes over, within bounds."""
    pool = {"min": 1, "max": 1}
    async with opened(folder, target="notes.py:Notes", pool=pool, threads=2) as flow:
        await give_up_on_work(flow, folder)
        module = await give_up_on_work(flow, folder)
        assert (await flow.call("mine.greet", {"name": "ann"})).text.endswith("from mine/3")
        one = flow.agents["mine"].statistics()
        assert (one.left_behind, one.retired, one.crashes) == (2, 2, 0)
        assert one.pool is not None
        assert (one.pool.workers, one.pool.leaving, one.pool.free) == (3, 2, 1)
        with pytest.raises(Overloaded, match="all 2 threads are taken") as caught:
            await flow.call("mine.work")
        assert not caught.value.began
        assert module.closed == []
        module.go_on.set()
        with trio.fail_after(60):
            while len(module.closed) < 2:
                await trio.lowlevel.checkpoint()
        assert sorted(module.ended) == sorted(module.closed) == ["mine/1", "mine/2"]
        one = flow.agents["mine"].statistics()
        assert (one.left_behind, one.retired, one.running) == (0, 2, 0)
        assert (await flow.call("mine.work")).text == "mine/3"


async def test_an_expired_call_leaves_its_thread_behind_too(folder: Path) -> None:
    async with opened(folder, target="notes.py:Notes", pool={"min": 1, "max": 1}) as flow:
        module = sys.modules[type_module(folder)]
        with pytest.raises(DeadlineExceeded):
            await flow.call("mine.work", deadline=1.0)
        assert (await flow.call("mine.greet", {"name": "ann"})).text.endswith("from mine/2")
        assert flow.agents["mine"].statistics().late == 0
        module.go_on.set()
        with trio.fail_after(60):
            while flow.agents["mine"].statistics().left_behind:
                await trio.lowlevel.checkpoint()
        # what it returned in the end is nobody's, and counted
        assert flow.agents["mine"].statistics().late == 1
        assert flow.requests.statistics().late == 1


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("stuck.py:Stuck", "worker mine/1 was not ready within 1 s"),
        ("stuck_import.py:Stuck", "agent mine was not open within 1 s"),
    ],
)
async def test_code_that_hangs_before_it_is_up_holds_up_nobody(
    folder: Path, target: str, reason: str
) -> None:
    """Neither the agents beside it nor the end of the node."""
    (folder / "stuck.py").write_text(textwrap.dedent(STUCK))
    (folder / "stuck_import.py").write_text(textwrap.dedent(STUCK) + "Stuck()\n")
    never = {"base": "1h", "cap": "1h"}
    config = {
        "agent": {
            "mine": {
                "type": "python",
                "target": str(folder / target),
                "pool": {"min": 1, "max": 1, "start_timeout": "1s"},
                "restart": never,
            },
            "other": {"type": "python", "target": str(folder / "notes.py:shout")},
        }
    }
    async with flowcore.open_flow(config) as flow:
        assert (await flow.call("other.shout", {"text": "hey"})).text == "HEY"
        assert await flow.agents["mine"].wait_until(State.FAILED) is State.FAILED
        assert flow.agents["mine"].reason == reason
    name = f"flowcore_agent_{target.partition('.')[0]}_"
    for module in [one for key, one in sys.modules.items() if key.startswith(name)]:
        module.go_on.set()


async def test_a_worker_that_is_replaced_lets_its_other_calls_end(folder: Path) -> None:
    """However long they take: nobody told the agent to stop."""
    pool = {"min": 1, "max": 1, "concurrency": 2}
    async with opened(folder, target="notes.py:Notes", pool=pool, shutdown="0s") as flow:
        module = sys.modules[type_module(folder)]
        said: list[str] = []

        async def linger() -> None:
            said.append((await flow.call("mine.linger")).text)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(linger)
            await module.lingering.wait()
            await give_up_on_work(flow, folder)
            module.go_on.set()
            assert (await flow.call("mine.greet", {"name": "ann"})).text.endswith("from mine/2")
            with trio.fail_after(60):
                while flow.agents["mine"].statistics().left_behind:
                    await trio.lowlevel.checkpoint()
            assert module.closed == []
            module.let_go.set()
        assert said == ["mine/1"]


async def test_a_node_ends_while_a_thread_goes_on(folder: Path) -> None:
    async with opened(folder, target="notes.py:Notes", pool={"max": 1}, shutdown="0s") as flow:
        module = await give_up_on_work(flow, folder)
        with trio.fail_after(60):
            while module.opened != ["mine/1", "mine/2"]:
                await trio.lowlevel.checkpoint()
    assert module.ended == []
    assert sorted(module.closed) == ["mine/1", "mine/2"]
    module.go_on.set()


async def test_what_all_share_is_not_replaced(folder: Path) -> None:
    """A function has no instance that two calls could meet in."""
    async with opened(folder, target="notes.py:wait") as flow:
        module = sys.modules[type_module(folder)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flow.call, "mine.wait")
            await trio.to_thread.run_sync(module.started.acquire)
            nursery.cancel_scope.cancel()
        one = flow.agents["mine"].statistics()
        assert (one.left_behind, one.retired) == (1, 0)
        module.go_on.set()
        assert (await flow.call("mine.wait")).text == "waited"


async def test_a_function_is_one_tool_under_the_name_it_is_given(folder: Path) -> None:
    async with opened(folder, target="notes.py:shout", tool="cry") as flow:
        assert (await flow.call("mine.cry", {"text": "x"})).text == "X"
        statistics = flow.agents["mine"].statistics()
        assert statistics.pool is not None
        assert statistics.pool.workers == 1


async def test_a_tool_that_exits_ends_nothing_but_its_call(folder: Path) -> None:
    async with opened(folder, target="notes.py:Notes") as flow:
        assert (await flow.call("mine.leave")).text == "SystemExit: 1"
        assert (await flow.call("mine.greet", {"name": "bob"})).text.startswith("hello, bob")


async def test_a_restart_reads_the_file_again(folder: Path) -> None:
    async with opened(folder, target="notes.py:shout") as flow:
        assert (await flow.call("mine.shout", {"text": "x"})).text == "X"
        (folder / "notes.py").write_text("def shout(text: str) -> str:\n    return text * 2\n")
        agent = flow.agent("mine")
        lives = agent.statistics().lives
        agent.restart()
        with trio.fail_after(60):
            while agent.statistics().lives == lives or not agent.state.available:
                await trio.lowlevel.checkpoint()
        assert (await flow.call("mine.shout", {"text": "x"})).text == "xx"


@pytest.mark.parametrize(
    ("code", "target", "reason"),
    [
        ("raise SystemExit(2)", "bad.py", "called sys.exit(2)"),
        ("import nowhere_at_all", "bad.py", "No module named 'nowhere_at_all'"),
        ("def x(:", "bad.py", "SyntaxError"),
        ("x = 1", "bad.py:y", "has no 'y'"),
        ("x = 1", "bad.py:x", "nothing in it is marked"),
        ("x = 1", "bad.py", "nothing in it is marked"),
        ("", "missing.py", "there is no file"),
        ("def f(a, /): ...", "bad.py:f", "cannot be given by name"),
        (
            "class A:\n  def __init__(self):\n    raise ValueError('no luck')\n"
            "  def __call__(self): ...",
            "bad.py:A",
            "no luck",
        ),
        (
            "class A:\n  def __init__(self):\n    import sys; sys.exit(5)\n"
            "  def __call__(self): ...",
            "bad.py:A",
            "called sys.exit(5)",
        ),
    ],
)
async def test_what_cannot_be_an_agent_fails_alone_with_its_reason(
    folder: Path, code: str, target: str, reason: str
) -> None:
    (folder / "bad.py").write_text(code)
    config = {
        "agent": {
            "bad": {"type": "python", "target": str(folder / target)},
            "good": {"type": "python", "target": str(folder / "notes.py:shout")},
        }
    }
    async with flowcore.open_flow(config) as flow:
        await flow.wait_settled()
        bad = flow.agent("bad")
        assert bad.state is State.FAILED
        assert reason in bad.reason
        assert (await flow.call("good.shout", {"text": "x"})).text == "X"


async def test_a_module_on_the_path_can_be_a_target(tmp_path: Path) -> None:
    config = {"agent": {"json": {"type": "python", "target": "textwrap:shorten"}}}
    async with flowcore.open_flow(config) as flow:
        await flow.wait_settled()
        assert flow.agent("json").state is State.FAILED  # it takes **kwargs
    assert load_target("json.decoder:JSONDecoder.decode", tmp_path).__name__ == "decode"
    with pytest.raises(AssemblyError, match="no module 'nowhere'"):
        load_target("nowhere.at_all:x", tmp_path)
    with pytest.raises(AssemblyError, match="there is no file"):
        load_target("./x.py", tmp_path)


def test_a_file_that_fails_leaves_no_module(tmp_path: Path) -> None:
    (tmp_path / "broken_one.py").write_text("raise KeyError('x')")
    with pytest.raises(KeyError):
        load_target("./broken_one.py", tmp_path)
    assert not [name for name in sys.modules if name.startswith("flowcore_agent_broken_one")]


def len_of(text: str) -> int:
    return len(text)


async def test_options_are_for_classes() -> None:
    config = PythonConfig(target="x:y", options={"a": 1})
    with pytest.raises(AssemblyError, match="no class that could take options"):
        PythonSource(len_of, config)


async def test_the_state_key_must_be_long(tmp_path: Path) -> None:
    PythonConfig(target="x:y", state_key=Secret(secrets.token_hex(16)))
    with pytest.raises(ValueError, match="32 bytes or more"):
        PythonConfig(target="x:y", state_key=Secret("short"))
    config = {"agent": {"mine": {"type": "python", "target": "no spaces:here at all"}}}
    with pytest.raises(ConfigError, match="import path"):
        async with flowcore.open_flow(config):
            pass


async def test_a_worker_of_a_class_is_opened_with_its_agent(folder: Path) -> None:
    cls = load_target("notes.py:Notes", folder)
    source = PythonSource(cls, PythonConfig(target="notes.py:Notes"))
    assert source.pool_defaults.min == 5
    port = RecordingPort()
    async with source.open_worker(port) as worker:
        await worker.ping()
        assert [len(one.tools) for one in port.catalogs] == [5]


async def test_a_class_without_a_signature_is_given_nothing() -> None:
    source = PythonSource(
        type("A", (dict,), {"__call__": lambda self: "x"}), PythonConfig(target="x:A")
    )
    port = RecordingPort()
    async with source.open_worker(port):
        assert port.catalogs[0].tools[0].name == "a"
