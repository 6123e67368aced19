"""The dashboard in a real Chromium before 1,000 agents: opened to drawn, and an event until its frame.

Ten agents are beside it: what is in the page are the rows in sight, so a thousand should cost little more.
An event is given to the page's own store; its time is until the frame after has been painted. What watching
costs the node is its processor time while one browser looks and nothing happens.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from benchmarks.report import Figure
from benchmarks.servers import free_port
from support.browser import chromium
from support.node import ROOT, Node, started

MANY, FEW = 1000, 10
ROUNDS = int(os.environ.get("FLOW_DASHBOARD_ROUNDS", "7"))
WATCHED = 5.0
"""Seconds in which a node is watched."""
DRAWN = """(count) => {
  const said = document.querySelector("[role=status].quiet")?.textContent ?? "";
  return said.startsWith(count) && document.querySelector("[data-agent]") && performance.now();
}"""
EVENT = """async ([many, times]) => {
  const { store, take } = await import("/store.js");
  const took = [];
  for (let time = 0; time < times; time += 1) {
    const rows = [...store.agents.values()].slice(0, many).map((one) => ({ ...one, calls: one.calls + 1 }));
    await new Promise(requestAnimationFrame);
    const began = performance.now();
    take("agents", { rows, gone: [] });
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    took.push(performance.now() - began);
  }
  return took;
}"""


def run() -> list[Figure]:
    """Times in a browser, with their bounds; none where there is no Chromium."""
    if shutil.which("chromium") is None:
        return [Figure(name=f"{MANY:,} agents: opened to drawn", value=None, unit="s", bar=1.0)]
    figures = []
    opened: dict[int, float] = {}
    for count in (FEW, MANY):
        with _watched(count) as (node, page, url):
            opened[count] = median(_drawn(page, url, count) for _ in range(ROUNDS))
            of_one = median(page.evaluate(EVENT, [1, 3 * ROUNDS])) / 1000
            of_all = median(page.evaluate(EVENT, [count, 3 * ROUNDS])) / 1000
            busy = _busy(node)
        bars = (1.0, 0.05, 0.1, 0.1) if count == MANY else (None,) * 4
        figures += [
            Figure(name=f"{count:,} agents: {name}", value=value, unit=unit, bar=bar)
            for name, value, unit, bar in (
                ("opened to drawn", opened[count], "s", bars[0]),
                ("an event of one, to its frame", of_one, "s", bars[1]),
                ("an event of all, to its frame", of_all, "s", bars[2]),
                ("processor of the node while watched", busy, "cores", bars[3]),
            )
        ]
    ratio = opened[MANY] / opened[FEW]
    return [
        *figures,
        Figure(name=f"{MANY:,} agents over {FEW}: opened to drawn", value=ratio, unit="x"),
    ]


def setup() -> dict[str, str]:
    """How it was measured."""
    return {
        "browser": "headless Chromium of Debian, 1280 x 860, on the cores of the node",
        "agents": "Python agents without workers, in one node",
    }


@contextmanager
def _watched(count: int) -> Iterator[tuple[Node, Any, str]]:
    """A node of so many agents, a page of a browser, and the view of the agents."""
    agent = f'type = "python"\ntarget = "{ROOT}/tests/support/agents.py"\npool = {{ min = 0 }}\n'
    port = free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "flow.toml").write_text(
            "".join(f"[agent.a{number:04}]\n{agent}" for number in range(count))
            + f'[edge.dashboard]\ntype = "dashboard"\nbind = "127.0.0.1:{port}"\n'
        )
        with started(folder / "flow.toml") as node, chromium(folder) as browser:
            node.wait_for("ready in ")
            node.wait_for("agent ")
            url = f"http://127.0.0.1:{port}/#/agents"
            page = browser.open(url)
            _drawn(page, url, count)
            yield node, page, url


def _drawn(page: Any, url: str, count: int) -> float:
    """Seconds from the beginning of a navigation until all agents are known and rows are there."""
    page.goto("about:blank")
    page.goto(url)
    seen = page.wait_for_function(DRAWN, arg=f"{count + 1:,} agents", polling="raf")
    taken: float = seen.json_value()
    return taken / 1000


def _busy(node: Node) -> float:
    """Cores that the node keeps busy while it is watched."""
    before = _cpu(node.process.pid)
    began = time.monotonic()
    time.sleep(WATCHED)
    return (_cpu(node.process.pid) - before) / (time.monotonic() - began)


def _cpu(pid: int) -> float:
    """Seconds of processor time that a process has had."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
