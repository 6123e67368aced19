"""The dashboard in a real browser: what it shows is what the API says, while agents crash and nodes die."""

from __future__ import annotations

import contextlib
import operator
import os
import pathlib
import signal
import threading
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import attrs
import pytest

from support.browser import Browser, chromium, needs_chromium, nothing_wrong_in, until, until_is
from support.cluster import Cluster, cluster
from support.node import ROOT

pytestmark = needs_chromium

NONE = "\N{EN DASH}"
NAMES = ("alpha", "beta", "gamma")
AGENTS = f"""
[agent.of-@name@]
type = "python"
target = "{ROOT}/tests/support/agents.py"
[agent.shared]
type = "python"
target = "{ROOT}/tests/support/agents.py"
description = "is on every node"
roles = ["everywhere"]
[agent.narrow-@name@]
type = "python"
target = "{ROOT}/tests/support/agents.py"
pool = {{ min = 1, max = 1, concurrency = 1 }}
[agent.child]
type = "process"
command = ["python", "-I", "-S", "{ROOT}/examples/process_agent.py"]
pool = {{ min = 1, max = 1 }}
"""
MORE = """
[consensus]
type = "raft"
voters = ["alpha", "beta", "gamma"]
[router]
[requests]
guards = ["audit", "breaker"]
[guard.audit]
type = "audit"
[guard.breaker]
type = "breaker"
[edge.dashboard]
type = "dashboard"
bind = "127.0.0.1:0"
every = "200ms"
"""


@attrs.define(eq=False)
class Shown:
    """A cluster, and a browser that looks at one of its nodes."""

    nodes: Cluster
    browser: Browser

    def url(self, name: str) -> str:
        """The dashboard of a node."""
        _, status = self.nodes.ask(name, "/status")
        url: str = status["endpoints"]["dashboard"][0]
        return url

    def open(self, name: str, view: str = "") -> Any:
        """A view of a node's dashboard, live."""
        page = self.browser.open(f"{self.url(name)}#/{view}")
        page.wait_for_selector("#connection.live")
        return page

    def agree(self, shown: Callable[[], Any], said: Callable[[], Any]) -> None:
        """Wait until what a page shows is what the API says."""
        until(lambda: (shown(), said()), lambda pair: pair[0] == pair[1])


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Generator[Shown]:
    folder = tmp_path_factory.mktemp("shown")
    with cluster(folder, *NAMES, agents=AGENTS, more=MORE) as nodes, chromium(folder) as browser:
        yield Shown(nodes, browser)


@pytest.fixture(autouse=True)
def nothing_wrong(shown: Shown) -> Generator[None]:
    """In any of these tests."""
    with nothing_wrong_in(shown.browser):
        yield


def cells(page: Any, rows: str) -> list[list[str]]:
    """The texts of a table's cells, row by row."""
    found: list[list[str]] = page.eval_on_selector_all(
        rows, "rows => rows.map(row => [...row.children].map(cell => cell.innerText.trim()))"
    )
    return found


def members(page: Any) -> dict[str, str]:
    """The states of the swarm's members, as the table shows them."""
    return {row[0].partition(" ")[0]: row[1] for row in cells(page, ".members tbody tr")}


def drawn(page: Any) -> set[str]:
    """The links that the drawing shows as standing."""
    return set(
        page.eval_on_selector_all(
            ".swarm .link:not(.missing)", "links => links.map(one => one.dataset.link)"
        )
    )


def agent_rows(page: Any) -> dict[str, list[str]]:
    """Of each agent: state, node, workers, queue, calls, failed, breaker, restarts, last trouble."""
    texts = "[...row.children].map(cell => cell.innerText.trim())"
    read = f"rows => rows.map(row => [row.dataset.agent, {texts}])"  # at once: rows come and go
    found: list[tuple[str, list[str]]] = page.eval_on_selector_all("[data-agent]", read)
    return {key: [*row[1:7], *row[9:]] for key, row in found if key != "flow"}


def agent_row(page: Any, key: str) -> list[str]:
    """One of them; of one that is not shown just now, nothing."""
    return agent_rows(page).get(key, [NONE] * 9)


def restarts(page: Any, key: str) -> int:
    """How often one was started again, as it is shown; -1 while it is not."""
    shown = agent_row(page, key)[7]
    return -1 if shown == NONE else int(shown)


def agent_says(nodes: Cluster, name: str) -> dict[str, list[str]]:
    """The same as the nodes say, each of its own agents."""
    rows = {}
    for node in nodes.nodes:
        _, said = nodes.ask(node, "/agents")
        for one in said["agents"]:
            pool = one["pool"]
            rows[one["name"] if node == name else f"{one['name']}@{node}"] = [
                one["state"],
                node,
                f"{pool['active']} / {pool['workers']}" if pool else NONE,
                str(pool["waiting"]) if pool else NONE,
                str(one["calls"]),
                str(one["failed"] + one["faulty"] + one["expired"] + one["lost"]),
                one["breaker"] or NONE,
                str(max(0, one["lives"] - 1) + one["crashes"]),
                one["reason"] or one["trouble"] or "",
            ]
    each_has_its_own = (
        "flow",
        *(f"{one}@{node}" for one in ("flow", "memory") for node in nodes.nodes),
    )
    return {key: row for key, row in rows.items() if key not in each_has_its_own}


def test_agents_are_what_the_api_says_while_they_work_and_crash(shown: Shown) -> None:
    nodes = shown.nodes
    page = shown.open("alpha", "agents")
    shown.agree(lambda: agent_rows(page), lambda: agent_says(nodes, "alpha"))
    until(
        lambda: agent_rows(page).keys(),
        lambda rows: {"of-alpha", "of-beta@beta", "of-gamma@gamma"} <= rows,
    )
    for count in range(3):
        nodes.call("alpha", "of-alpha.echo", text=str(count))
    shown.agree(lambda: agent_rows(page), lambda: agent_says(nodes, "alpha"))
    assert agent_rows(page)["of-alpha"][4] == "3"
    for node, key in (("alpha", "child"), ("beta", "child@beta")):
        before = restarts(page, key)
        pid = nodes.nodes[node].process.pid
        victims = until(lambda pid=pid: below(pid, "process_agent.py"), bool)  # type: ignore[misc]
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        until(partial(restarts, page, key), partial(operator.lt, before))
        shown.agree(lambda: agent_rows(page), lambda: agent_says(nodes, "alpha"))


def test_queues_and_breakers_of_other_nodes_are_what_these_say(shown: Shown) -> None:
    nodes = shown.nodes
    page = shown.open("alpha", "agents")

    def hold() -> None:
        body = {"tool": "narrow-beta.wait", "arguments": {"seconds": 3600}, "deadline": 3600}
        with contextlib.suppress(OSError):  # the node is killed at the end
            nodes.ask("beta", "/call", body, timeout=600)

    for _ in range(3):
        threading.Thread(target=hold, daemon=True).start()
    until(lambda: agent_row(page, "narrow-beta@beta")[2:4], lambda cells: cells == ["1 / 1", "2"])
    _, answer = nodes.ask("gamma", "/guards/breaker/open", {"agent": "of-gamma"})
    assert answer["result"]["state"] == "forced open"
    until(lambda: agent_row(page, "of-gamma@gamma")[6], lambda state: state == "forced open")
    shown.agree(lambda: agent_rows(page), lambda: agent_says(nodes, "alpha"))
    nodes.ask("gamma", "/guards/breaker/auto", {"agent": "of-gamma"})
    shown.agree(lambda: agent_rows(page), lambda: agent_says(nodes, "alpha"))
    page.locator("[data-agent='narrow-beta@beta'] a").click()
    page.wait_for_selector("aside h2:has-text('narrow-beta at beta')")
    assert page.locator("aside button").count() == 0  # it is steered at its own node
    page.wait_for_selector("aside .facts:has-text('2 waiting')")


def test_the_swarm_is_drawn_as_it_is_while_a_node_dies_and_returns(shown: Shown) -> None:
    nodes = shown.nodes
    page = shown.open("alpha")

    def swarm() -> dict[str, Any]:
        _, status = nodes.ask("alpha", "/status")
        told: dict[str, Any] = status["swarm"]
        return told

    def agreed() -> None:
        shown.agree(
            lambda: members(page), lambda: {one["name"]: one["state"] for one in swarm()["members"]}
        )
        shown.agree(lambda: drawn(page), lambda: {" ".join(one) for one in swarm()["graph"]})

    agreed()
    until_is(lambda: drawn(page), {"alpha beta", "alpha gamma", "beta gamma"})
    nodes.end("gamma", signal.SIGKILL)
    until(lambda: members(page)["gamma"], lambda state: state == "dead")
    agreed()
    until_is(lambda: drawn(page), {"alpha beta"})
    until_is(page.locator(".swarm .node.dead[data-node=gamma]").count, 1)
    nodes.start("gamma")
    nodes.complete(*NAMES)
    until(lambda: members(page)["gamma"], lambda state: state == "alive")
    agreed()


def below(parent: int, word: str) -> list[int]:
    """The processes below one, however far, whose command holds a word."""
    parents, found = {}, []
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            command = (path / "cmdline").read_bytes().decode()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
        parents[int(path.name)] = int(fields[1])
        if word in command:
            found.append(int(path.name))

    def is_below(pid: int) -> bool:
        while (pid := parents.get(pid, 0)) > 1:
            if pid == parent:
                return True
        return False

    return [pid for pid in found if is_below(pid)]
