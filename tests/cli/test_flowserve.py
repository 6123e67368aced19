"""flowserve as a person runs it: real processes, signals, ports and exit codes."""

from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys

import jsonschema
import pytest

from support.node import BIN, ROOT, Node, run, serving

CONFIG = """
[node]
name = "under-test"
data_dir = "{data}"

[agent.demo]
type = "python"
target = "{root}/tests/support/agents.py"

[agent.broken]
type = "python"
target = "there.is.no.such.module"

[edge.mcp]
type = "mcp"
bind = "127.0.0.1:0"

[edge.api]
type = "api"
bind = "127.0.0.1:0"
"""


HELD = """
[agent.held]
type = "python"
target = "./held.py"
"""
HOLDING = """
import pathlib
import trio
from flowcore.native import tool

@tool()
async def wait() -> str:
    while not pathlib.Path({go!r}).exists():
        await trio.sleep(0.01)
    return "waited"
"""


@pytest.fixture
def config(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "flow.toml"
    path.write_text(CONFIG.format(data=tmp_path / "data", root=ROOT))
    return path


@pytest.fixture
def go(config: pathlib.Path) -> pathlib.Path:
    """The file for which `held.wait` waits."""
    path = config.parent / "go"
    (config.parent / "held.py").write_text(HOLDING.format(go=str(path)))
    config.write_text(config.read_text() + HELD)
    return path


def roles(node: Node, agent: str) -> list[str]:
    """What an agent of a node is for, as told now."""
    found: list[str]
    (found,) = (one["roles"] for one in node.ctl_json("agents")["agents"] if one["name"] == agent)
    return found


def test_a_node_says_what_runs_and_where_and_ends_with_0_on_term(config: pathlib.Path) -> None:
    with serving(config) as node:
        assert node.mcp.endswith("/mcp")
        snippet = next(line for line in node.said if "mcpServers" in line)
        assert json.loads(snippet)["mcpServers"]["under-test"]["url"] == node.mcp
        assert node.end() == 0


def test_flowctl_shows_and_steers_a_node(config: pathlib.Path) -> None:
    with serving(config) as node:
        status = node.ctl("status")
        assert status.returncode == 0
        assert re.search(r"agent\.broken +python +failed .*no module 'there'", status.stdout)
        assert "node under-test" in status.stdout
        agents = {one["name"]: one for one in node.ctl_json("agents")["agents"]}
        assert agents["demo"]["state"] == "idle"
        assert agents["broken"]["state"] in ("failed", "starting")
        assert "demo.echo" in node.ctl("tools").stdout.splitlines()
        assert "broken" in node.ctl("tools").stderr

        called = node.ctl("call", "demo.echo", "text=hi", "times=3")
        assert (called.returncode, called.stdout) == (0, "hihihi\n")
        assert node.ctl("call", "demo.add", "--arguments", '{"a": 1, "b": 2}').stdout == "3\n"
        more = ("--priority", "high", "--affinity", "ann", "--idempotency-key", "k")
        for order in ('{"a": 1, "b": 2}', '{"b": 2, "a": 1}'):
            assert node.ctl("call", "demo.add", "--arguments", order, *more).stdout == "3\n"
        assert node.ctl_json("status")["requests"]["replayed"] == 1
        assert node.ctl_json("call", "demo.add", "a=1", "b=2")["result"]["structuredContent"] == {
            "result": 3
        }

        assert node.ctl("agents", "pause", "demo").stdout == "demo: paused\n"
        refused = node.ctl("call", "demo.echo", "text=hi")
        assert refused.returncode == 1
        assert "agent 'demo' is paused" in refused.stderr
        assert node.ctl("agents", "resume", "demo").returncode == 0
        assert node.ctl("agents", "restart", "demo").returncode == 0
        assert node.ctl_json("agents", "show", "demo")["name"] == "demo"
        tasks = node.ctl_json("tasks")["requests"]
        assert [one["state"] for one in tasks if one["name"] == "echo"] == ["result"]
        said = node.ctl("tasks").stdout
        assert "echo" in said
        assert said.startswith("tasks: 0 begun, 0 running")
        assert node.ctl_json("status")["tasks"]["begun"] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["call", "demo.nothing"], 1, "unknown tool 'demo.nothing'"),
        (["call", "demo.add", "a=1", "b=x"], 1, "arguments.b of 'add'"),
        (["call", "demo.fail", "how=tool"], 1, ""),
        (["call", "demo.wait", "seconds=60", "--deadline", "0.2"], 1, "before the deadline"),
        (["call", "demo.echo", "text=x", "--priority", "urgent"], 2, "invalid choice: 'urgent'"),
        (["call", "demo.echo", "text"], 2, "expected KEY=VALUE"),
        (["call", "demo.echo", "--arguments", "[1]"], 2, "expected a JSON object"),
        (["call", "demo.echo", "--arguments", "{"], 2, "expected a JSON object"),
        (["agents", "pause"], 2, "needs the name of an agent"),
        (["agents", "pause", "nobody"], 1, "there is no agent 'nobody'"),
        (["agents", "resume", "demo"], 1, "not paused"),
    ],
)
def test_flowctl_says_what_went_wrong(
    config: pathlib.Path, arguments: list[str], code: int, says: str
) -> None:
    with serving(config) as node:
        done = node.ctl(*arguments)
        assert done.returncode == code
        assert says in done.stderr


def test_flowctl_without_a_node_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    done = run("flowctl", "status", "--url", f"http://127.0.0.1:{port}")
    assert done.returncode == 1
    assert f"no node at http://127.0.0.1:{port}: Connection refused" in done.stderr


def test_two_signals_stop_at_once_while_a_call_runs(config: pathlib.Path) -> None:
    with serving(config) as node:
        call = subprocess.Popen(
            [str(BIN / "flowctl"), "call", "demo.wait", "seconds=600", "--url", node.api],
            stderr=subprocess.DEVNULL,
        )
        while not any(one["state"] == "running" for one in node.ctl_json("tasks")["requests"]):
            pass
        node.process.send_signal(signal.SIGTERM)
        node.wait_for("draining")
        assert node.end() == 0
        assert any("stopping at once" in line for line in node.said)
        assert call.wait(timeout=30) == 1


def test_term_lets_a_call_finish(config: pathlib.Path, go: pathlib.Path) -> None:
    with serving(config) as node:
        command = [str(BIN / "flowctl"), "call", "held.wait", "--url", node.api]
        call = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        while not any(one["state"] == "running" for one in node.ctl_json("tasks")["requests"]):
            pass
        node.process.send_signal(signal.SIGTERM)
        node.wait_for("draining")
        go.touch()
        assert node.process.wait(timeout=60) == 0
        out, _ = call.communicate(timeout=30)
        assert (call.returncode, out) == (0, "waited\n")


def test_a_call_that_outlasts_the_drain_is_told_so(config: pathlib.Path) -> None:
    with serving(config, "--set", "node.drain=100ms") as node:
        command = [str(BIN / "flowctl"), "call", "demo.wait", "seconds=600", "--url", node.api]
        call = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        while not any(one["state"] == "running" for one in node.ctl_json("tasks")["requests"]):
            pass
        assert node.end() == 0
        _, said = call.communicate(timeout=30)
        assert (call.returncode, said) == (
            1,
            "flowctl: agent 'demo' did not answer before the deadline\n",
        )
        assert any("1 requests were still running and were cut off" in one for one in node.said)


def test_hup_applies_what_is_reloadable_and_names_the_rest(config: pathlib.Path) -> None:
    with serving(config) as node:
        text = config.read_text()
        config.write_text(text.replace('name = "under-test"', 'name = "other"\ndrain = "3s"'))
        node.process.send_signal(signal.SIGHUP)
        assert "node.drain" in node.wait_for("reloaded: ")
        assert "node.name (" in node.wait_for("needs a restart")
        config.write_text(text + "\nwrong = 1\n")
        node.process.send_signal(signal.SIGHUP)
        node.wait_for("running on with the old configuration")
        assert "unknown key" in node.wait_for("unknown key")
        assert node.ctl("status").returncode == 0


def test_hup_has_loggers_tell_what_the_configuration_says(config: pathlib.Path) -> None:
    named = {"flowcore.flow": "debug", "flowcore.agents": "error"}
    text = config.read_text()
    config.write_text(text + '\n[log.levels]\n"flowcore.flow" = "debug"\n')
    with serving(config) as node:
        node.ctl_json("logs", "level", "flowcore.agents", "error")
        assert node.ctl_json("logs")["levels"].items() >= named.items()
        config.write_text(text)
        node.process.send_signal(signal.SIGHUP)
        node.wait_for("reloaded: ")
        assert not named.keys() & node.ctl_json("logs")["levels"].keys()
        assert node.ctl_json("logs")["levels"][""] == "info"


def test_hup_brings_replaces_and_ends_agents_while_calls_go_on(
    config: pathlib.Path, go: pathlib.Path
) -> None:
    with serving(config) as node:
        text = config.read_text()
        long = [str(BIN / "flowctl"), "call", "held.wait", "--url", node.api]
        with subprocess.Popen(long, stdout=subprocess.PIPE, text=True) as call:
            while not any(one["state"] == "running" for one in node.ctl_json("tasks")["requests"]):
                pass
            held = text.replace('held.py"', 'held.py"\nroles = ["shown"]\ndeadline = "9s"')
            more = f'\n[agent.text]\ntype = "python"\ntarget = "{ROOT}/examples/text_agent.py"\n'
            config.write_text(held.replace("there.is.no.such", "there.is.none") + more)
            node.process.send_signal(signal.SIGHUP)
            while roles(node, "held") != ["shown"]:
                pass
            go.touch()
            line = node.wait_for("reloaded: ")
            assert "agent.held" in line
            assert "agent.text" in line
            assert "agent.broken" in line
            out, _ = call.communicate(timeout=60)
        assert call.returncode == 0, out
        agents = {one["name"]: one for one in node.ctl_json("agents")["agents"]}
        assert "'there.is.none.module'" in agents["broken"]["reason"]
        assert node.ctl("call", "demo.echo", "text=again").stdout == "again\n"
        config.write_text(text)
        node.process.send_signal(signal.SIGHUP)
        assert "agent.text" in node.wait_for("reloaded: ")
        assert "text" not in {one["name"] for one in node.ctl_json("agents")["agents"]}
        assert node.end() == 0


def test_usr1_prints_the_task_tree(config: pathlib.Path) -> None:
    with serving(config) as node:
        node.process.send_signal(signal.SIGUSR1)
        node.wait_for("end of the task tree")
        assert any("Node.run" in line for line in node.said)
        assert node.ctl("status").returncode == 0


def test_log_lines_can_be_json(config: pathlib.Path) -> None:
    with serving(config, "--log-format", "json", "--log-level", "debug") as node:
        node.end()
        lines = [
            json.loads(line) for line in node.said if line.startswith("{") and '"level"' in line
        ]
        assert {"time", "level", "logger", "message"} <= lines[0].keys()
        failed = next(one for one in lines if "exception" in one)
        assert "there.is.no.such.module" in failed["exception"]


def test_every_line_is_as_the_configuration_says_from_the_first_on(config: pathlib.Path) -> None:
    config.write_text(config.read_text() + '\n[log]\nformat = "json"\nlevel = "debug"\n')
    with serving(config) as node:
        node.end()
        logged = [line for line in node.said if "flowcore." in line and "File " not in line]
        assert len(logged) > 3
        assert all(json.loads(line)["level"] for line in logged)


def test_systemd_is_told_when_the_node_is_ready_and_when_it_stops(
    config: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        path = tmp_path / "notify"
        listener.bind(str(path))
        with serving(config, env={**os.environ, "NOTIFY_SOCKET": str(path)}) as node:
            assert b"READY=1" in listener.recv(4096)
            node.process.send_signal(signal.SIGHUP)
            assert b"RELOADING=1" in listener.recv(4096)
            assert b"READY=1" in listener.recv(4096)
            assert node.end() == 0
            assert b"STOPPING=1" in listener.recv(4096)


def test_a_taken_port_is_a_failure_at_run_time(config: pathlib.Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        done = run("flowserve", "--config", str(config), "--set", f"edge.api.bind={address}")
    assert done.returncode == 1
    assert f"cannot listen on {address}" in done.stderr
    assert "Traceback" not in done.stdout


def test_check_config_reports_all_problems_and_exits_with_2(config: pathlib.Path) -> None:
    good = run("flowserve", "--check-config", "--config", str(config))
    assert (good.returncode, good.stdout) == (0, f"{config}: 2 agents, 2 edges, no problems\n")
    config.write_text(config.read_text() + '\n[agent.flow]\ntype = "pyton"\n')
    bad = run("flowserve", "--check-config", "--config", str(config), "--set", "node.nam=x")
    assert bad.returncode == 2
    assert bad.stderr.splitlines() == [
        "--set node.nam: unknown key, did you mean 'name'? (known: data_dir, drain, name, seal_key, seed)",
        f"{config}:22: agent.flow: this name is the node's own (flow.agents, flow.status); take another",
        f"{config}:23: agent.flow.type: unknown agent type 'pyton', did you mean 'python'?"
        f" (known: {_agent_types()})",
    ]


def _agent_types() -> str:
    listed = json.loads(run("flowserve", "plugins", "--json").stdout)["types"]
    return ", ".join(one["type"] for one in listed if one["kind"] == "agent")


def test_an_edge_beyond_loopback_is_refused(config: pathlib.Path) -> None:
    done = run(
        "flowserve",
        "--check-config",
        "--config",
        str(config),
        "--set",
        "edge.mcp.bind=0.0.0.0:7300",
    )
    assert done.returncode == 2
    assert "listens on 0.0.0.0" in done.stderr
    assert "beyond this machine, without authentication, which is refused" in done.stderr


def test_one_port_claimed_twice_is_refused(config: pathlib.Path) -> None:
    done = run(
        "flowserve",
        "--check-config",
        "--config",
        str(config),
        "--set",
        "edge.mcp.bind=127.0.0.1:7399",
        "--set",
        "edge.api.bind=127.0.0.1:7399",
    )
    assert done.returncode == 2
    assert "tcp 127.0.0.1:7399 is claimed here and by edge." in done.stderr


def test_the_commands_that_look_without_running(config: pathlib.Path) -> None:
    shown = run("flowserve", "config", "show", "--config", str(config))
    assert shown.returncode == 0
    assert 'balancer = { type = "least_connections"' in shown.stdout
    graph = run("flowserve", "graph", "--config", str(config))
    assert graph.stdout.startswith("flowchart LR")
    assert '"agent.demo (python)"' in graph.stdout
    plugins = run("flowserve", "plugins")
    assert re.search(r"balancer +peak_ewma ", plugins.stdout)
    one = run("flowserve", "plugins", "show", "agent.python")
    assert "target" in one.stdout
    assert run("flowserve", "plugins", "show").returncode == 2
    missing = run("flowserve", "plugins", "show", "pyton")
    assert missing.returncode == 2
    assert "no plugin offers 'pyton'" in missing.stderr
    assert run("flowserve", "--version").stdout.startswith("flowserve ")
    assert run("flowserve").returncode == 2
    assert run("flowserve", "--config", "/there/is/none.toml").returncode == 2
    assert "## `[agent.NAME]`" in run("flowserve", "config", "reference").stdout


def test_what_config_show_prints_is_a_configuration(
    config: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    shown = run("flowserve", "config", "show", "--config", str(config)).stdout
    again = tmp_path / "again.toml"
    again.write_text(shown)
    assert run("flowserve", "config", "show", "--config", str(again)).stdout == shown


def test_the_schema_accepts_the_quick_start_and_refuses_what_flowserve_refuses() -> None:
    import tomli

    schema = json.loads(run("flowserve", "schema").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    quickstart = tomli.loads((ROOT / "configs" / "quickstart.toml").read_text())
    jsonschema.validate(quickstart, schema)
    quickstart["agent"]["time"]["commandd"] = []
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(quickstart, schema)


def test_a_disabled_plugin_is_not_imported_and_its_type_is_unknown(
    config: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    done = run(
        "flowserve",
        "--check-config",
        "--config",
        str(config),
        "--set",
        'plugins.disable=["python"]',
    )
    assert done.returncode == 2
    assert "unknown agent type 'python'" in done.stderr
    wrong = run(
        "flowserve", "--check-config", "--config", str(config), "--set", 'plugins.disable=["pyton"]'
    )
    assert "no installed plugin is named 'pyton'" in wrong.stderr


def test_what_plugins_do_can_be_seen_without_starting_a_node(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("import there_is_none")
    path = tmp_path / "flow.toml"
    path.write_text(f'[plugins]\nfiles = ["{broken}"]\n')
    said = run("flowserve", "--check-config", "--config", str(path), "--log-format", "json")
    (line,) = said.stderr.splitlines()
    assert json.loads(line)["level"] == "warning"
    assert "no module named 'there_is_none'" in json.loads(line)["message"].lower()
    monkeypatch.setenv("FLOWCORE_TRACE_PLUGINS", "1")
    done = run("flowserve", "plugins")
    assert done.returncode == 0
    assert "info    flowcore.assembly.discovery: " in done.stderr
    assert "finish flow_register" in done.stderr


@pytest.mark.parametrize(("said", "threads"), [({}, 1), ({"OMP_NUM_THREADS": "2"}, 2)])
def test_products_are_made_by_one_thread_unless_it_is_said(
    said: dict[str, str], threads: int
) -> None:
    program = (
        "import os\nfrom flowcore.cli.serve import calculate_alone\ncalculate_alone()\n"
        "import numpy\nprint(len(os.listdir('/proc/self/task')))"
    )
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "GOTO_NUM_THREADS")
    env = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**env, **said},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) == min(threads, os.cpu_count() or 1)
