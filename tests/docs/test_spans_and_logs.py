"""docs/observability.md lists every span, attribute, event and log line that the code has, and no other."""

from __future__ import annotations

import re
import runpy

from support.node import ROOT

PAGE = (ROOT / "docs" / "observability.md").read_text()
SPANS = PAGE.partition("<!-- spans")[2].partition("<!-- end of spans -->")[0]
ATTRIBUTE = r"(?:flowcore|gen_ai|mcp|rpc|http|network|client|server|error)\.[a-z_]+(?:\.[a-z_]+)*"
RECORDING = (
    "flowcore/telemetry/conventions.py",
    "flowcore/telemetry/asked.py",
    "flowcore/agents/traced.py",
    "flowcore/agents/calls.py",
    "flowcore/requests/traced.py",
    "flowcore/federation/forwarding.py",
    "flowcore/federation/serving.py",
    "flowcore/routing/router.py",
    "plugins/flow_edges/api/work.py",
    "plugins/flow_edges/mcp/recorded.py",
    "plugins/flow_agents/mcp/worker.py",
    "plugins/flow_agents/http/worker.py",
    "plugins/flow_agents/process/worker.py",
)
"""Where spans are begun, and said what they say."""


def recorded() -> set[str]:
    """Every attribute that the code names."""
    found: set[str] = set()
    for path in RECORDING:
        found.update(re.findall(rf'"({ATTRIBUTE})"', (ROOT / path).read_text()))
    return found | {"error.type"}


def test_every_attribute_is_listed_and_no_other() -> None:
    listed = set(re.findall(rf"`({ATTRIBUTE})`", SPANS))
    assert {one for one in listed if not one.startswith("flowcore.route") or "." in one[9:]} >= {
        *recorded()
    } - {"flowcore.route"}
    spans = {"flowcore.route", "flowcore.requests"}
    assert listed - recorded() - spans == set()


def test_nobody_else_begins_spans() -> None:
    begun = re.compile(r"SpanKind\.(?:SERVER|CLIENT|INTERNAL)")
    for top in ("flowcore", "plugins"):
        for path in (ROOT / top).rglob("*.py"):
            name = str(path.relative_to(ROOT))
            if "telemetry" in name or "exporters" in name:
                continue
            assert not begun.search(path.read_text()) or name in RECORDING, name


def test_every_event_is_listed() -> None:
    source = (ROOT / "plugins" / "flow_edges" / "api" / "telemetry.py").read_text()
    events = set(re.findall(r'"event": "([a-z]+)"', source))
    assert events
    for event in events:
        assert f"| `{event}` |" in PAGE


def test_every_log_line_is_listed_and_no_other() -> None:
    space = runpy.run_path(str(ROOT / "docs" / "log_events.py"))
    assert len(space["log_events"]()) > 50
    assert space["renewed"](PAGE) == PAGE, "run `make docs`"
