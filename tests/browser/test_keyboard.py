"""The dashboard by keyboard alone: all of it is come to, has a name, shows its focus, and can be done."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Generator
from typing import Any

import attrs
import pytest

from flowcore.secrets import new_token
from support.browser import Browser, chromium, needs_chromium, nothing_wrong_in, until
from support.node import ROOT, Node, started

pytestmark = needs_chromium

VIEWS = ("overview", "agents", "requests", "router", "memory", "consensus", "audit")
CONFIG = f"""
[node]
name = "shown"
data_dir = "DATA"
[router]
[storage]
type = "memory"
[telemetry]
sampling = 1.0
[requests]
guards = ["audit", "pins"]
[guard.pins]
type = "pinning"
agents = ["notes"]
unknown = "quarantine"
[guard.audit]
type = "audit"
[agent.echo]
type = "python"
target = "{ROOT}/tests/support/agents.py"
description = "says again what it is told"
[agent.notes]
type = "python"
target = "{ROOT}/examples/notes_agent.py:Notes"
pool = {{ min = 1, max = 1, concurrency = 16 }}
[edge.api]
type = "api"
bind = "127.0.0.1:0"
[edge.board]
type = "dashboard"
bind = "127.0.0.1:0"
every = "200ms"
auth = ["staff"]
[auth.staff]
type = "token"
tokens = [{{ name = "ann", sha256 = "DIGEST" }}]
"""

# what has the focus: its name as the browser tells it to screen readers is asked for apart
FOCUSED = """() => {
  const one = document.activeElement;
  const { outlineStyle, outlineWidth } = getComputedStyle(one);
  const box = one.getBoundingClientRect();
  return {
    tag: one.tagName.toLowerCase(),
    drawn: outlineStyle !== "none" && parseFloat(outlineWidth) > 0,
    seen: box.width > 0 && box.bottom > 0 && box.top < innerHeight,
  };
}"""
REACHABLE = """() => [...document.querySelectorAll("a[href], button, input, select, [tabindex='0']")]
  .filter((one) => one.checkVisibility() && !one.disabled && !one.closest("[hidden]")).length"""


@attrs.define(eq=False)
class Hand:
    """A keyboard, and what a screen reader says of what it has come to."""

    page: Any
    session: Any

    def said(self) -> tuple[str, str]:
        """The role and name of what has the focus, as the browser gives them to screen readers."""
        expression = {"expression": "document.activeElement"}
        focused = self.session.send("Runtime.evaluate", expression)["result"]["objectId"]
        asked = {"objectId": focused, "fetchRelatives": False}
        (node,) = self.session.send("Accessibility.getPartialAXTree", asked)["nodes"]
        return node.get("role", {}).get("value", ""), node.get("name", {}).get("value", "")

    def tab(self) -> tuple[str, str]:
        """On to the next; it must have a name, be in sight, and be drawn as what has the focus."""
        self.page.keyboard.press("Tab")
        focused = self.page.evaluate(FOCUSED)
        role, name = self.said()
        if focused["tag"] != "body":
            assert focused["drawn"], (role, name)
            assert focused["seen"], (role, name)
            assert name, (role, focused)
        return role, name

    def is_on(self, *heard: str) -> None:
        """Wait until what has the focus is of that role (and name): a page draws after a key."""
        until(self.said, lambda said: said[: len(heard)] == heard)

    def come_to(self, role: str, name: str) -> None:
        """Press Tab until that has the focus."""
        seen = []
        for _ in range(120):
            seen.append(self.tab())
            if seen[-1] == (role, name):
                return
        raise AssertionError(f"no {role} {name!r} among {seen}")

    def view(self, name: str) -> None:
        """From the top of the page to a view."""
        self.page.evaluate("document.activeElement.blur(); getSelection().removeAllRanges()")
        self.page.locator(".skip").focus()
        self.come_to("link", name)
        self.press("Enter")
        self.page.wait_for_selector(f"h1:has-text('{name}')")

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)

    def write(self, text: str) -> None:
        self.page.keyboard.type(text)


@attrs.define(eq=False)
class Shown:
    """A node, a browser, and the token of somebody who may do all."""

    node: Node
    browser: Browser
    token: str
    hand: Hand

    def ask(self, path: str, body: Any = None) -> Any:
        """What the api edge answers."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.node.api + path, data)
        request.add_header("content-type", "application/json")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Generator[Shown]:
    folder = tmp_path_factory.mktemp("keys")
    token, digest = new_token()
    text = CONFIG.replace("DATA", str(folder / "data")).replace("DIGEST", digest)
    (folder / "flow.toml").write_text(text)
    with started(folder / "flow.toml") as node, chromium(folder) as browser:
        node.wait_for("ready in ")
        node.wait_for("notes ")
        (line,) = [one for one in node.said if "board " in one]
        with nothing_wrong_in(browser, but=("401 (Unauthorized)",)):
            page = browser.open(line.split()[-1])
            session = page.context.new_cdp_session(page)
            session.send("Accessibility.enable")
            yield Shown(node, browser, token, Hand(page, session))


def test_signed_in_every_view_walked_and_every_action_done(shown: Shown) -> None:
    hand, page = shown.hand, shown.hand.page

    # signing in
    page.wait_for_selector("h1:has-text('Sign in')")
    hand.is_on("textbox", "Token")
    hand.write(shown.token)
    hand.press("Enter")
    page.wait_for_selector("#connection.live")

    # every view: Tab comes to all there is, in the page's order, and out again
    shown.ask("/call", {"tool": "echo.echo", "arguments": {"text": "x"}})
    shown.ask("/call", {"tool": "memory.put", "arguments": {"text": "a cat", "key": "cat"}})
    for view in VIEWS:
        hand.view(view.capitalize())
        page.evaluate("document.activeElement.blur()")
        page.locator(".skip").focus()
        come = 1
        hand.tab()
        while page.evaluate("document.activeElement !== document.body"):
            come += 1
            assert come < 200
            hand.tab()
        assert come >= page.evaluate(REACHABLE), view

    # an agent: opened, paused, resumed, restarted, closed
    hand.view("Agents")
    hand.come_to("searchbox", "Show")
    hand.write("echo")
    hand.come_to("button", "Calls")
    hand.press("Enter")
    until(lambda: page.locator("th[aria-sort]").inner_text(), lambda said: said.strip() == "Calls")
    hand.come_to("link", "echo")
    hand.press("Enter")
    hand.is_on("heading", "echo")
    hand.come_to("button", "Pause")
    hand.press("Space")
    page.wait_for_selector("[data-agent=echo] .badge:has-text('paused')")
    assert hand.said() == ("button", "Resume") or hand.tab() == ("button", "Resume")
    hand.press("Space")
    page.wait_for_selector("[data-agent=echo] .badge:has-text('idle')")
    hand.come_to("button", "Restart")
    hand.press("Enter")
    page.wait_for_selector("dialog[open]")
    hand.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    hand.is_on("button", "Restart")
    assert shown.ask("/agents/echo")["lives"] == 1
    hand.press("Enter")
    hand.come_to("button", "Restart")
    hand.press("Enter")
    until(lambda: shown.ask("/agents/echo")["lives"], lambda lives: lives == 2)
    page.wait_for_selector("[data-agent=echo] .badge:has-text('idle')")
    hand.view("Agents")
    page.evaluate("location.hash = '#/agents/echo'")
    page.wait_for_selector("aside h2:has-text('echo')")
    hand.come_to("link", "Close the details")
    hand.press("Enter")
    hand.is_on("link", "echo")

    # a request: the stream held, the way of one, closed again
    hand.view("Requests")
    hand.come_to("button", "Hold")
    hand.press("Space")
    assert page.get_by_role("button", name="Hold").get_attribute("aria-pressed") == "true"
    hand.come_to("link", "echo.echo")
    hand.press("Enter")
    page.wait_for_selector(".waterfall")
    hand.is_on("heading")
    page.locator("#trace").evaluate("one => one.previousElementSibling.querySelector('a').focus()")
    hand.press("Enter")
    hand.is_on("link", "echo.echo")

    # the router: asked, and told what was right
    hand.view("Router")
    hand.come_to("textbox", "A request in words")
    hand.write("say this again, please")
    hand.press("Enter")
    page.wait_for_selector("[data-expert]")
    before = shown.ask("/status")["router"]["feedback"]["explicit"]
    hand.come_to("button", "echo.echo was right")
    hand.press("Enter")
    page.wait_for_selector("text=Learned: echo.echo was right for this.")
    assert shown.ask("/status")["router"]["feedback"]["explicit"] == before + 1
    hand.is_on("button", "echo.echo was right")
    hand.press("Enter")  # once is enough
    hand.come_to("button", "echo.echo was wrong")
    assert shown.ask("/status")["router"]["feedback"]["explicit"] == before + 1

    # memory: where a text would be
    hand.view("Memory")
    hand.come_to("searchbox", "Text")
    hand.write("a kitten")
    hand.press("Enter")
    page.wait_for_selector(".map .asked")

    # the audit log, looked through
    hand.view("Audit")
    hand.come_to("searchbox", "Show")
    hand.write("agents.restart")
    page.wait_for_selector("tbody tr:has-text('agents.restart')")

    # a tool in quarantine: looked at, and approved
    shown.ask("/tools")
    hand.view("Overview")
    hand.come_to("button", "Show what changed in notes.write")
    hand.press("Enter")
    page.wait_for_selector("button:has-text('Approve')")
    hand.come_to("button", "Approve notes.write")
    hand.press("Enter")
    page.wait_for_selector("text=Approved: notes.write.")
    assert "notes.write" not in shown.ask("/status")["guards"]["pins"]["quarantined"]
    hand.is_on("heading")  # what had the focus is gone, and it is not lost

    # out, in again, and the node drained
    hand.view("Overview")
    hand.come_to("button", "Sign out")
    hand.press("Enter")
    page.wait_for_selector("h1:has-text('Sign in')")
    hand.write(shown.token)
    hand.press("Enter")
    page.wait_for_selector("#connection.live")
    hand.come_to("button", "Drain this node")
    hand.press("Enter")
    page.wait_for_selector("dialog[open]")
    hand.come_to("button", "Drain")
    hand.press("Enter")
    page.wait_for_selector("#connection.lost")
    assert shown.node.process.wait(timeout=30) == 0
    page.close()
    shown.browser.wrong.clear()  # that nobody answers any more is told in the console, too
