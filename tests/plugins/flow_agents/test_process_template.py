"""The process agent whose processes are forked from a template."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from flowcore import Flow, open_flow
from flowcore.agents import State
from flowcore.config import ConfigError
from flowcore.errors import CallError, OutcomeUnknown, UpstreamFailure
from support.living import alive, children, open_fds, wait_dead
from support.node import ROOT, serving

ROGUE = Path(__file__).with_name("rogue.py")
EXAMPLE = Path(__file__).parents[3] / "examples" / "process_agent.py"
LATER = {"base": "1h", "cap": "1h"}


@asynccontextmanager
async def open_forked(target: str, **settings: Any) -> AsyncGenerator[Flow]:
    """A flow with the agent `it`, one process of the target at most."""
    agent = {
        "type": "process",
        "template": target,
        "close_grace": "10ms",
        "term_grace": "10ms",
        "restart": {"base": "1ms", "cap": "10ms", "limit": 1000},
        "pool": {"max": 1},
        **settings,
    }
    async with open_flow({"agent": {"it": agent}}) as flow:
        with trio.fail_after(120):
            await flow.wait_settled()
            yield flow


def rogue(**settings: Any) -> Any:
    return open_forked(f"{ROGUE}:main", **settings)


def processes() -> list[int]:
    """The ids of the launcher's children, the template and its forks."""
    found: list[int] = []
    for launcher in children():
        found += map(int, Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split())
    return found


async def test_the_example_works() -> None:
    async with open_forked(f"{EXAMPLE}:main") as flow:
        result = await flow.call("it.add", {"a": 2, "b": 40})
        assert result.structured == {"sum": 42}
        assert (await flow.call("it.count", {"to": 3})).text == "counted to 3"


async def test_any_interpreter_can_run_it() -> None:
    async with open_forked(f"{EXAMPLE}:main", command=["python", "-I", "-S", "-B"]) as flow:
        assert (await flow.call("it.add", {"a": 1, "b": 1})).structured == {"sum": 2}


def write_counting(folder: Path, text: str) -> None:
    """An agent in a module of its own that tells its process, its template's, and a text."""
    (folder / "counting.py").write_text(
        f"""
import json, os, sys
TEMPLATE = os.getpid()
print("imported", file=sys.stderr, flush=True)

def main():
    for line in sys.stdin:
        request = json.loads(line)
        result = {{"tools": [{{"name": "who"}}, {{"name": "exit"}}]}}
        if request["method"] == "call":
            if request["params"]["tool"] == "exit":
                sys.exit(7)
            result = dict(pid=os.getpid(), template=TEMPLATE, text={text!r}, env=os.environ["OWN"])
        print(json.dumps(dict(jsonrpc="2.0", id=request["id"], result=result)), flush=True)
"""
    )


async def test_the_module_is_imported_once_for_all_processes_until_the_agent_restarts(
    tmp_path: Path,
) -> None:
    write_counting(tmp_path, "old")
    settings = {"cwd": str(tmp_path), "env": {"OWN": "mine"}}
    async with open_forked("counting:main", **settings) as flow:
        first = (await flow.call("it.who")).structured
        assert (first["text"], first["env"]) == ("old", "mine")
        write_counting(tmp_path, "new, and longer")
        with pytest.raises(OutcomeUnknown, match="exited with code 7"):
            await flow.call("it.exit")
        second = (await flow.call("it.who")).structured
        assert second["text"] == "old"
        assert second["template"] == first["template"]
        assert second["pid"] != first["pid"]
        assert flow.agent("it").status()["stderr"] == ["it/1: imported"]
        flow.agent("it").restart()
        await wait_dead([second["template"], second["pid"]])
        await flow.agent("it").wait_until(State.IDLE)
        third = (await flow.call("it.who")).structured
        assert third["text"] == "new, and longer"
        assert third["template"] != first["template"]


async def test_when_the_template_is_killed_its_forks_work_on_and_another_takes_over(
    tmp_path: Path,
) -> None:
    write_counting(tmp_path, "")
    settings = {"cwd": str(tmp_path), "env": {"OWN": ""}}
    async with open_forked("counting:main", **settings) as flow:
        first = (await flow.call("it.who")).structured
        os.kill(first["template"], signal.SIGKILL)
        await wait_dead([first["template"]])
        assert (await flow.call("it.who")).structured == first
        with pytest.raises(OutcomeUnknown):
            await flow.call("it.exit")
        second = (await flow.call("it.who")).structured
        assert second["template"] != first["template"]
        assert flow.agent("it").status()["lives"] == 1


async def test_a_template_that_does_not_fork_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowcore.processes.template.FORK_PATIENCE", 1.0)
    write_counting(tmp_path, "")
    settings = {"cwd": str(tmp_path), "env": {"OWN": ""}}
    async with open_forked("counting:main", **settings) as flow:
        first = (await flow.call("it.who")).structured
        os.kill(first["template"], signal.SIGSTOP)
        with pytest.raises(OutcomeUnknown):
            await flow.call("it.exit")
        second = (await flow.call("it.who")).structured
        assert second["template"] != first["template"]
        assert not alive(first["template"])


@pytest.mark.parametrize(
    ("text", "reason", "said"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'", True),
        ("1 / 0", "ZeroDivisionError: division by zero", True),
        ("def main(:", "SyntaxError", True),
        ("import sys; sys.exit('no licence')", "it called sys.exit('no licence')", False),
        ("main = 7", "'main' is no function", False),
        ("start = 7", "has no attribute 'main'", True),
        (
            "import threading, time\n"
            "threading.Thread(target=time.sleep, args=[1000], daemon=True).start()\n"
            "def main(): ...",
            "it runs 2 threads once it is imported",
            False,
        ),
        (
            "import asyncio; loop = asyncio.new_event_loop()\ndef main(): ...",
            "it has an event loop once it is imported",
            False,
        ),
        ("import os; os.kill(os.getpid(), 11)", "before it was ready: it was killed by SIG", False),
        ("import os; os._exit(9)", "ended before it was ready: it exited with code 9", False),
    ],
)
async def test_one_that_cannot_be_is_failed_with_its_reason(
    tmp_path: Path, text: str, reason: str, said: bool
) -> None:
    (tmp_path / "bad.py").write_text(text)
    async with open_forked("./bad.py:main", cwd=str(tmp_path), restart=LATER) as flow:
        status = flow.agent("it").status()
        assert status["state"] == "failed"
        assert reason in status["reason"]
        assert "./bad.py:main" in status["reason"]
        last = reason.rpartition(": ")[2]
        assert any(last in line for line in status["stderr"]) is said
        (tmp_path / "bad.py").write_text(EXAMPLE.read_text() + "\n# and now it is well\n")
        flow.agent("it").restart()
        await flow.agent("it").wait_until(State.IDLE)
        assert (await flow.call("it.add", {"a": 1, "b": 2})).structured == {"sum": 3}


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (["no-such-python"], "'no-such-python' was not found on the PATH"),
        (["cat"], "'cat' is no Python that could run a template"),
        (["python", "-Q"], "ended before it was ready: it exited with code 2"),
    ],
)
async def test_an_interpreter_that_is_none_is_the_reason(command: list[str], reason: str) -> None:
    async with rogue(command=command, restart=LATER) as flow:
        assert reason in flow.agent("it").reason


async def test_an_import_without_end_is_cut_off(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import signal\nwhile True: signal.pause()\n")
    settings = {"cwd": str(tmp_path), "restart": LATER, "pool": {"start_timeout": "300ms"}}
    async with open_forked("slow:main", **settings) as flow:
        assert "was not ready within 0.3 s" in flow.agent("it").reason


@pytest.mark.parametrize(
    "settings",
    [
        {"template": "module"},
        {"template": "module:"},
        {"template": ":main"},
        {"template": "a:b c"},
        {"template": ["a:b"]},
        {"template": None},
    ],
)
async def test_a_wrong_configuration_is_refused(settings: dict[str, Any]) -> None:
    agent = {"type": "process", **{key: one for key, one in settings.items() if one is not None}}
    with pytest.raises(ConfigError, match="template"):
        async with open_flow({"agent": {"it": agent}}):
            pytest.fail("it was opened")


@pytest.mark.parametrize(
    ("tool", "error"),
    [
        ("exit", OutcomeUnknown),
        ("close_output", OutcomeUnknown),
        ("not_json", UpstreamFailure),
        ("wrong_id", UpstreamFailure),
        ("long_line", UpstreamFailure),
        ("chatter", UpstreamFailure),
    ],
)
async def test_one_that_misbehaves_is_forked_anew(tool: str, error: type[CallError]) -> None:
    async with rogue() as flow:
        with pytest.raises(error):
            await flow.call(f"it.{tool}")
        assert (await flow.call("it.value", {"value": 1})).structured == {"result": 1}


async def test_a_stubborn_one_is_killed_with_its_flow() -> None:
    async with rogue(env={"ROGUE": "stubborn"}) as flow:
        assert (await flow.call("it.value", {"value": 1})).structured == {"result": 1}
        pids = processes()
        assert len(pids) == 2
    assert not any(map(alive, pids))


async def test_a_hundred_crashes_leave_nothing() -> None:
    async with rogue(pool={"max": 1, "idle_timeout": "20ms"}) as flow:
        await _until_only_the_template_is_left()
        [template] = processes()
        before, fds, its = children(), open_fds(), len(os.listdir(f"/proc/{template}/fd"))
        for _ in range(100):
            with pytest.raises(OutcomeUnknown):
                await flow.call("it.exit")
        await _until_only_the_template_is_left()
        assert processes() == [template]
        assert children() <= before
        assert len(os.listdir(f"/proc/{template}/fd")) == its
        with trio.fail_after(60):
            while not open_fds() <= fds:
                await trio.lowlevel.checkpoint()


async def _until_only_the_template_is_left() -> None:
    while len(processes()) > 1:
        await trio.lowlevel.checkpoint()


def below(pid: int) -> list[int]:
    """The ids of every process below one, that one excluded."""
    found = [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*found, *(deeper for one in found for deeper in below(one))]


async def test_the_configuration_runs_and_all_of_it_dies_with_flowserve() -> None:
    free = ["--set", "edge.mcp.bind=127.0.0.1:0", "--set", "edge.api.bind=127.0.0.1:0"]
    with serving(ROOT / "configs" / "processes.toml", *free) as node:
        for agent in ("warm", "forked"):
            assert node.ctl("call", f"{agent}.add", "a=2", "b=40").stdout == '{"sum": 42}\n'
        pids = below(node.process.pid)
        assert len(pids) == 1 + 2 + 2  # the launcher, two warm ones, the template and its fork
        node.process.kill()
        await wait_dead(pids)
