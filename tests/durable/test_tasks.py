"""Tasks that outlive a node: kept, claimed, done by another one, or told as unknown."""

from __future__ import annotations

import pathlib
import time
from typing import Any

import pytest
import trio
from msgspec import Raw

from flowcore.envelope import Principal
from flowcore.errors import (
    AgentUnavailable,
    OutcomeUnknown,
    QuotaExceeded,
    TooLarge,
    UnknownTarget,
    UpstreamError,
)
from flowcore.requests import DurableSettings, Task, TaskState
from flowcore.state import (
    CancelTask,
    DeclareLost,
    StateSettings,
    SubmitTask,
    Tidy,
    WorkSettings,
)
from support.doers import Answer, ScriptedAgent, tools
from support.sharing import Gate, Shared, Sharing, said, sharing

ANN = Principal(name="ann", scheme="jwt")


def answering(*answers: Answer, **hints: bool) -> ScriptedAgent:
    return ScriptedAgent(answers=list(answers), catalog=tools("work", **hints))


async def ended(shared: Shared, node: Sharing, id_: str, owner: Any = ANN.owner) -> Task:
    """A task, once it is final, as a node tells it."""
    with trio.fail_after(20):
        while True:
            found = await node.requests.tasks.look(id_, owner)
            if found.final:
                return found
            await trio.sleep(0.005)


async def test_every_node_tells_of_a_task_and_what_came_of_it(tmp_path: pathlib.Path) -> None:
    gate = Gate(said("done"))
    async with sharing(tmp_path) as shared:
        alpha = await shared.start("alpha", answering(gate))
        beta = await shared.start("beta")
        task = await alpha.begin(principal=ANN)
        seen = await beta.requests.tasks.look(task.id, ANN.owner)
        assert (seen.state, seen.where) == (TaskState.WORKING, "alpha")
        assert abs(seen.ttl - task.ttl) < 1
        assert abs(seen.created.timestamp() - time.time()) < 60
        with trio.fail_after(20):
            while seen.message != "half":
                seen = await beta.requests.tasks.look(task.id, ANN.owner)
        for stranger in (Principal(name="bob", scheme="jwt"), Principal(name="ann")):
            with pytest.raises(UnknownTarget, match="no such task"):
                await beta.requests.tasks.look(task.id, stranger.owner)
            with pytest.raises(UnknownTarget, match="no such task"):
                await beta.requests.tasks.stop(task.id, stranger.owner)
        gate.opened.set()
        for node in (alpha, beta):
            found = await ended(shared, node, task.id)
            assert found.state is TaskState.COMPLETED
            assert found.reply is not None
            assert b"done" in bytes(found.reply.result)
        assert len(alpha.agent.calls) + len(beta.agent.calls) == 1


async def test_an_error_and_a_cancellation_are_told_by_every_node(tmp_path: pathlib.Path) -> None:
    gate = Gate(said("never"))
    failure = UpstreamError("no such city", code=-32001, data={"city": "x"})
    async with sharing(tmp_path) as shared:
        alpha = await shared.start("alpha", answering(failure, gate))
        beta = await shared.start("beta")
        failed = await alpha.begin(principal=ANN)
        for node in (alpha, beta):
            found = await ended(shared, node, failed.id)
            assert found.error is not None
            assert (found.state, found.error.wire_code) == (TaskState.FAILED, -32001)
            assert found.message == "no such city"
        task = await alpha.begin(principal=ANN)
        await beta.requests.tasks.stop(task.id, ANN.owner)  # from the node that does not do it
        for node in (alpha, beta):
            assert (await ended(shared, node, task.id)).state is TaskState.CANCELLED
        await beta.requests.tasks.stop(task.id, ANN.owner)  # a final one stays as it is
        await alpha.requests.tasks.stop(task.id, ANN.owner)
        here = await alpha.begin(principal=ANN)
        await alpha.requests.tasks.stop(here.id, ANN.owner)
        assert (await ended(shared, beta, here.id)).state is TaskState.CANCELLED


async def test_a_task_of_a_lost_node_is_done_by_another_and_the_first_is_shut_out(
    tmp_path: pathlib.Path,
) -> None:
    gate = Gate(said("too late"))
    async with sharing(tmp_path) as shared:
        alpha = await shared.start("alpha", answering(gate, idempotent=True))
        task = await alpha.begin(principal=ANN, arguments={"text": "x"})
        beta = await shared.start("beta", answering(said("by beta"), idempotent=True))
        alpha.draining = True  # it takes nothing back
        await shared.state.do(DeclareLost(alpha.holder))
        found = await ended(shared, beta, task.id)
        assert found.reply is not None
        assert b"by beta" in bytes(found.reply.result)
        (again,) = beta.agent.calls
        assert again.arguments == {"text": "x"}
        assert (again.principal, again.id == alpha.agent.calls[0].id) == (ANN, False)
        gate.opened.set()  # alpha was there after all, and has let go of it
        await shared.until(lambda: not alpha.requests.tracker.running)
        found = await ended(shared, alpha, task.id)
        assert found.reply is not None
        assert b"by beta" in bytes(found.reply.result)
        assert beta.durable.status()["resumed"] == 1


async def test_what_may_not_be_done_twice_is_told_as_unknown(tmp_path: pathlib.Path) -> None:
    gate = Gate(said("it was done"))
    async with sharing(tmp_path) as shared:
        alpha = await shared.start("alpha", answering(gate))
        task = await alpha.begin(principal=ANN)
        beta = await shared.start("beta")
        await shared.state.do(DeclareLost(alpha.holder))
        for node in (beta, alpha):
            found = await ended(shared, node, task.id)
            assert found.state is TaskState.FAILED
            assert isinstance(found.error, OutcomeUnknown)
        assert beta.agent.calls == []


async def test_a_task_that_no_node_survives_is_given_up_after_some_attempts(
    tmp_path: pathlib.Path,
) -> None:
    gate = Gate(said("never"))
    async with sharing(tmp_path) as shared:
        alpha = await shared.start(
            "alpha", answering(gate, idempotent=True), durable=DurableSettings(attempts=2)
        )
        task = await alpha.begin(principal=ANN)
        for attempt in range(1, 3):
            await shared.until(lambda attempt=attempt: gate.waiting == attempt)  # type: ignore[misc]
            await shared.state.do(DeclareLost(alpha.holder))
        found = await ended(shared, alpha, task.id)
        assert isinstance(found.error, OutcomeUnknown)
        assert gate.waiting == 2


async def test_a_node_that_is_stopped_leaves_its_tasks_to_others(tmp_path: pathlib.Path) -> None:
    gate = Gate(said("never"))
    async with sharing(tmp_path) as shared:
        alpha = await shared.start("alpha", answering(gate, idempotent=True))
        task = await alpha.begin(principal=ANN)
        once = await alpha.begin(principal=ANN)
        alpha.draining = True
        await alpha.durable.leave()
        await shared.until(lambda: not alpha.requests.tracker.running)
        beta = await shared.start("beta", answering(said("by beta"), idempotent=True))
        for one in (task, once):
            found = await ended(shared, beta, one.id)
            assert found.state is TaskState.COMPLETED


async def test_an_agent_that_is_away_is_waited_for(tmp_path: pathlib.Path) -> None:
    from flowcore.agents import State

    gate = Gate(said("never"))
    async with sharing(tmp_path) as shared:
        alpha = await shared.start("alpha", answering(gate, idempotent=True))
        task = await alpha.begin(principal=ANN)
        away = answering(
            AgentUnavailable("just gone", began=False), said("at last"), idempotent=True
        )
        away.begins = False
        away.state = State.STARTING
        beta = await shared.start("beta", away)
        alpha.draining = True
        await shared.state.do(DeclareLost(alpha.holder))
        found = await beta.requests.tasks.look(task.id, ANN.owner)
        assert (found.state, found.message) == (
            TaskState.WORKING,
            "waits for a node that can do it",
        )
        away.state = State.IDLE
        found = await ended(shared, beta, task.id)
        assert found.state is TaskState.COMPLETED


async def test_a_task_whose_time_is_over_while_it_waits_ends_as_late(
    tmp_path: pathlib.Path,
) -> None:
    from flowcore.agents import State

    gate = Gate(said("never"))
    async with sharing(tmp_path) as shared:
        alpha = await shared.start("alpha", answering(gate, idempotent=True), task_deadline=1.0)
        task = await alpha.begin(principal=ANN)
        alpha.agent.state = State.FAILED
        await shared.state.do(DeclareLost(alpha.holder))
        with trio.fail_after(20):
            while time.time() < task.created.timestamp() + 1.01:  # noqa: ASYNC110 - a day clock
                await trio.sleep(0.01)
        alpha.agent.state = State.IDLE
        found = await ended(shared, alpha, task.id)
        assert (found.state, found.message) == (
            TaskState.FAILED,
            "the task was not done before its deadline",
        )


async def test_a_claim_that_is_not_renewed_is_over_and_one_that_is_goes_on(
    tmp_path: pathlib.Path,
) -> None:
    gate = Gate(said("done"))
    async with sharing(tmp_path) as shared:
        alpha = await shared.start("alpha", answering(gate), durable=DurableSettings(claim=3.0))
        task = await alpha.begin(principal=ANN)
        # a claimer that is not there: nobody renews for it
        await shared.state.do(
            SubmitTask(id="lost", queue="nobody's", holder="omega/1", seconds=0.5, repeatable=False)
        )
        with trio.fail_after(20):
            while True:
                found = await shared.state.task("lost")
                if found is not None and found.state == "unknown":
                    break
                await trio.sleep(0.02)
            while True:
                mine = await shared.state.task(task.id)
                assert mine is not None
                assert mine.state == "running"
                if mine.until is not None and mine.until > task.created.timestamp() + 3.5:
                    break  # it was renewed
                await trio.sleep(0.02)
        gate.opened.set()
        assert (await ended(shared, alpha, task.id)).state is TaskState.COMPLETED


async def test_what_a_task_asks_is_seen_at_every_node(tmp_path: pathlib.Path) -> None:
    answered = trio.Event()

    async def asking(envelope: Any) -> Any:
        await envelope.peer.request(
            "elicitation/create",
            Raw(b'{"message":"which one?","requestedSchema":{"type":"object","properties":{}}}'),
        )
        answered.set()
        return said("thanks")

    class Asked:
        capabilities = {"elicitation": Raw(b"{}")}  # noqa: RUF012

        def notify(self, method: str, params: Raw) -> None: ...

        async def request(self, method: str, params: Raw) -> Raw:
            raise AssertionError

    async with sharing(tmp_path) as shared:
        alpha = await shared.start("alpha", answering(asking))
        beta = await shared.start("beta")
        task = await alpha.begin(principal=ANN, peer=Asked())
        with trio.fail_after(20):
            while True:
                seen = await beta.requests.tasks.look(task.id, ANN.owner)
                if seen.state is TaskState.INPUT_REQUIRED:
                    break
                await trio.sleep(0.005)
        assert [one.method for one in seen.questions.values()] == ["elicitation/create"]
        (key,) = task.questions
        alpha.requests.tasks.answer(task.id, ANN.owner, {key: Raw(b'{"action":"accept"}')})
        assert (await ended(shared, beta, task.id)).state is TaskState.COMPLETED
        assert answered.is_set()


async def test_what_does_not_fit_is_refused_or_told(tmp_path: pathlib.Path) -> None:
    settings = StateSettings(work=WorkSettings(owner_tasks=2, owner_task_quota=2 << 20))
    async with sharing(tmp_path, settings) as shared:
        alpha = await shared.start("alpha", answering(said("x" * (3 << 20))))
        with pytest.raises(TooLarge):
            await alpha.begin(principal=ANN, arguments={"text": "y" * (5 << 20)})
        task = await alpha.begin(principal=ANN)
        found = await ended(shared, alpha, task.id)
        seen = await shared.state.task(task.id)
        assert seen is not None
        assert seen.state == "failed"  # there was no room for its result
        beta = await shared.start("beta")
        found = await ended(shared, beta, task.id)
        assert isinstance(found.error, QuotaExceeded)
        await alpha.begin(principal=ANN)
        with pytest.raises(QuotaExceeded, match="there are 2 tasks of the owner"):
            await alpha.begin(principal=ANN)


async def test_a_claim_that_nobody_was_told_of_is_given_back(tmp_path: pathlib.Path) -> None:
    async with sharing(tmp_path) as shared:
        alpha = await shared.start("alpha", answering(said("done"), idempotent=True))
        # as if the answer to a command had been lost
        await shared.state.do(SubmitTask(id="t", queue="q", holder=alpha.holder, seconds=99.0))
        with trio.fail_after(20):
            while True:
                found = await shared.state.task("t")
                assert found is not None
                if found.state == "cancelled":
                    break
                await trio.sleep(0.005)


async def test_a_task_that_cannot_be_read_fails_and_holds_nobody_up(tmp_path: pathlib.Path) -> None:
    async with sharing(tmp_path) as shared:
        alpha = await shared.start("alpha", answering(said("done"), idempotent=True))
        await shared.state.do(SubmitTask(id="broken", queue="mine", payload=b"\xc1"))
        found = await ended(shared, alpha, "broken", ("", ""))
        assert found.state is TaskState.FAILED
        assert "cannot read" in found.message
        await shared.state.do(CancelTask(id="broken"))
        await shared.state.do(Tidy())
        task = await alpha.begin(principal=ANN)
        assert (await ended(shared, alpha, task.id)).state is TaskState.COMPLETED


async def test_without_a_durable_state_tasks_are_as_they_were(tmp_path: pathlib.Path) -> None:
    async with sharing(tmp_path) as shared:
        alpha = await shared.start(
            "alpha", answering(said("done")), durable=DurableSettings(enabled=False)
        )
        before = shared.state.position
        task = await alpha.begin(principal=ANN)
        assert (await ended(shared, alpha, task.id)).state is TaskState.COMPLETED
        assert shared.state.position == before
        assert alpha.durable.status()["enabled"] is False
