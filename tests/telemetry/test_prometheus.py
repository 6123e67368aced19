"""A real Prometheus fetches the metrics of live nodes.

Every expression of the dashboard and of the alerts has data, and what it has are the events that were caused.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import pathlib
import re
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import quote

import attrs
import pytest
import tomli
import trio

from flowcore import Flow, open_flow
from flowcore.errors import CallError
from flowcore.http import Client, HttpError, open_client
from flowcore.telemetry import Metric
from support.linked import certificates
from support.needs import program
from support.node import ROOT
from support.ports import free_port

HERE = ROOT / "configs" / "observability"
NAMES = ("alpha", "beta", "gamma")
AGENTS = f"{ROOT}/tests/support/agents.py"


def config(name: str, folder: pathlib.Path, ports: dict[str, int]) -> dict[str, Any]:
    """A node of the configuration that is shipped, as one of three."""
    made = tomli.loads((HERE / "flow.toml").read_text())
    certs = certificates()
    made["node"] = {"name": name, "data_dir": str(folder / name)}
    for agent in made["agent"].values():
        agent["target"] = str(ROOT / agent["target"].removeprefix("../../"))
    for edge in made["edge"].values():
        edge["bind"] = "127.0.0.1:0"
    made["exporter"]["out"] = {"type": "console", "signals": ["traces"]}
    made["router"]["index"] = {"type": "hnsw", "front": 100, "sample": 1.0}
    made["agent"][f"of-{name}"] = {"type": "python", "target": AGENTS}
    made["consensus"] = {
        "type": "raft",
        "voters": list(NAMES),
        "election": "2s",  # on a machine with much else to do, one leads for longer
        "heartbeat": "200ms",
        "patience": "60s",
    }
    made["swarm"] = {
        "bind": f"127.0.0.1:{ports[name]}",
        "seeds": [f"127.0.0.1:{port}" for port in ports.values()],
        "tls": {
            "cert": str(certs / f"{name}.pem"),
            "key": str(certs / f"{name}.key"),
            "ca": str(certs / "ca.pem"),
        },
        "membership": {"type": "swim", "profile": "local"},
    }
    return made


@attrs.define(eq=False)
class Watched:
    """The nodes, and the Prometheus that watches them."""

    flows: dict[str, Flow]
    client: Client
    url: str
    calls: int = 0

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression gives."""
        answer = await self.client.request(
            "GET", f"{self.url}/api/v1/query?query={quote(expression)}"
        )
        told = json.loads(answer.body)
        assert told["status"] == "success", (expression, told)
        found: list[dict[str, Any]] = told["data"]["result"]
        return found

    async def has_data(self, expression: str) -> bool:
        """Whether it gives a number that is one."""
        found = await self.query(expression)
        return any(not math.isnan(float(one["value"][1])) for one in found)

    async def work(self) -> None:
        """Something of everything, once."""
        for name, flow in self.flows.items():
            other = next(one for one in NAMES if one != name)
            await flow.call("text.count_words", {"text": "a b"})
            await flow.call(f"of-{other}.echo", {"text": "hello"})
            self.calls += 1
            with pytest.raises(CallError):
                await flow.call("notes.read", {"title": ["none"]})
            route = await flow.router.route("count the words of a text")
            await flow.router.feedback(route.id, route.ranked[0].expert, 1.0)
            await flow.router.memory.put("notes", f"note {self.calls} of {name}")
            await flow.router.memory.search("notes", "a note", 3)
            api = flow.endpoints["api"][0].removeprefix("http://")
            host, _, port = api.rpartition(":")
            stream = await trio.open_tcp_stream(host, int(port))
            async with stream:
                await stream.send_all(b"GET / HTTP/1.1\r\nHost : x\r\n\r\n")
                await stream.receive_some()

    async def ready(self) -> None:
        """Wait until it answers."""
        while True:
            try:
                if (await self.client.request("GET", f"{self.url}/-/ready")).status == 200:
                    return
            except HttpError:
                pass  # it does not listen yet
            await trio.sleep(0.05)

    async def agrees(self) -> None:
        """Wait until Prometheus has fetched the calls that were made, and no more."""
        expression = (
            'sum(flowcore_request_duration_seconds_count{method="tools/call", agent="text"})'
        )
        while True:
            found = await self.query(expression)
            fetched = int(found[0]["value"][1]) if found else 0
            assert fetched <= self.calls
            if fetched == self.calls:
                return
            await trio.sleep(0.1)


@asynccontextmanager
async def watched(folder: pathlib.Path) -> AsyncGenerator[Watched]:
    """Three nodes that are one, and a Prometheus that fetches their metrics each second."""
    prometheus = program("prometheus")
    ports = {name: free_port() for name in NAMES}
    flows: dict[str, Flow] = {}

    async def live(name: str, *, task_status: trio.TaskStatus[None]) -> None:
        async with open_flow(config(name, folder, ports)) as flow:
            await flow.wait_settled()
            flows[name] = flow
            task_status.started()
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery, open_client() as client:
        async with trio.open_nursery() as starting:
            for name in NAMES:  # together: none has a state before a majority is there
                starting.start_soon(nursery.start, live, name)
        settings = settings_for([flow.endpoints["api"][0] for flow in flows.values()])
        (folder / "prometheus.yml").write_text(settings)
        (folder / "alerts.yml").write_text((HERE / "alerts.yml").read_text())
        address = f"127.0.0.1:{free_port()}"
        command = [
            prometheus,
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address={address}",
            "--log.level=warn",
        ]
        process = await nursery.start(partial(trio.run_process, command, check=False))
        one = Watched(flows, client, f"http://{address}")
        await one.ready()
        await fill(flows["alpha"])
        yield one
        process.terminate()
        await process.wait()
        nursery.cancel_scope.cancel()


async def fill(flow: Flow) -> None:
    """So many vectors that an index has a graph, and what it finds is less than all that is near."""
    import numpy as np

    chance = np.random.default_rng(7)
    for index in flow.router.memory.indexes().values():
        vectors = chance.normal(size=(1100, 384)).astype(np.float32)
        await index.add(np.arange(10**9, 10**9 + len(vectors)), vectors)
        await index.settle()


def settings_for(urls: list[str]) -> str:
    """The shipped prometheus.yml, for these nodes, and in a hurry."""
    targets = ", ".join(f'"{url.removeprefix("http://")}"' for url in urls)
    text = (HERE / "prometheus.yml").read_text()
    for old, new in (('"127.0.0.1:7301"', targets), ("interval: 15s", "interval: 1s")):
        assert old in text
        text = text.replace(old, new)
    return text


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (HERE / "grafana" / "dashboards" / "flowcore.json").read_text()
    )
    return found


ELSEWHERE = (
    "flowcore.bft.",
    "flowcore.component.unwell",
    "flowcore.dashboard.",
    "flowcore.edge.logins.",
    "flowcore.embedder.failures",
    "flowcore.faults.",
    "flowcore.gate.drift",
    "flowcore.index.fallbacks",
    "flowcore.metrics.failures",
    "flowcore.pinning.",
    "flowcore.router.drift",
    "flowcore.singleton.",
    "flowcore.storage.snapshot",
)
"""Metrics of what these nodes do not have, or what does not happen to them."""


def known() -> list[Metric]:
    """Every metric that there is, as docs/observability.md lists them."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: list[Metric] = module.metrics()
    return found


def expressions_of_the_dashboard() -> list[str]:
    """As Grafana would ask them, of all nodes and agents."""
    found = [one["expr"] for panel in dashboard()["panels"] for one in panel.get("targets", ())]
    for name, value in (("$__rate_interval", "30s"), ("$instance", ".*"), ("$agent", ".*")):
        found = [one.replace(name, value) for one in found]
    assert not any("$" in one for one in found)
    return found


def expressions_of_the_alerts() -> dict[str, str]:
    """What each alert compares, by its name."""
    text = (HERE / "alerts.yml").read_text()
    found = re.findall(r"- alert: (\w+)\n +expr: >-\n +(.+)\n", text)
    assert len(found) == text.count("- alert:")
    made = {}
    for name, expression in found:
        compared, _, _ = re.match(r"(.+) (==|>|<) ([0-9.]+)$", expression).groups()  # type: ignore[union-attr]
        made[name] = compared
    return made


async def test_every_expression_has_data_of_live_nodes(tmp_path: pathlib.Path) -> None:
    waiting = [*expressions_of_the_dashboard(), *expressions_of_the_alerts().values()]
    with trio.fail_after(600):
        async with watched(tmp_path) as one:
            while waiting:
                await one.work()
                await one.agrees()
                waiting = [each for each in waiting if not await one.has_data(each)]
            told = set()
            for flow in one.flows.values():
                told |= {family.metric for family in (await flow.metrics.snapshot()).families}
    silent = {metric.name for metric in known() if metric not in told}
    assert {name for name in silent if not name.startswith(ELSEWHERE)} == set()


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    made = dashboard()
    panels = made["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert {"uid", "title", "schemaVersion", "templating", "time", "refresh"} <= made.keys()
    for panel in panels:
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["targets"], panel["title"]
    for one, other in itertools.combinations((panel["gridPos"] for panel in panels), 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)


def test_every_alert_fires_where_it_must_and_nowhere_else() -> None:
    promtool = program("promtool")
    for words in (("check", "rules", "alerts.yml"), ("check", "config", "prometheus.yml")):
        done = subprocess.run(
            [promtool, *words], cwd=HERE, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run(
        [promtool, "test", "rules", "alerts_test.yml"],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    tests = (HERE / "alerts_test.yml").read_text()
    for name in expressions_of_the_alerts():
        assert f"name: {name} fires\n" in tests
        assert f"name: {name} stays quiet\n" in tests


async def test_promtool_finds_nothing_to_better_in_what_is_fetched() -> None:
    promtool = program("promtool")
    made = tomli.loads((HERE / "flow.toml").read_text())
    for agent in made["agent"].values():
        agent["target"] = str(ROOT / agent["target"].removeprefix("../../"))
    for edge in made["edge"].values():
        edge["bind"] = "127.0.0.1:0"
    del made["node"]["data_dir"], made["state"]
    made["consensus"] = {"type": "single"}
    made["storage"] = {"type": "memory"}
    async with open_flow(made) as flow, open_client() as client:
        await flow.wait_settled()
        await flow.call("text.count_words", {"text": "a b"})
        answer = await client.request("GET", f"{flow.endpoints['api'][0]}/metrics")
    assert answer.status == 200
    done = await trio.run_process(
        [promtool, "check", "metrics"],
        stdin=answer.body,
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
