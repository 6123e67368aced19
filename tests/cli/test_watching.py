"""`flowctl trace`, `events` and `logs`, against a node of configs/observability/otlp.toml."""

from __future__ import annotations

import contextlib
import json
import pathlib
import select
import signal
import subprocess
import threading
import urllib.request

from flowcore.cli.watching import event_line
from support.node import BIN, ROOT, Node, serving
from support.ports import free_port

FREE = ("--set", "edge.mcp.bind=127.0.0.1:0", "--set", "edge.api.bind=127.0.0.1:0")
NOBODY = ("--set", "exporter.collector.endpoint=http://127.0.0.1:9")
CONFIG = ROOT / "configs" / "observability" / "otlp.toml"


def test_a_node_that_is_seen() -> None:
    with serving(CONFIG, *FREE, *NOBODY) as node:

        def ctl(*words: str, ok: int = 0) -> str:
            done = node.ctl(*words)
            assert done.returncode == ok, done.stderr
            return done.stdout

        assert ctl("call", "notes.write", "title=a", "text=b") == "noted: a\n"
        assert "flowctl" not in ctl("call", "notes.read", "title=nothing", ok=1)
        (newest, oldest) = json.loads(ctl("trace", "--json"))["traces"]
        assert (newest["failed"], oldest["failed"]) == (True, False)
        assert newest["trace_id"] in ctl("trace")
        assert oldest["trace_id"] not in ctl("trace", "--failed")
        tree = ctl("trace", oldest["request"]).splitlines()
        assert tree[0].startswith(f"trace {oldest['trace_id']}, ")
        names = [line.lstrip("└├│ ").partition(" (")[0] for line in tree[2:]]
        assert names == [
            "POST /call",
            "invoke_agent notes",
            "execute_tool write",
        ]
        assert "no trace" in node.ctl("trace", "x").stderr

        assert "flowcore.agents  info" in ctl("logs")
        assert "flowcore.swarm   debug" in ctl("logs", "level", "flowcore.swarm", "debug")
        assert "flowcore.swarm" not in ctl("logs", "level", "flowcore.swarm", "unset")
        ctl("logs", "level", "flowcore.swarm", ok=2)
        ctl("logs", "level", "flowcore.nothing", "debug", ok=1)

        heard: list[str] = []
        listening = threading.Thread(
            target=lambda: heard.append(ctl("events", "--count", "1", "--json"))
        )
        listening.start()
        for _ in range(100):
            if heard:
                break
            for step in ("pause", "resume"):
                ctl("agents", step, "notes")
        listening.join()
        event = json.loads(heard[0])
        assert (event["event"], event["agent"]) == ("state", "notes")


def test_events_are_followed_beyond_the_end_of_their_node(tmp_path: pathlib.Path) -> None:
    port = free_port()
    (tmp_path / "flow.toml").write_text(
        f'[agent.echo]\ntype = "python"\ntarget = "{ROOT}/tests/support/agents.py"\n'
        f'[edge.api]\ntype = "api"\nbind = "127.0.0.1:{port}"\n'
    )
    command = [str(BIN / "flowctl"), "--url", f"http://127.0.0.1:{port}", "events", "--json"]

    def told(process: subprocess.Popen[str], node: Node) -> str:
        """The next event, while an agent is paused and resumed."""
        assert process.stdout is not None
        for _ in range(100):
            for step in ("pause", "resume"):
                asked = urllib.request.Request(f"{node.api}/agents/echo/{step}", b"{}")
                urllib.request.urlopen(asked, timeout=30).close()
            if select.select([process.stdout], [], [], 0.2)[0]:
                return process.stdout.readline()
        raise AssertionError("nothing was told")

    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as bad:
        assert bad.wait(timeout=60) == 1  # where there was none to begin with
    with contextlib.ExitStack() as stack:
        with serving(tmp_path / "flow.toml") as node:
            process = stack.enter_context(
                subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            )
            stack.callback(process.kill)
            assert json.loads(told(process, node))["event"] == "state"
            node.end(signal.SIGKILL)
            assert process.stderr is not None
            assert "waiting for events again" in process.stderr.readline()
        with serving(tmp_path / "flow.toml") as node:
            assert process.stdout is not None
            said = [json.loads(process.stdout.readline())]
            while said[-1]["event"] != "resumed":  # those from before
                said.append(json.loads(process.stdout.readline()))
            assert said[-1]["silent"] > 0
            assert json.loads(told(process, node))["agent"] == "echo"


def test_an_event_is_a_line() -> None:
    state = {"event": "state", "agent": "a", "old": "idle", "new": "failed", "reason": "it left"}
    assert event_line(state)[8:] == " state a: idle to failed: it left"
    link = {"event": "link.up", "node": "beta", "other": 1, "nothing": ""}
    assert event_line(link)[8:] == " @beta link.up other=1"
