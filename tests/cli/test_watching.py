"""`flowctl trace`, `events` and `logs`, against a node of configs/observability/otlp.toml."""

from __future__ import annotations

import json
import threading

from flowcore.cli.watching import event_line
from support.node import ROOT, serving

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


def test_an_event_is_a_line() -> None:
    state = {"event": "state", "agent": "a", "old": "idle", "new": "failed", "reason": "it left"}
    assert event_line(state)[8:] == " state a: idle to failed: it left"
    link = {"event": "link.up", "node": "beta", "other": 1, "nothing": ""}
    assert event_line(link)[8:] == " @beta link.up other=1"
