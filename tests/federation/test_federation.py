"""Agents of several nodes as those of one: found, called, watched, and lost."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import attrs
import pytest
import trio

from flowcore import Flow, open_flow
from flowcore.agents import Elsewhere, State, StateChanged
from flowcore.errors import (
    AgentUnavailable,
    DeadlineExceeded,
    OutcomeUnknown,
    SchemaViolation,
    UnknownTarget,
)
from flowcore.flow.federating import open_federation
from flowcore.swarm import FederationSettings, Member, MemberState
from support.gated import Gate, gates
from support.node import ROOT
from support.short_ways import Net, Node

AGENTS = f"{ROOT}/tests/support/agents.py"


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@attrs.define(eq=False)
class Known:
    """Whom one node knows, as a swarm tells it."""

    overlay: Node
    nodes: Swarm
    told: list[Callable[[Member], None]] = attrs.field(factory=list)
    known: dict[str, Member] = attrs.field(factory=dict)

    def members(self) -> dict[str, Member]:
        return self.known

    def watch(self, told: Callable[[Member], None]) -> Callable[[], None]:
        self.told.append(told)
        for member in tuple(self.known.values()):
            told(member)
        return lambda: self.told.remove(told)

    def tell(self, about: bytes) -> None:
        self.nodes.abouts[self.overlay.name] = about
        self.nodes.gossip(self.overlay.name)

    async def wait_told(self) -> None:
        """Wait until something more is told."""
        heard = trio.Event()

        def told(member: Member) -> None:
            del member
            heard.set()

        self.told.append(told)
        await heard.wait()
        self.told.remove(told)

    def hear(self, member: Member) -> None:
        self.known[member.name] = member
        for told in tuple(self.told):
            told(member)


@attrs.define(eq=False)
class Swarm:
    """Some nodes with their agents."""

    net: Net
    flows: dict[str, Flow] = attrs.field(factory=dict)
    known: dict[str, Known] = attrs.field(factory=dict)
    abouts: dict[str, bytes] = attrs.field(factory=dict)
    scopes: dict[str, trio.CancelScope] = attrs.field(factory=dict)

    async def start(self, name: str, agents: dict[str, Any]) -> Flow:
        """A node with these agents, which all others hear of."""
        await self.net.nursery.start(self._live, name, agents)
        return self.flows[name]

    async def _live(
        self, name: str, agents: dict[str, Any], *, task_status: trio.TaskStatus[None]
    ) -> None:
        known = self.known[name] = Known(self.net.add(name), self)
        with trio.CancelScope() as self.scopes[name]:
            async with AsyncExitStack() as stack:
                flow = await stack.enter_async_context(
                    open_flow({"node": {"name": name}, "agent": agents})
                )
                await flow.wait_settled()
                self.flows[name] = flow
                await stack.enter_async_context(
                    open_federation(flow, known, FederationSettings(loads=0.05))
                )
                for other in self.known:
                    self.gossip(other)
                task_status.started()
                await trio.sleep_forever()

    def gossip(self, name: str, state: MemberState = MemberState.ALIVE) -> None:
        """What a node tells of itself, as everybody who reaches it hears it."""
        about = self.abouts.get(name, b"")
        member = Member(name=name, address="", state=state, incarnation=1, since=0.0, about=about)
        for other, known in self.known.items():
            if other == name or name in self.net.nodes[other].reachable():
                known.hear(member)

    def kill(self, name: str) -> None:
        """A node is gone without a word."""
        for other in self.net.nodes:
            if other != name:
                self.net.part(name, other)
        self.scopes[name].cancel()

    def bury(self, name: str) -> None:
        """All others know that a node is dead."""
        for other, known in self.known.items():
            if other != name:
                known.hear(
                    Member(name=name, address="", state=MemberState.DEAD, incarnation=1, since=0.0)
                )

    def forget(self, name: str) -> None:
        """All others know nothing of a node any more."""
        for other, known in self.known.items():
            if other != name:
                known.known.pop(name, None)


@asynccontextmanager
async def swarm() -> AsyncGenerator[Swarm]:
    async with trio.open_nursery() as nursery:
        yield Swarm(Net(nursery))
        nursery.cancel_scope.cancel()


def demo(**more: Any) -> dict[str, Any]:
    return {"type": "python", "target": AGENTS, **more}


async def listed(flow: Flow, *names: str) -> None:
    """Wait until a node lists all of these tools."""
    with trio.fail_after(60):
        while True:
            revision = flow.directory.revision
            have = {one.name for one in flow.directory.listing("tools").entries}
            if set(names) <= have:
                return
            await flow.directory.wait_changed(revision)


async def gone(flow: Flow, name: str) -> None:
    """Wait until a node lists a tool no more."""
    with trio.fail_after(60):
        while True:
            revision = flow.directory.revision
            if name not in {one.name for one in flow.directory.listing("tools").entries}:
                return
            await flow.directory.wait_changed(revision)


async def test_each_node_lists_and_calls_the_agents_of_all() -> None:
    async with swarm() as nodes:
        alpha = await nodes.start("alpha", {"one": demo()})
        beta = await nodes.start("beta", {"two": demo()})
        await listed(alpha, "two.echo")
        await listed(beta, "one.echo")
        assert (await alpha.call("two.echo", {"text": "x"})).text == "x"
        assert (await beta.call("one.add", {"a": 1, "b": 2})).structured == {"result": 3}
        of_alpha, of_beta = (one.directory.listing("tools") for one in (alpha, beta))
        names = [one.name for one in of_alpha.entries]
        assert names == [one.name for one in of_beta.entries]
        assert of_alpha.nodes == of_beta.nodes == (("one", ("alpha",)), ("two", ("beta",)))


async def test_errors_come_back_as_they_are_raised() -> None:
    async with swarm() as nodes:
        alpha = await nodes.start("alpha", {})
        await nodes.start("beta", {"two": demo()})
        await listed(alpha, "two.echo")
        with pytest.raises(SchemaViolation):
            await alpha.call("two.echo", {"text": 1})
        with pytest.raises(UnknownTarget, match="unknown tool"):
            await alpha.call("two.nothing", {})
        failed = await alpha.call("two.fail", {"how": "tool"})
        assert failed.is_error
        with pytest.raises(DeadlineExceeded):
            await alpha.call("two.wait", {"seconds": 3600}, deadline=0.05)


async def test_a_caller_that_goes_away_cancels_the_work_at_the_other_node() -> None:
    async with swarm() as nodes:
        alpha = await nodes.start("alpha", {})
        beta = await nodes.start("beta", {"two": demo()})
        await listed(alpha, "two.wait")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(alpha.call, "two.wait", {"seconds": 3600})
            await beta.agents["two"].wait_until(State.BUSY)
            nursery.cancel_scope.cancel()
        await beta.agents["two"].wait_until(State.IDLE)
        assert beta.requests.statistics().cancelled == 1


async def test_progress_of_the_work_is_heard_where_it_was_asked_for() -> None:
    async with swarm() as nodes:
        alpha = await nodes.start("alpha", {})
        await nodes.start("beta", {"two": demo()})
        await listed(alpha, "two.steps")
        told: list[tuple[float, float | None, str]] = []
        await alpha.call(
            "two.steps",
            {"count": 3},
            on_progress=lambda *one: told.append(one),
        )
        assert [one[0] for one in told] == [1.0, 2.0, 3.0]


async def test_a_large_result_comes_whole() -> None:
    async with swarm() as nodes:
        alpha = await nodes.start("alpha", {})
        await nodes.start("beta", {"two": demo()})
        await listed(alpha, "two.echo")
        text = "0123456789" * 50_000
        assert (await alpha.call("two.echo", {"text": text, "times": 3})).text == 3 * text


async def test_a_node_that_is_lost_while_it_works_leaves_the_outcome_unknown_at_once() -> None:
    async with swarm() as nodes:
        alpha = await nodes.start("alpha", {})
        beta = await nodes.start("beta", {"two": demo()})
        await listed(alpha, "two.wait")
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(OutcomeUnknown, match="was lost while it did"):
                    await alpha.call("two.wait", {"seconds": 3600}, deadline=3600)

            nursery.start_soon(ask)
            await beta.agents["two"].wait_until(State.BUSY)
            nodes.kill("beta")
        nodes.bury("beta")
        await gone(alpha, "two.wait")
        assert "two" in alpha.directory.listing("tools").missing
        with pytest.raises(AgentUnavailable, match="is dead"):
            await alpha.call("two.echo", {"text": "x"})


async def test_a_silent_node_that_is_declared_dead_is_waited_for_no_longer() -> None:
    async with swarm() as nodes:
        alpha = await nodes.start("alpha", {})
        beta = await nodes.start("beta", {"two": demo()})
        await listed(alpha, "two.wait")
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(OutcomeUnknown, match="is dead"):
                    await alpha.call("two.wait", {"seconds": 3600}, deadline=3600)

            nursery.start_soon(ask)
            await beta.agents["two"].wait_until(State.BUSY)
            nodes.bury("beta")  # its way still stands: it does not answer, that is all


async def test_what_cannot_begin_at_one_node_is_done_by_another() -> None:
    async with swarm() as nodes:
        alpha = await nodes.start("alpha", {})
        beta = await nodes.start("beta", {"two": demo()})
        gamma = await nodes.start("gamma", {"two": demo()})
        await listed(alpha, "two.echo")
        with trio.fail_after(60):
            while len(alpha.roster.doers["two"].nodes) < 2:  # type: ignore[attr-defined]
                await alpha.directory.wait_changed(alpha.directory.revision)
        beta.agents["two"].pause()
        for number in range(20):
            assert (await alpha.call("two.echo", {"text": str(number)})).text == str(number)
        assert gamma.agents["two"].statistics().succeeded == 20
        nodes.net.part("alpha", "gamma")
        beta.agents["two"].resume()
        with trio.fail_after(60):
            while not any(
                place.available and place.node == "beta"
                for place in alpha.roster.doers["two"].places.values()  # type: ignore[attr-defined]
            ):
                await alpha.directory.wait_changed(alpha.directory.revision)
        assert (await alpha.call("two.echo", {"text": "y"})).text == "y"


async def test_an_agent_here_is_preferred_while_it_is_not_busy() -> None:
    async with swarm() as nodes:
        alpha = await nodes.start("alpha", {"two": demo()})
        beta = await nodes.start("beta", {"two": demo()})
        with trio.fail_after(60):
            while len(getattr(alpha.roster.doers["two"], "nodes", ())) < 2:
                await alpha.directory.wait_changed(alpha.directory.revision)
        for _ in range(10):
            await alpha.call("two.echo", {"text": "x"})
        assert alpha.agents["two"].statistics().succeeded == 10
        alpha.agents["two"].pause()
        await alpha.call("two.echo", {"text": "x"})
        assert beta.agents["two"].statistics().succeeded == 1


async def test_what_happens_to_an_agent_is_heard_at_every_node_in_order() -> None:
    async with swarm() as nodes:
        alpha = await nodes.start("alpha", {})
        beta = await nodes.start("beta", {"two": demo()})
        await listed(alpha, "two.echo")
        async with alpha.events() as events:
            beta.agents["two"].pause()
            beta.agents["two"].resume()
            seen = []
            with trio.fail_after(60):
                async for event in events:
                    if isinstance(event, Elsewhere) and isinstance(event.event, StateChanged):
                        seen.append((event.node, event.event.agent, event.event.new.value))
                    if len(seen) == 2:
                        break
        assert seen == [("beta", "two", "paused"), ("beta", "two", "idle")]


async def test_a_node_that_comes_back_has_its_agents_again() -> None:
    async with swarm() as nodes:
        alpha = await nodes.start("alpha", {})
        await nodes.start("beta", {"two": demo()})
        await listed(alpha, "two.echo")
        nodes.kill("beta")
        nodes.bury("beta")
        await gone(alpha, "two.echo")
        nodes.net.cut.clear()
        await nodes.start("beta", {"two": demo(), "three": demo()})
        await listed(alpha, "two.echo", "three.echo")
        assert (await alpha.call("three.echo", {"text": "x"})).text == "x"


async def test_a_node_that_failed_too_often_is_asked_again_as_soon_as_it_is_back() -> None:
    async with swarm() as nodes:
        alpha = await nodes.start("alpha", {})
        await nodes.start("beta", {"two": demo()})
        await listed(alpha, "two.echo")
        nodes.net.part("alpha", "beta")
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(AgentUnavailable):
                    await alpha.call("two.echo", {"text": "x"}, deadline=5)

            for _ in range(10):
                nursery.start_soon(ask)
        with pytest.raises(AgentUnavailable, match="failed too often") as told:
            await alpha.call("two.echo", {"text": "x"}, deadline=1)
        assert told.value.retry_after is not None
        assert told.value.retry_after <= 1
        nodes.bury("beta")
        nodes.net.heal()
        nodes.gossip("beta")
        await listed(alpha, "two.echo")
        assert (await alpha.call("two.echo", {"text": "x"})).text == "x"


async def test_what_may_be_repeated_is_done_by_the_same_node_again() -> None:
    """Under the same id, whose first attempt that node has seen end, or still sees run."""
    async with swarm() as nodes:
        alpha = await nodes.start("alpha", {})
        gates.append(Gate())
        beta = await nodes.start(
            "beta",
            {"two": {"type": "python", "target": "support.gated:Gated", "options": {"node": "b"}}},
        )
        await listed(alpha, "two.again")
        results: list[str] = []
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                results.append((await alpha.call("two.again", {"request": "x"}, deadline=30)).text)

            nursery.start_soon(ask)
            await gates[-1].until_run({"x": 1})
            nodes.net.part("alpha", "beta")
            nodes.net.heal()
            await gates[-1].until_run({"x": 2})
            gates.pop().open()
        assert results == ["b"]
        ids = {entry.id for entry in beta.requests.tracker.entries()}
        assert len(ids) == 2
        assert len({one.partition("/")[0] for one in ids}) == 1


async def test_a_refusal_of_another_node_may_be_overcome_by_asking_it_again() -> None:
    async with swarm() as nodes:
        alpha = await nodes.start("alpha", {})
        beta = await nodes.start("beta", {"two": demo()})
        await listed(alpha, "two.echo")
        beta.agents["two"].pause()  # which alpha does not know yet
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                assert (await alpha.call("two.add", {"a": 1, "b": 2})).structured == {"result": 3}

            nursery.start_soon(ask)
            with trio.fail_after(60):
                while not beta.requests.statistics().errors:
                    await trio.lowlevel.checkpoint()
            beta.agents["two"].resume()


@asynccontextmanager
async def states(flow: Flow, agent: str, *wanted: str) -> AsyncGenerator[None]:
    """Wait until what is told of an agent elsewhere ends in these states."""
    seen: list[str] = []
    async with flow.events() as events:
        yield
        with trio.fail_after(60):
            async for event in events:
                happened = event.event if isinstance(event, Elsewhere) else None
                if isinstance(happened, StateChanged) and happened.agent == agent:
                    seen.append(happened.new.value)
                    if tuple(seen[-len(wanted) :]) == wanted:
                        return


async def test_who_was_told_that_an_agent_is_lost_is_told_that_it_is_back() -> None:
    async with swarm() as nodes:
        alpha = await nodes.start("alpha", {})
        await nodes.start("beta", {"two": demo()})
        await listed(alpha, "two.echo")
        async with states(alpha, "two", "stopped", "idle"):
            nodes.net.part("alpha", "beta")
            nodes.bury("beta")
            nodes.net.cut.clear()
            nodes.gossip("beta")
        assert (await alpha.call("two.echo", {"text": "x"})).text == "x"


async def test_of_a_node_that_began_anew_it_is_told_what_its_agents_are_now() -> None:
    async with swarm() as nodes:
        alpha = await nodes.start("alpha", {})
        await nodes.start("beta", {"two": demo()})
        await listed(alpha, "two.echo")
        async with states(alpha, "two", "idle"):
            nodes.kill("beta")  # and nobody has noticed
            nodes.net.cut.clear()
            await nodes.start("beta", {"two": demo()})


async def test_an_agent_that_has_another_role_from_now_on_has_it_at_every_node() -> None:
    def of(**more: Any) -> dict[str, Any]:
        return {"node": {"name": "beta"}, "agent": {"two": demo(**more)}}

    async with swarm() as nodes:
        alpha = await nodes.start("alpha", {})
        beta = await nodes.start("beta", {"two": demo(roles=["old"], capabilities=["a"])})
        await listed(alpha, "two.echo")
        assert [one.name for one in alpha.directory.by_role("old")] == ["two"]
        await beta.reload(of(roles=["new"], capabilities=["b"]))
        for flow in (beta, alpha):
            with trio.fail_after(60):
                while not flow.directory.by_role("new"):
                    await flow.directory.wait_changed(flow.directory.revision)
            assert not flow.directory.by_role("old")
            assert not flow.directory.by_capability(["a"])
            assert [one.name for one in flow.directory.by_capability(["b"])] == ["two"]
        assert (await alpha.call("two.echo", {"text": "x"})).text == "x"


async def test_an_agent_that_is_taken_away_leaves_all_lists() -> None:
    async with swarm() as nodes:
        alpha = await nodes.start("alpha", {})
        beta = await nodes.start("beta", {"two": demo(), "three": demo()})
        await listed(alpha, "two.echo", "three.echo")
        await beta.reload({"node": {"name": "beta"}, "agent": {"two": demo()}})
        await gone(alpha, "three.echo")
        with pytest.raises(UnknownTarget):
            await alpha.call("three.echo", {"text": "x"})


async def test_a_request_for_one_node_is_done_there_or_nowhere() -> None:
    async with swarm() as nodes:
        alpha = await nodes.start("alpha", {"two": demo(roles=["r"])})
        beta = await nodes.start("beta", {"two": demo(roles=["r"])})
        with trio.fail_after(60):
            while len(getattr(alpha.roster.doers["two"], "nodes", ())) < 2:
                await alpha.directory.wait_changed(alpha.directory.revision)
        came = await alpha.broadcast("echo", {"text": "x"}, role="r")
        assert came.settled
        assert sorted(one.expert for one in came.answers) == ["two@alpha", "two@beta"]
        beta.agents["two"].pause()
        came = await alpha.broadcast("echo", {"text": "x"}, role="r")
        assert not came.settled
        assert [one.name for one in came.refused + came.missed] == ["two@beta"]
        nodes.kill("beta")
        nodes.bury("beta")
        came = await alpha.broadcast("echo", {"text": "x"}, role="r")
        assert [(one.name, one.why) for one in came.missed] == [("two@beta", "node 'beta' is dead")]
        came = await alpha.broadcast("echo", {"text": "x"}, role="r", want="first")
        assert [one.expert for one in came.chosen] == ["two@alpha"]


async def test_a_node_that_is_forgotten_takes_its_names_with_it() -> None:
    async with swarm() as nodes:
        alpha = await nodes.start("alpha", {})
        await nodes.start("beta", {"two": demo()})
        await listed(alpha, "two.echo")
        nodes.kill("beta")
        nodes.bury("beta")
        with pytest.raises(AgentUnavailable):
            await alpha.call("two.echo", {"text": "x"})
        nodes.forget("beta")
        with trio.fail_after(60):
            while "two" in alpha.roster.doers:
                await alpha.directory.wait_changed(alpha.directory.revision)
        with pytest.raises(UnknownTarget):
            await alpha.call("two.echo", {"text": "x"})


async def test_loads_travel() -> None:
    async with swarm() as nodes:
        alpha = await nodes.start("alpha", {})
        beta = await nodes.start("beta", {"two": demo(pool={"max": 2, "min": 2, "concurrency": 1})})
        await listed(alpha, "two.wait")
        place = alpha.roster.doers["two"].places["beta"]  # type: ignore[attr-defined]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(beta.call, "two.wait", {"seconds": 3600})
            with trio.fail_after(60):
                while not place.load:
                    await nodes.known["alpha"].wait_told()
            assert 0 < place.load <= 1
            nursery.cancel_scope.cancel()


async def test_who_is_too_slow_for_events_is_told_that_some_are_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flowcore.federation.events.WAITING", 2)
    async with swarm() as nodes:
        alpha = await nodes.start("alpha", {})
        beta = await nodes.start("beta", {"two": demo()})
        await listed(alpha, "two.echo")
        node = nodes.net.nodes["beta"]
        send, held = node.send, trio.Event()

        async def hold(*words: Any) -> None:
            await held.wait()
            await send(*words)

        monkeypatch.setattr(node, "send", hold)
        async with alpha.events() as events:
            for _ in range(10):
                beta.agents["two"].pause()
                beta.agents["two"].resume()
            held.set()
            beta.agents["two"].pause()
            seen: list[str] = []
            with trio.fail_after(60):
                async for event in events:
                    if isinstance(event, Elsewhere):
                        what = event.event
                        assert what is None or isinstance(what, StateChanged)
                        seen.append("missing" if what is None else what.new.value)
                        if seen[-1] == "missing":
                            break
                beta.agents["two"].resume()
                async for event in events:
                    if isinstance(event, Elsewhere) and isinstance(event.event, StateChanged):
                        break
        assert len(seen) < 10


async def test_what_was_known_and_is_forgotten_meanwhile_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with swarm() as nodes:
        alpha = await nodes.start("alpha", {})
        await nodes.start("gamma", {"two": demo()})
        await listed(alpha, "two.echo")
        node = nodes.net.nodes["alpha"]
        opened = node.open
        asked: list[str] = []

        async def open_(to: str, *words: Any, **more: Any) -> Any:
            stream = await opened(to, *words, **more)
            if to == "beta" and not asked:
                asked.append(to)
                finish = stream.finish

                async def forget() -> None:
                    await finish()  # it has said which catalogs it knows: that of gamma
                    nodes.kill("gamma")
                    nodes.forget("gamma")
                    federation = alpha.roster._federation
                    assert federation is not None
                    federation.keep({"alpha", "beta"})

                monkeypatch.setattr(stream, "finish", forget)
            return stream

        monkeypatch.setattr(node, "open", open_)
        await nodes.start("beta", {"two": demo()})
        await listed(alpha, "two.echo")
        with trio.fail_after(60):
            while getattr(alpha.roster.doers.get("two"), "nodes", ()) != ("beta",):
                await alpha.directory.wait_changed(alpha.directory.revision)
        assert asked == ["beta"]
        assert (await alpha.call("two.echo", {"text": "x"})).text == "x"
