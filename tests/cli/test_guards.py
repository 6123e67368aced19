"""`flowctl guards` against a real node: what guards did, and a breaker that an operator opens and lets go."""

from __future__ import annotations

from support.node import ROOT, serving

FREE = ("--set", "edge.mcp.bind=127.0.0.1:0", "--set", "edge.api.bind=127.0.0.1:0")
CALL = ("call", "text.compare", "left=a", "right=b")


def test_guards_are_shown_with_what_they_did_and_do_what_an_operator_asks() -> None:
    with serving(ROOT / "configs" / "limits.toml", *FREE) as node:
        assert node.ctl(*CALL).returncode == 0
        shown = node.ctl_json("guards")["guards"]
        assert {name: about["type"] for name, about in shown.items()} == {
            "breaker": "breaker",
            "crowd": "concurrency",
            "rates": "rate_limit",
        }
        assert [about["allowed"] for about in shown.values()] == [1, 1, 1]
        assert shown["breaker"]["agents"]["text"]["state"] == "closed"

        opened = node.ctl("guards", "breaker", "open", "agent=text")
        assert opened.returncode == 0, opened.stderr
        assert "breaker: open" in opened.stdout
        refused = node.ctl(*CALL)
        assert refused.returncode == 1
        assert "the breaker of agent 'text' is forced open: by an operator" in refused.stderr
        table = node.ctl("guards").stdout
        assert "forced open for" in table
        assert "1 by breaker" in table
        components = {one["component"]: one for one in node.ctl_json("status")["components"]}
        assert components["guard.breaker"]["status"] == "degraded"

        assert node.ctl("guards", "breaker", "auto", "agent=text").returncode == 0
        assert node.ctl(*CALL).returncode == 0
        counts = node.ctl_json("guards")["guards"]["breaker"]
        assert (counts["allowed"], counts["refused"]) == (2, {"breaker": 1})


def test_what_a_guard_cannot_do_is_said() -> None:
    with serving(ROOT / "configs" / "limits.toml", *FREE) as node:
        for words, said in (
            (("nobody", "open"), "there is no guard 'nobody'"),
            (("breaker", "explode"), "can be told open, close, auto, not 'explode'"),
            (("breaker", "open"), "expected one argument: agent, the name of an agent"),
            (("breaker", "open", "agent=nobody"), "there is no agent 'nobody'"),
            (("rates", "open"), "this guard has no action 'open'"),
        ):
            done = node.ctl("guards", *words)
            assert done.returncode == 1
            assert said in done.stderr
        done = node.ctl("guards", "breaker")
        assert done.returncode == 2
        assert "needs what it is to do" in done.stderr


def test_a_flood_is_answered_with_429_and_when_to_come_back() -> None:
    settings = ("--set", "guard.rates.principal={rate=0.01, burst=5}")
    with serving(ROOT / "configs" / "limits.toml", *FREE, *settings) as node:
        assert node.ctl(*CALL).returncode == 0
        done = node.ctl(*CALL, "--json")
        assert done.returncode == 1
        assert "too many requests of this principal" in done.stderr
        assert '"retryAfter": ' in done.stdout
        assert node.ctl_json("guards")["guards"]["rates"]["refused"]["principal"] == 1
