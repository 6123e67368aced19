"""Make docs/configuration.md, docs/schema.json, and the tables of metrics in docs/observability.md."""

from __future__ import annotations

import importlib
import json
import pathlib
import pkgutil
import re

from flowcore.assembly import FlowConfig, discover, listing
from flowcore.config import json_schema, reference_markdown
from flowcore.telemetry import Metric

HERE = pathlib.Path(__file__).parent

INTRODUCTION = """\
# Configuration

A node is configured by one TOML file: `flowserve --config FILE`. This page is made from the classes that the
file is checked against (`make docs`); `flowserve config reference` prints it for the plugins of your own
installation, and `flowserve schema` prints the JSON schema that editors understand.

Everything is strict: an unknown key, a wrong type or a value out of range is an error, and all errors are
reported at once with file and line (`flowserve --check-config --config FILE`).

- **Durations** are texts with a unit: `"250ms"`, `"30s"`, `"5m"`, `"1h30m"`.
- **Sizes** are texts with a unit: `"64KiB"`, `"16MiB"`, `"1GB"`.
- **Secrets** are named or sealed, never written: `{ env = "VARIABLE" }`, `{ file = "path" }` (mode 0600) or
  `{ sealed = "BASE64" }` ([security.md](security.md)). They are shown nowhere.
- **Paths** are relative to the file's folder.
- A **component** is chosen by its type: the bare type (`balancer = "peak_ewma"`), or a table with settings
  (`balancer = { type = "peak_ewma", decay = "5s" }`).
- `--set a.b=c` overrides one key on the command line.
- Keys marked *reloadable* take effect on `HUP`, without a restart.

"""


def configuration_page() -> str:
    """The whole page."""
    return INTRODUCTION + reference_markdown(FlowConfig, listing(discover().registry))


def schema_text() -> str:
    """The JSON schema of the built-in plugins."""
    schema = json_schema(FlowConfig, listing(discover().registry))
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


AREAS = {
    "Requests": ("flowcore.request", "flowcore.requests", "flowcore.idempotency", "flowcore.tasks"),
    "Agents and pools": ("flowcore.agent", "flowcore.pool", "flowcore.singleton"),
    "Guards": (
        "flowcore.guard",
        "flowcore.breaker",
        "flowcore.concurrency",
        "flowcore.rate_limit",
        "flowcore.pinning",
        "flowcore.audit",
        "flowcore.faults",
    ),
    "Router, gate, memory": (
        "flowcore.router",
        "flowcore.gate",
        "flowcore.memory",
        "flowcore.embedder",
    ),
    "Vector indexes": ("flowcore.index",),
    "Consensus and state": (
        "flowcore.consensus",
        "flowcore.raft",
        "flowcore.bft",
        "flowcore.storage",
        "flowcore.state",
        "flowcore.durable",
    ),
    "Swarm and links": (
        "flowcore.swarm",
        "flowcore.membership",
        "flowcore.links",
        "flowcore.link",
        "flowcore.overlay",
        "flowcore.federation",
    ),
    "Edges": ("flowcore.edge", "flowcore.dashboard"),
    "Telemetry itself": (
        "flowcore.exporter",
        "flowcore.traces",
        "flowcore.scrape",
        "flowcore.metrics",
    ),
    "Node and process": (
        "flowcore.node",
        "flowcore.components",
        "flowcore.component",
        "flowcore.supervisor",
        "flowcore.loop",
        "process",
    ),
}
"""The sections of the tables of metrics, by what names begin with."""
FOLDERS = pathlib.Path(__file__).parent.parent / "plugins"


def metrics() -> list[Metric]:
    """Every metric of the core and of its plugins, by name."""
    import flowcore

    found: dict[str, Metric] = {}
    roots = [("flowcore", list(flowcore.__path__))]
    roots += [(one.name, [str(one)]) for one in FOLDERS.iterdir() if one.name.startswith("flow_")]
    for root, path in roots:
        for module in pkgutil.walk_packages(path, f"{root}."):
            if re.search(r"\.(annoy|template_program|__main__)(\.|$)", module.name):
                continue
            for value in vars(importlib.import_module(module.name)).values():
                if isinstance(value, Metric):
                    other = found.setdefault(value.name, value)
                    assert other is value, f"there are two metrics of the name {value.name!r}"
    return sorted(found.values(), key=lambda metric: metric.name)


def metric_tables() -> str:
    """A table of metrics for each area."""
    told, rest = [], metrics()
    for area, beginnings in AREAS.items():
        own = [
            one
            for one in rest
            if any(one.name.startswith(f"{each}.") or one.name == each for each in beginnings)
        ]
        rest = [one for one in rest if one not in own]
        lines = [
            f"### {area}",
            "",
            "| OpenTelemetry | Prometheus | kind | labels | what it says |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| `{one.name}` | `{one.prometheus}` | {one.kind.value} |"
            f" {', '.join(f'`{label}`' for label in one.labels)} | {one.help} |"
            for one in own
        ]
        told.append("\n".join(lines) + "\n")
    assert not rest, f"say in AREAS where these belong: {[one.name for one in rest]}"
    return "\n".join(told)


def with_metrics(page: str) -> str:
    """The page about observability, with the tables as they are now."""
    begin, end = "<!-- metrics -->\n", "<!-- /metrics -->\n"
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{metric_tables()}\n{end}{after}"


if __name__ == "__main__":
    import log_events

    PAGE = HERE / "observability.md"
    PAGE.write_text(log_events.renewed(with_metrics(PAGE.read_text())))
    (HERE / "configuration.md").write_text(configuration_page())
    (HERE / "schema.json").write_text(schema_text())
