from __future__ import annotations

import pytest
import trio
import trio.testing

from flowcore.agents import EMPTY, Directory, State
from flowcore.agents.offers import Listable
from flowcore.errors import AgentUnavailable, UnknownTarget
from support.members import Fixed, catalog

DOWN = [State.STARTING, State.DRAINING, State.FAILED, State.STOPPED]


def directory(*members: Fixed) -> Directory:
    made = Directory()
    for member in members:
        made.join(member)
    return made


def names(made: Directory, kind: Listable = "tools") -> list[str]:
    return [one.name for one in made.listing(kind).entries]


# ---- names


def test_lists_members_by_name_and_each_in_its_own_order() -> None:
    made = directory(Fixed("b", catalog("z a")), Fixed("a", catalog("y x", prompts="p")))
    assert names(made) == ["a.y", "a.x", "b.z", "b.a"]
    assert names(made, "prompts") == ["a.p"]
    assert made.listing("tools") is made.listing("tools")


def test_a_qualified_name_leads_to_the_agents_own_tool() -> None:
    offered = catalog("now now.utc")
    made = directory(Fixed("time", offered))
    target = made.resolve("tools", "time.now.utc")
    assert (target.agent, target.name) == ("time", "now.utc")
    assert target.tool is offered.tools[1]


def test_a_prompt_is_no_tool() -> None:
    made = directory(Fixed("a", catalog(tools="t", prompts="p")))
    assert made.resolve("prompts", "a.p").tool is None
    with pytest.raises(UnknownTarget):
        made.resolve("prompts", "a.t")


def test_an_agent_with_a_dot_in_its_name_is_found() -> None:
    made = directory(Fixed("a", catalog("b.x")), Fixed("a.b", catalog("y")))
    assert made.resolve("tools", "a.b.y").agent == "a.b"
    assert made.resolve("tools", "a.b.x").agent == "a"


def test_bare_members_offer_their_own_names_and_keep_the_qualified_ones() -> None:
    made = directory(Fixed("a", catalog("echo", prompts="greet"), bare=True))
    assert names(made) == ["echo"]
    assert names(made, "prompts") == ["greet"]
    assert made.resolve("tools", "echo") == made.resolve("tools", "a.echo")
    assert made.collisions == ()


def test_two_that_claim_one_bare_name_are_both_qualified_and_it_is_said() -> None:
    made = directory(
        Fixed("a", catalog("echo own"), bare=True), Fixed("b", catalog("echo"), bare=True)
    )
    assert names(made) == ["a.echo", "own", "b.echo"]
    assert made.collisions == ("tool 'echo' is claimed by a, b: each is listed as agent.name",)
    with pytest.raises(UnknownTarget):
        made.resolve("tools", "echo")


def test_a_bare_name_that_reads_like_anothers_qualified_one_gives_way() -> None:
    made = directory(Fixed("x", catalog("time.now"), bare=True), Fixed("time", catalog("now")))
    assert names(made) == ["time.now", "x.time.now"]
    assert made.resolve("tools", "time.now").agent == "time"
    assert made.collisions == (
        "tool 'time.now' of x is listed as agent.name: 'time.now' is 'now' of time",
    )


@pytest.mark.parametrize("state", DOWN)
def test_a_bare_name_never_changes_hands_when_an_agent_goes_down(state: State) -> None:
    other = Fixed("b", catalog("echo"), bare=True)
    made = directory(Fixed("a", catalog("echo"), bare=True), other)
    other.state = state
    made.changed()
    assert names(made) == ["a.echo"]
    with pytest.raises(UnknownTarget):
        made.resolve("tools", "echo")


def test_an_offer_made_twice_counts_once_and_is_reported() -> None:
    twice = catalog("t t", "p p", "r:1 r:1", "r:{x} r:{x}")
    made = directory(Fixed("a", twice, bare=True))
    kinds: tuple[Listable, ...] = ("tools", "prompts", "resources", "templates")
    assert [len(made.listing(kind).entries) for kind in kinds] == [1, 1, 1, 1]
    assert made.resolve("tools", "t").tool is twice.tools[0]
    assert made.collisions == tuple(
        f"a offers {what} twice: the first holds"
        for what in ("tool 't'", "prompt 'p'", "resource 'r:1'", "template 'r:{x}'")
    )


# ---- resources


def test_a_template_that_several_have_is_listed_once() -> None:
    offers = catalog("t", templates="f:{x}")
    made = directory(Fixed("b", offers), Fixed("a", offers))
    assert [(one.agent, one.name) for one in made.listing("templates").entries] == [("a", "f:{x}")]
    assert [one.name for one in made.listing("tools").entries] == ["a.t", "b.t"]


def test_a_resource_belongs_to_the_first_who_has_it() -> None:
    made = directory(Fixed("b", catalog(resources="f:1 f:2")), Fixed("a", catalog(resources="f:1")))
    entries = made.listing("resources").entries
    assert [(one.agent, one.name) for one in entries] == [("a", "f:1"), ("b", "f:2")]
    assert made.resolve("resources", "f:1").agent == "a"
    assert made.collisions == ("resource 'f:1' of b is hidden by that of a",)


def test_a_resource_is_found_through_the_template_that_says_most() -> None:
    made = directory(
        Fixed("a", catalog(templates="{+any}")),
        Fixed("b", catalog(templates="db://{table}", resources="db://fixed")),
        Fixed("c", catalog(templates="db://{table}/{row}")),
    )
    assert made.resolve("resources", "db://fixed").agent == "b"
    target = made.resolve("resources", "db://users/7")
    assert (target.agent, target.name) == ("c", "db://users/7")
    assert made.resolve("resources", "db://users").agent == "b"
    assert made.resolve("resources", "else:where").agent == "a"
    with pytest.raises(UnknownTarget):
        made.resolve("resources", "else:" + "x" * 10_000)


# ---- who is not up


@pytest.mark.parametrize("state", DOWN)
def test_offers_of_who_is_down_leave_the_lists_and_their_names_are_refused(state: State) -> None:
    member = Fixed("a", catalog("t", resources="r:1", templates="s:{x}"), bare=True)
    made = directory(member, Fixed("b", catalog("t2")))
    member.state, member.reason, member.retry_after = state, "no such file", 2.0
    made.changed()
    assert names(made) == ["b.t2"]
    assert made.listing("tools").missing == ("a",)
    assert made.listing("resources").missing == ("a",)
    assert made.listing("prompts").missing == (), "it never had one"
    for kind, name in [("tools", "a.t"), ("tools", "t"), ("resources", "r:1"), ("resources", "s:")]:
        with pytest.raises(AgentUnavailable, match=f"is {state.value}: no such file") as caught:
            made.resolve(kind, name)  # type: ignore[arg-type]
        assert caught.value.retry_after == 2.0
    member.state = State.IDLE
    made.changed()
    assert names(made) == ["t", "b.t2"]


def test_what_a_paused_agent_offers_stays_listed_and_is_refused() -> None:
    made = directory(Fixed("a", catalog("t"), State.PAUSED))
    assert names(made) == ["a.t"]
    assert made.listing("tools").missing == ()
    with pytest.raises(AgentUnavailable, match="paused"):
        made.resolve("tools", "a.t")


def test_an_agent_that_never_came_up_may_have_anything() -> None:
    made = directory(Fixed("a", EMPTY, State.STARTING), Fixed("b", EMPTY, State.FAILED, bare=True))
    for kind in ("tools", "prompts", "resources", "templates"):
        assert made.listing(kind).missing == ("a", "b")
    with pytest.raises(AgentUnavailable):
        made.resolve("tools", "a.anything")
    with pytest.raises(UnknownTarget, match=r"\(not up, and may have it: b\)"):
        made.resolve("tools", "anything")


def test_an_unknown_name_is_refused_with_the_nearest_known_one() -> None:
    made = directory(Fixed("time", catalog("current")), Fixed("b", catalog("echo"), bare=True))
    with pytest.raises(
        UnknownTarget, match=r"unknown tool 'time\.curent', did you mean 'time\.cur"
    ):
        made.resolve("tools", "time.curent")
    with pytest.raises(UnknownTarget, match="unknown tool 'ecko', did you mean 'echo'"):
        made.resolve("tools", "ecko")
    with pytest.raises(UnknownTarget, match="unknown agent 'tine', did you mean 'time'"):
        made.by_name("tine")
    with pytest.raises(UnknownTarget) as caught:
        made.resolve("tools", "x" * 100_000)
    assert len(str(caught.value)) < 300


# ---- members


def test_members_are_found_by_name_role_and_all_of_some_capabilities() -> None:
    a = Fixed("a", roles=frozenset({"clock"}), capabilities=frozenset({"x", "y"}))
    b = Fixed("b", roles=frozenset({"clock"}), capabilities=frozenset({"y"}))
    made = directory(b, a)
    assert made.by_name("a") is a
    assert made.members() == (a, b)
    assert made.by_role("clock") == (a, b)
    assert made.by_role("cook") == ()
    assert made.by_capability(["y"]) == (a, b)
    assert made.by_capability(["y", "x"]) == (a,)
    assert made.by_capability(["y", "z"]) == ()
    assert made.by_capability([]) == (a, b)
    made.leave("a")
    assert made.by_role("clock") == made.by_capability(["y"]) == made.members() == (b,)
    assert made.by_capability(["x"]) == ()


def test_a_name_is_taken_once_and_free_again_after_leaving() -> None:
    made = directory(Fixed("a", catalog("t")))
    with pytest.raises(ValueError, match="'a' is already here"):
        made.join(Fixed("a"))
    made.leave("a")
    with pytest.raises(UnknownTarget):
        made.resolve("tools", "a.t")
    made.join(Fixed("a", catalog("u")))
    assert names(made) == ["a.u"]
    with pytest.raises(KeyError):
        made.leave("b")


def test_questions_without_end_are_not_all_remembered() -> None:
    made = directory(Fixed("a", roles=frozenset({"r"})))
    for number in range(5000):
        made.by_role(f"role-{number}")
        made.by_capability([f"capability-{number}"])
    assert len(made._groups._kept) <= 1024
    assert len(made.by_role("r")) == 1


def test_a_new_catalog_takes_the_place_of_the_old() -> None:
    member = Fixed("a", catalog("old"))
    made = directory(member)
    revision = made.revision
    member.catalog = catalog("new")
    made.changed()
    assert names(made) == ["a.new"]
    assert made.revision > revision
    with pytest.raises(UnknownTarget):
        made.resolve("tools", "a.old")


async def test_who_waits_for_a_change_is_woken_and_told_the_revision() -> None:
    made = directory()
    seen: list[int] = []

    async def watch() -> None:
        seen.append(await made.wait_changed(made.revision))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await trio.testing.wait_all_tasks_blocked()
        made.join(Fixed("a"))
    assert seen == [made.revision]
    assert await made.wait_changed(-1) == made.revision


def test_ten_thousand_tools_are_listed_and_one_change_among_them_shows() -> None:
    members = [
        Fixed(f"agent-{number:04}", catalog(" ".join(f"tool-{one}" for one in range(10))))
        for number in range(1000)
    ]
    made = directory(*members)
    assert len(made.listing("tools").entries) == 10_000
    indexes = dict(made._indexes)
    members[500].catalog = catalog("changed")
    made.changed()
    assert len(made.listing("tools").entries) == 9_991
    again = [name for name, index in made._indexes.items() if indexes[name] is not index]
    assert again == ["agent-0500"], "the others' offers were not gone through again"
