"""Each view of the dashboard: it shows what the API says, what it does is done, and everybody can use it."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Generator
from typing import Any

import attrs
import pytest

from flowcore.secrets import new_token
from support.accessible import problems
from support.axe import needs_axe, violations
from support.browser import Browser, chromium, needs_chromium, nothing_wrong_in, until, until_is
from support.node import ROOT, Node, started

pytestmark = needs_chromium

VIEWS = ("overview", "agents", "requests", "router", "memory", "consensus", "audit")
SAYINGS = {
    "ferry": "the ferry leaves at noon",
    "boat": "the boat goes to the island in the evening",
    "cat": "cats are soft and sleep a lot",
    "dog": "dogs bark at night and sleep by day",
    "bread": "bread is baked in the morning",
}
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
guards = ["audit", "permissions", "pins", "breaker"]
[guard.pins]
type = "pinning"
agents = ["notes"]
unknown = "quarantine"
[guard.audit]
type = "audit"
[guard.breaker]
type = "breaker"
[guard.permissions]
type = "permissions"
rules = [
  {{ allow = ["*"], admin = ["*"], roles = ["operator"] }},
  {{ allow = ["*"], admin = ["*"], principals = ["loopback:operator"] }},
  {{ admin = ["status", "agents"], roles = ["viewer"] }},
]
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
[edge.open]
type = "dashboard"
bind = "127.0.0.1:0"
every = "200ms"
[edge.closed]
type = "dashboard"
bind = "127.0.0.1:0"
every = "200ms"
recheck = "1s"
auth = ["staff"]
[auth.staff]
type = "token"
tokens = [
  {{ name = "ann", sha256 = "ANN", roles = ["operator"] }},
  {{ name = "vic", sha256 = "VIC", roles = ["viewer"] }},
]
"""


@attrs.define(eq=False)
class Shown:
    """A node, a browser, and the tokens of two people."""

    node: Node
    browser: Browser
    ann: str
    vic: str

    def ask(self, path: str, body: Any = None) -> Any:
        """What the api edge answers."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.node.api + path, data)
        request.add_header("content-type", "application/json")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def tail(self) -> list[dict[str, Any]]:
        """The last lines of the audit log."""
        told = self.ask("/guards/audit/tail", {"most": 500})
        lines: list[dict[str, Any]] = told["result"]["lines"]
        return lines

    def url(self, edge: str) -> str:
        url: str = self.ask("/status")["endpoints"][edge][0]
        return url

    def open(self, view: str) -> Any:
        """A view, as this machine's operator."""
        page = self.browser.open(f"{self.url('open')}#/{view}")
        page.wait_for_selector("#connection.live")
        return page


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Generator[Shown]:
    folder = tmp_path_factory.mktemp("views")
    (ann, ann_digest), (vic, vic_digest) = new_token(), new_token()
    text = CONFIG.replace("DATA", str(folder / "data"))
    text = text.replace("ANN", ann_digest).replace("VIC", vic_digest)
    (folder / "flow.toml").write_text(text)
    with started(folder / "flow.toml") as node, chromium(folder) as browser:
        node.wait_for("ready in ")
        node.wait_for("notes ")
        made = Shown(node, browser, ann, vic)
        for key, saying in SAYINGS.items():
            made.ask("/call", {"tool": "memory.put", "arguments": {"text": saying, "key": key}})
        yield made


@pytest.fixture(autouse=True)
def nothing_wrong(shown: Shown) -> Generator[None]:
    """In any of these tests, but for refusals, which a browser tells in its console."""
    with nothing_wrong_in(shown.browser, but=("401 (Unauthorized)", "403 (Forbidden)")):
        yield


def texts(page: Any, selector: str) -> list[str]:
    found: list[str] = page.locator(selector).all_inner_texts()
    return [one.strip() for one in found]


def test_the_router_ranks_as_the_api_says_and_learns_from_a_click(shown: Shown) -> None:
    page = shown.open("router")
    wish = "say this again, please"
    page.get_by_label("A request in words").fill(wish)
    page.get_by_label("Experts").fill("4")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-expert]")
    asked = {"tool": "flow.route", "arguments": {"text": wish, "k": 4}}
    said = shown.ask("/call", asked)["result"]["structuredContent"]
    until_is(lambda: texts(page, "[data-expert] th"), [one["name"] for one in said["experts"]])
    probabilities = [f"{100 * one['probability']:.1f} %" for one in said["experts"]]
    until_is(lambda: texts(page, "[data-expert] td:nth-child(2)"), probabilities)
    before = shown.ask("/status")["router"]["feedback"]["explicit"]
    page.get_by_role("button", name="echo.echo was right").click()
    page.wait_for_selector("text=Learned: echo.echo was right for this.")
    assert shown.ask("/status")["router"]["feedback"]["explicit"] == before + 1


def test_memory_is_a_map_of_what_was_put(shown: Shown) -> None:
    page = shown.open("memory")
    page.wait_for_selector(".map circle")
    every = "all => all.map(one => one.dataset.key)"
    until_is(lambda: set(page.eval_on_selector_all(".map circle", every)), set(SAYINGS))
    until_is(lambda: set(texts(page, "tbody th")), set(SAYINGS))
    assert dict(
        zip(texts(page, "tbody th"), texts(page, "tbody td:nth-child(2)"), strict=True)
    ) == (SAYINGS)
    said = shown.ask("/memory/map", {"namespace": "shared", "text": "when does the ship sail"})
    assert {one["key"] for one in said["points"]} == SAYINGS.keys()
    page.get_by_label("Text").fill("when does the ship sail")
    page.keyboard.press("Enter")
    page.wait_for_selector(".map .asked")
    assert page.get_by_label("Namespace").input_value() == "shared"


def test_requests_flow_and_the_audit_log_follows(shown: Shown) -> None:
    page = shown.open("requests")
    answer = shown.ask("/call", {"tool": "echo.echo", "arguments": {"text": "x"}})
    page.wait_for_selector(f"[data-id='{answer['id']}']")
    (said,) = [one for one in shown.ask("/tasks")["requests"] if one["id"] == answer["id"]]
    what = f"{said['agent']}.{said['name']}"

    def row() -> tuple[str, str, str]:
        cells = texts(page, f"[data-id='{answer['id']}'] > *")
        return cells[0], cells[1], cells[4]

    until_is(row, (what, said["state"], said["principal"]))
    page.goto(f"{shown.url('open')}#/audit")
    page.wait_for_selector("tbody tr:has-text('echo.echo')")
    seqs = {one["seq"] for one in shown.tail() if one.get("id") == answer["id"]}
    until(
        lambda: {int(one) for one in texts(page, "tbody th")},
        lambda numbers: seqs <= numbers,
    )


def test_one_request_is_a_waterfall_of_its_spans(shown: Shown) -> None:
    answer = shown.ask("/call", {"tool": "flow.ask", "arguments": {"text": "say this again"}})
    page = shown.open("requests")
    page.locator(f"a[data-request='{answer['id']}']").click()
    page.wait_for_selector(".waterfall")
    said = shown.ask(f"/traces/{answer['id']}")
    spans = page.eval_on_selector_all("[data-span]", "all => all.map(one => one.dataset.span)")
    assert sorted(spans) == sorted(one["span_id"] for one in said["spans"])
    assert len(spans) > 3
    for one in said["spans"]:  # each below its parent, and named
        if one["parent_id"] in spans:
            assert spans.index(one["parent_id"]) < spans.index(one["span_id"])
        assert texts(page, f"[data-span='{one['span_id']}'] th") == [one["name"]]
    assert problems(page) == []
    page.goto(f"{shown.url('open')}#/requests/nobody")
    page.wait_for_selector("[role=alert]:has-text('Nothing was recorded')")
    shown.browser.wrong[:] = [one for one in shown.browser.wrong if "404 (Not Found)" not in one]


def test_consensus_shows_how_far_the_log_is(shown: Shown) -> None:
    page = shown.open("consensus")
    until(
        lambda: (
            texts(page, "[data-log=shown] td:nth-child(3)"),
            [f"{shown.ask('/state')['consensus']['last']:,}"],
        ),
        lambda pair: pair[0] == pair[1],
    )


def test_an_agent_is_paused_and_resumed_by_keyboard_and_that_is_audited(shown: Shown) -> None:
    page = shown.open("agents")
    page.locator("[data-agent=echo] a").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("aside h2:has-text('echo')")
    until_is(lambda: page.evaluate("document.activeElement.id"), "detail")
    page.keyboard.press("Tab")
    until_is(lambda: page.evaluate("document.activeElement.textContent"), "Pause")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-agent=echo] .badge:has-text('paused')")
    assert shown.ask("/agents/echo")["state"] == "paused"
    resume = page.get_by_role("button", name="Resume")
    resume.click()  # once it is to be seen
    page.wait_for_selector("[data-agent=echo] .badge:has-text('idle')")
    tail = shown.tail()
    done = [(one["action"], one["target"]) for one in tail if one["what"] == "operator"]
    assert ("agents.pause", "echo") in done
    assert ("agents.resume", "echo") in done
    page.get_by_role("button", name="Restart", exact=True).click()
    page.wait_for_selector("dialog[open]")
    page.keyboard.press("Escape")  # it was asked, and says no
    page.wait_for_selector("dialog", state="detached")
    assert ("agents.restart", "echo") not in [
        (one["action"], one["target"]) for one in shown.tail() if one["what"] == "operator"
    ]


def test_by_the_tab_key_one_comes_to_all_of_it_in_order(shown: Shown) -> None:
    page = shown.open("overview")
    until_is(lambda: len(texts(page, "nav li")), len(VIEWS))
    seen = []
    for _ in range(2 + len(VIEWS)):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.textContent.trim()"))
    assert seen[0] == "Skip to content"
    assert [one.lower() for one in seen[1 : 1 + len(VIEWS)]] == list(VIEWS)
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    page.keyboard.press("Home")
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    until_is(lambda: page.evaluate("document.activeElement.id"), "content")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_can_be_used_by_everybody(shown: Shown, scheme: str) -> None:
    page = shown.open("overview")
    page.emulate_media(color_scheme=scheme)
    for view in VIEWS:
        page.goto(f"{shown.url('open')}#/{view}")
        page.wait_for_selector(f"nav a[aria-current]:has-text('{view.capitalize()}')")
        if view == "router":
            page.get_by_label("A request in words").fill("write this down")
            page.keyboard.press("Enter")
            page.wait_for_selector("[data-expert]")
        assert problems(page) == [], view
    page.goto(f"{shown.url('open')}#/agents/echo")
    page.wait_for_selector("aside h2:has-text('echo')")
    assert problems(page) == []
    until_is(lambda: page.evaluate("document.documentElement.scrollWidth <= innerWidth"), True)
    page.set_viewport_size({"width": 380, "height": 700})
    page.goto(f"{shown.url('open')}#/overview")
    page.wait_for_selector("h1:has-text('Overview')")
    until_is(lambda: page.evaluate("document.documentElement.scrollWidth <= innerWidth"), True)


@needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_any_view(shown: Shown, scheme: str) -> None:
    answer = shown.ask("/call", {"tool": "echo.echo", "arguments": {"text": "x"}})
    page = shown.open("overview")
    page.emulate_media(color_scheme=scheme)
    for view in (*VIEWS, "agents/echo", f"requests/{answer['id']}"):
        page.goto(f"{shown.url('open')}#/{view}")
        page.wait_for_selector(f"nav a[aria-current]:has-text('{view.split('/')[0].capitalize()}')")
        if view == "router":
            page.get_by_label("A request in words").fill("write this down")
            page.keyboard.press("Enter")
            page.wait_for_selector("[data-expert]")
        if view.startswith("requests/"):
            page.wait_for_selector(".waterfall")
        assert violations(page) == [], view
    page = shown.browser.open(shown.url("closed"))
    page.emulate_media(color_scheme=scheme)
    page.wait_for_selector("h1:has-text('Sign in')")
    assert violations(page) == []
    page.evaluate("document.querySelector('input').removeAttribute('id')")
    assert violations(page)  # it can find something


def test_a_page_that_keeps_people_out_is_found_out(shown: Shown) -> None:
    """The checks themselves can fail."""
    page = shown.browser.context.new_page()
    page.set_content(
        "<h1>A</h1><h1>B</h1><main><h3>C</h3><input><button></button><img src='data:,'>"
        "<p style='color: #aaa; background: #fff'>pale</p><table><tr><th>x</th></tr></table>"
        "<i id=a></i><i id=a></i><a href='#' tabindex=3>on</a></main>"
    )
    found = " ".join(problems(page))
    for word in ("language", "2 h1", "leaves out a level", "no label", "no name: button", "no alt"):
        assert word in found
    for word in (
        "contrast 2.3",
        "without a caption",
        "head of nothing",
        "two of id a",
        "its own place",
    ):
        assert word in found


def test_a_tool_in_quarantine_is_shown_and_approved(shown: Shown) -> None:
    def waiting() -> list[str]:
        found: list[str] = shown.ask("/status")["guards"]["pins"]["quarantined"]
        return found

    shown.ask("/tools")  # it is looked at when somebody is to see it
    assert "notes.write" in waiting()
    page = shown.open("overview")
    page.get_by_role("button", name="Show what changed in notes.write").click()
    changed = page.get_by_label("what changed in notes.write", exact=True)
    until(changed.inner_text, lambda text: "+" in text)
    assert problems(page) == []
    page.get_by_role("button", name="Approve notes.write").click()
    page.wait_for_selector("text=Approved: notes.write.")
    assert "notes.write" not in waiting()
    actions = {one["action"] for one in shown.tail() if one["what"] == "operator"}
    assert "guards.approve" in actions


def test_who_is_asked_for_a_token_sees_what_they_may_and_no_more(shown: Shown) -> None:
    url = shown.url("closed")
    page = shown.browser.open(url)
    page.wait_for_selector("h1:has-text('Sign in')")
    assert problems(page) == []
    page.get_by_label("Token").fill("flow_wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("[role=alert]:has-text('token')")
    page.get_by_label("Token").fill(shown.vic)
    page.keyboard.press("Enter")
    page.wait_for_selector("#connection.live")
    until_is(lambda: texts(page, "nav li"), ["Overview", "Agents", "Router"])
    page.goto(f"{url}#/agents/echo")
    page.wait_for_selector("aside h2:has-text('echo')")
    assert page.locator("aside button").count() == 0
    assert page.get_by_role("button", name="Drain this node").count() == 0
    kept = page.evaluate("[document.cookie, localStorage.length, sessionStorage.length]")
    assert kept == ["", 0, 1]
    assert shown.vic not in page.url
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_selector("h1:has-text('Sign in')")
    assert page.evaluate("sessionStorage.length") == 0
    page.get_by_label("Token").fill(shown.ann)
    page.keyboard.press("Enter")
    page.wait_for_selector("#connection.live")
    until_is(lambda: texts(page, "nav li"), [one.capitalize() for one in VIEWS])


def test_markup_in_what_agents_and_people_say_is_text(shown: Shown) -> None:
    hostile = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    put = {"text": hostile, "key": hostile[:20]}
    shown.ask("/call", {"tool": "memory.put", "arguments": {**put, "namespace": "hostile"}})
    page = shown.open("memory")
    page.get_by_label("Namespace").select_option("hostile")
    page.wait_for_selector(f"td:has-text('{hostile}')")
    assert page.locator("main img, main script").count() == 0


def test_a_drain_is_asked_about_done_and_seen(shown: Shown) -> None:
    page = shown.open("overview")
    page.get_by_role("button", name="Drain this node").click()
    page.wait_for_selector("dialog[open] h2:has-text('Drain shown?')")
    assert problems(page) == []
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    assert shown.ask("/status")["draining"] is False
    page.get_by_role("button", name="Drain this node").click()
    page.get_by_role("button", name="Drain", exact=True).click()
    page.wait_for_selector("#connection.lost")
    assert shown.node.process.wait(timeout=30) == 0
    page.close()
    shown.browser.wrong.clear()  # that nobody answers any more is told in the console, too
