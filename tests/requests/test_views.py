"""Which guards say who is shown what."""

from __future__ import annotations

from collections.abc import Hashable

from flowcore.envelope import Principal
from flowcore.requests import Guard, Guards

ANN = Principal(name="ann")


class Viewing(Guard):
    """Shows everybody something of their own."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def view(self, principal: Principal) -> Hashable:
        return f"{self.mark} {principal.name}"


def test_the_view_is_that_of_every_guard_an_edge_meets_each_once() -> None:
    node, agent = Viewing("node"), Viewing("agent")
    guards = Guards((node,), {"mcp": (Guard(),)}, {"a": (agent,), "b": (agent, node)})
    assert guards.view("mcp", ANN) == ("node ann", None, "agent ann")
    assert guards.view("other", ANN) == ("node ann", "agent ann")
    assert guards.view("other", Principal(name="bob")) == ("node bob", "agent bob")


def test_guards_that_are_placed_later_are_asked_too() -> None:
    guards = Guards((), {}, {"a": (Guard(),)})
    assert guards.view("mcp", ANN) is None
    guards.place("a", (Viewing("new"),))
    assert guards.view("mcp", ANN) == ("new ann",)
    guards.place("a", ())
    assert guards.view("mcp", ANN) is None
