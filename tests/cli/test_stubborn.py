"""Plugins that fail, hang and never let go, under a real flowserve: what a person sees, and how it ends."""

from __future__ import annotations

import pathlib
import signal

import pytest

from support.node import ROOT, Node, run, serving, started

PLUGIN = """
from __future__ import annotations

import contextlib

import attrs
import trio

from flowcore import Factory, hookimpl
from flowcore.config import setting


@attrs.frozen(kw_only=True)
class Config:
    how: str = setting("", help="how it goes wrong")


class Opened:
    endpoints = ("nowhere",)


@contextlib.asynccontextmanager
async def open_odd(config, context):
    how = config.how
    print("opening", how, flush=True)
    if how == "hang":
        await trio.sleep_forever()
    elif how == "shield":
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()
    elif how == "raise":
        raise ValueError("no cable")
    elif how == "group":
        raise ExceptionGroup("many", [ValueError("one"), OSError("two")])
    elif how == "exit":
        raise SystemExit(5)
    elif how == "nothing":
        return
    elif how == "none":
        yield None
        return
    try:
        yield Opened()
    finally:
        if how == "drain hangs":
            await trio.sleep_forever()
        elif how == "drain shields":
            with trio.CancelScope(shield=True):
                await trio.sleep_forever()
        elif how == "drain raises":
            raise ValueError("the cable is stuck")


async def open_plain(config, context):
    return Opened()


@hookimpl
def flow_register(registry):
    for kind in ("edge", "agent", "balancer"):
        registry.add(Factory(kind, "odd", Config, open_odd))
    registry.add(Factory("edge", "plain", Config, open_plain))
"""

CONFIG = f"""
[plugins]
files = ["odd.py"]
[supervision]
shutdown = "60s"
[agent.demo]
type = "python"
target = "{ROOT}/tests/support/agents.py"
[edge.api]
type = "api"
bind = "127.0.0.1:0"
"""

FAULTS = [
    ("odd", "raise", "ValueError: no cable"),
    ("odd", "group", "ValueError: one; OSError: two"),
    ("odd", "exit", "edge type 'odd' called sys.exit(5)"),
    ("odd", "nothing", "RuntimeError: generator didn't yield"),
    ("odd", "none", "open of edge type 'odd' yields None, which has no endpoints"),
    (
        "plain",
        "",
        "gives 'coroutine', not an async context manager; is @asynccontextmanager missing?",
    ),
]


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "odd.py").write_text(PLUGIN)
    return tmp_path


def config(folder: pathlib.Path, more: str) -> pathlib.Path:
    path = folder / "flow.toml"
    path.write_text(CONFIG + more)
    return path


@pytest.mark.parametrize(("type_", "how", "says"), FAULTS)
def test_an_edge_that_cannot_open_ends_the_start_with_its_reason(
    folder: pathlib.Path, type_: str, how: str, says: str
) -> None:
    path = config(folder, f'[edge.x]\ntype = "{type_}"\nhow = "{how}"\n')
    done = run("flowserve", "--config", str(path))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("flowserve: edge.x: ")
    assert done.stderr.splitlines()[-1].endswith(says)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("part", ["agent", "balancer"])
def test_agents_that_cannot_open_leave_the_others_in_peace(folder: pathlib.Path, part: str) -> None:
    hows = {"raise": "failed", "exit": "failed", "none": "failed", "hang": "starting"}
    tables = ""
    for number, how in enumerate(hows):
        odd = f'type = "odd", how = "{how}"'
        chosen = (
            f'type = "odd"\nhow = "{how}"'
            if part == "agent"
            else f'type = "python"\ntarget = "math:gcd"\nbalancer = {{ {odd} }}'
        )
        tables += f"[agent.x{number}]\n{chosen}\n"
    with serving(config(folder, tables)) as node:
        assert node.ctl("call", "demo.echo", "text=hi").stdout == "hi\n"
        states = {one["name"]: one for one in node.ctl_json("agents")["agents"]}
        for number, (how, state) in enumerate(hows.items()):
            assert states[f"x{number}"]["state"] in (state, "starting"), how
        assert "called sys.exit(5)" in states["x1"]["reason"]
        assert "yields None, which has no" in states["x2"]["reason"]
        assert node.end() == 0


def signalled(folder: pathlib.Path, how: str, *numbers: int) -> Node:
    """A node whose edge is stubborn when it opens, sent signals one by one; ended."""
    path = config(folder, f'[edge.x]\ntype = "odd"\nhow = "{how}"\n')
    with started(path) as node:
        node.wait_for("opening")
        for number, said in zip(numbers[:-1], ("stopping at once",), strict=False):
            node.process.send_signal(number)
            node.wait_for(said)
        node.end(numbers[-1])
        return node


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_start_that_hangs(folder: pathlib.Path, number: int) -> None:
    assert signalled(folder, "hang", number).process.returncode == 0


def test_a_start_that_cannot_be_cancelled_is_left_at_the_second_signal(
    folder: pathlib.Path,
) -> None:
    node = signalled(folder, "shield", signal.SIGTERM, signal.SIGTERM)
    assert node.process.returncode == 1
    assert "leaving without it" in node.said[-1]


def test_the_second_signal_ends_a_drain_that_hangs(folder: pathlib.Path) -> None:
    with serving(config(folder, '[edge.x]\ntype = "odd"\nhow = "drain hangs"\n')) as node:
        node.process.send_signal(signal.SIGTERM)
        node.wait_for("draining")
        assert node.end() == 0
        assert not any("did not stop within" in line for line in node.said)


def test_the_third_signal_ends_a_drain_that_cannot_be_cancelled(folder: pathlib.Path) -> None:
    with serving(config(folder, '[edge.x]\ntype = "odd"\nhow = "drain shields"\n')) as node:
        for said in ("draining", "stopping at once"):
            node.process.send_signal(signal.SIGTERM)
            node.wait_for(said)
        assert node.end() == 1
        assert "leaving without it" in node.said[-1]


def test_a_drain_that_fails_is_told_of_and_ends_nothing_else(folder: pathlib.Path) -> None:
    with serving(config(folder, '[edge.x]\ntype = "odd"\nhow = "drain raises"\n')) as node:
        assert node.end() == 0
        assert any(
            "child 'x' failed to stop: ValueError: the cable is stuck" in line for line in node.said
        )


def test_signals_that_a_starting_node_cannot_heed_yet_are_answered(folder: pathlib.Path) -> None:
    with started(config(folder, '[edge.x]\ntype = "odd"\nhow = "hang"\n')) as node:
        node.wait_for("opening hang")
        node.process.send_signal(signal.SIGHUP)
        node.wait_for("not reloaded: the node is starting or stopping")
        node.process.send_signal(signal.SIGUSR1)
        node.wait_for("end of the task tree")
        assert node.end() == 0
