"""The pictures in docs/figures: the dashboard while a swarm of five works, and one of them dies.

`make figures` writes them there; else they are taken, and looked at as far as a program can, and thrown away.
"""

from __future__ import annotations

import os
import pathlib
import signal
import threading
from typing import Any

import pytest

from support.browser import chromium, needs_chromium, until
from support.cluster import Cluster, cluster
from support.node import ROOT

pytestmark = [needs_chromium, pytest.mark.long]

NAMES = ("alpha", "beta", "delta", "epsilon", "gamma")
AGENTS = f"""
[agent.of-@name@]
type = "python"
target = "{ROOT}/tests/support/agents.py"
description = "works for @name@ alone"
[agent.notes]
type = "python"
target = "{ROOT}/examples/notes_agent.py:Notes"
description = "keeps notes while the node runs"
pool = {{ min = 1, max = 1, concurrency = 16 }}
[agent.text]
type = "python"
target = "{ROOT}/examples/text_agent.py"
description = "counts and compares texts"
[agent.child]
type = "process"
command = ["python", "-I", "-S", "{ROOT}/examples/process_agent.py"]
description = "a program in any language"
pool = {{ min = 1, max = 4 }}
"""
MORE = """
[consensus]
type = "raft"
voters = ["alpha", "beta", "delta", "epsilon", "gamma"]
[router]
[telemetry]
sampling = 1.0
[requests]
guards = ["audit", "breaker"]
[guard.audit]
type = "audit"
[guard.breaker]
type = "breaker"
[edge.dashboard]
type = "dashboard"
bind = "127.0.0.1:0"
"""
SUBJECTS = {
    "the ferry": ("leaves at {}", "arrives at {}", "is late at {}", "is full by {}"),
    "the cat": ("sleeps until {}", "eats at {}", "wants out at {}", "comes home by {}"),
    "the server": ("is backed up at {}", "restarts at {}", "is quiet after {}", "is busy at {}"),
    "the bakery": ("opens at {}", "is out of bread by {}", "bakes from {} on", "closes at {}"),
}
HOURS = ("five", "six", "seven", "eight", "nine", "ten", "eleven", "noon")


def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    chosen = os.environ.get("FLOW_FIGURES")
    made = tmp_path if chosen is None else ROOT / chosen
    made.mkdir(exist_ok=True)
    return made


def remember(nodes: Cluster) -> None:
    """Things that are alike in four ways."""
    for subject, sayings in SUBJECTS.items():
        for saying in sayings:
            for hour in HOURS:
                nodes.call("alpha", "memory.put", text=f"{subject} {saying.format(hour)}")


def work(nodes: Cluster, ended: threading.Event) -> None:
    """Some requests, until it is enough."""
    count = 0
    while not ended.is_set():
        count += 1
        nodes.call("alpha", "text.count_words", text="one two three")
        nodes.call("alpha", "of-beta.echo", text=str(count))
        if count % 3 == 0:
            nodes.call("alpha", "notes.write", title=str(count % 9), text="a note")
        if count % 7 == 0:
            nodes.call("alpha", "of-gamma.wait", seconds=0.02 * (count % 4))


def test_the_pictures_of_the_docs(tmp_path: pathlib.Path) -> None:
    where = folder(tmp_path)
    ended = threading.Event()
    with (
        cluster(tmp_path, *NAMES, topology="ring", agents=AGENTS, more=MORE) as nodes,
        chromium(tmp_path, viewport={"width": 1280, "height": 800}) as browser,
    ):
        remember(nodes)
        worker = threading.Thread(target=work, args=(nodes, ended))
        worker.start()
        try:
            _, status = nodes.ask("alpha", "/status")
            url = status["endpoints"]["dashboard"][0]
            page = browser.open(url)
            page.wait_for_selector("#connection.live")
            # a line of two dozen seconds under the figures
            until(
                lambda: page.locator(".spark .trend").get_attribute("d") or "",
                lambda line: line.count("L") > 16,
            )
            _take(page, where / "dashboard-overview.png")
            page.goto(f"{url}#/agents")
            page.wait_for_selector("[data-agent]")
            _take(page, where / "dashboard-agents.png")
            page.goto(f"{url}#/router")
            page.get_by_label("A request in words").fill("how many words are in this text?")
            page.get_by_label("Experts").fill("5")
            page.keyboard.press("Enter")
            page.wait_for_selector("[data-expert]")
            until(
                lambda: page.locator("main > div > p.quiet").first.inner_text(),
                lambda line: not line.startswith("0 "),
            )
            _take(page, where / "dashboard-router.png")
            page.goto(f"{url}#/memory")
            page.get_by_label("Text").fill("when does the boat go?")
            page.keyboard.press("Enter")
            page.wait_for_selector(".map .asked")
            _take(page, where / "dashboard-memory.png")
            status, asked = nodes.ask(
                "alpha",
                "/call",
                {"tool": "flow.ask", "arguments": {"text": "count the words of this text"}},
            )
            page.goto(f"{url}#/requests/{asked['id']}")
            page.wait_for_selector(".waterfall")
            _take(page, where / "dashboard-request.png")
            nodes.end("delta", signal.SIGKILL)
            page.emulate_media(color_scheme="dark")
            page.goto(f"{url}#/overview")
            page.wait_for_selector(".swarm .node.dead[data-node=delta]")
            _take(page, where / "dashboard-dark.png")
        finally:
            ended.set()
            worker.join(60)
    assert not browser.wrong


def _take(page: Any, path: pathlib.Path) -> None:
    """A picture, of a size that a repository can bear."""
    page.screenshot(path=str(path), animations="disabled")
    assert 15_000 < path.stat().st_size < 250_000
