"""Tasks: requests whose caller does not wait."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from typing import Any

import attrs
import msgspec
import pytest
import trio
import trio.testing
from msgspec import Raw

from flowcore.agents import AgentSettings
from flowcore.envelope import Envelope, Principal, Reply
from flowcore.errors import (
    CallCancelled,
    CallError,
    DeadlineExceeded,
    InternalError,
    InvalidArguments,
    Overloaded,
    UnknownTarget,
    UpstreamError,
)
from flowcore.mcp import MissingCapability
from flowcore.requests import Requests, Task, TaskState
from support.doers import OK, ScriptedAgent, call, requests_of
from support.natives import ScriptedPeer

ANN = Principal(name="ann")
STRANGERS = (Principal(name="bob"), Principal(name="ann", scheme="jwt"))
FORM = Raw(b'{"message":"who?","requestedSchema":{"type":"object"}}')


async def ended(task: Task) -> Task:
    """The task, once it is final and put away."""
    while not task.final or task.ended is None:
        await task.changed.wait() if not task.final else await trio.lowlevel.checkpoint()
    return task


async def forever(envelope: Envelope) -> Reply:
    await trio.sleep_forever()
    raise AssertionError


def mine(**more: Any) -> Envelope:
    return call(principal=ANN, **more)


async def test_a_task_runs_to_its_result() -> None:
    async with requests_of(ScriptedAgent()) as requests:
        envelope = mine()
        task = requests.tasks.begin(envelope)
        assert (task.state, task.final, task.reply) == (TaskState.WORKING, False, None)
        assert (task.owner, task.agent, task.name) == (ANN.owner, "mine", "work")
        assert task.request == envelope.id
        assert task.created.tzinfo is UTC
        assert requests.tasks.find(task.id, ANN.owner) is task
        await ended(task)
        assert (task.state, task.reply, task.error) == (TaskState.COMPLETED, OK, None)
        assert requests.tasks.find(task.id, ANN.owner) is task
        assert requests.statistics().results == 1


@pytest.mark.parametrize("error", [UpstreamError("no", code=5), InternalError("x")])
async def test_a_task_fails_with_the_error_of_its_request(error: CallError) -> None:
    async with requests_of(ScriptedAgent([error])) as requests:
        task = await ended(requests.tasks.begin(mine()))
        assert task.state is TaskState.FAILED
        assert task.message == error.message
        assert task.error is not None
        assert task.error.wire() == error.wire()
        assert task.error.__traceback__ is None


async def test_a_fault_of_the_edge_fails_the_task_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(envelope: Envelope) -> Reply:
        raise ValueError("secret")

    async with requests_of(ScriptedAgent()) as requests:
        task = await ended(requests.tasks.begin(mine(), submit=broken))
        assert task.state is TaskState.FAILED
        assert isinstance(task.error, InternalError)
        assert "secret" not in str(task.error.wire())
        assert "secret" in caplog.text
        assert (await ended(requests.tasks.begin(mine()))).state is TaskState.COMPLETED


@pytest.mark.parametrize("stranger", STRANGERS, ids=["another name", "another scheme"])
async def test_a_task_belongs_to_whoever_began_it(stranger: Principal) -> None:
    async with requests_of(ScriptedAgent([forever])) as requests:
        tasks = requests.tasks
        task = tasks.begin(mine())
        operations: list[Callable[[], Task]] = [
            lambda: tasks.find(task.id, stranger.owner),
            lambda: tasks.cancel(task.id, stranger.owner),
            lambda: tasks.answer(task.id, stranger.owner, {}),
            lambda: tasks.find("x" * 10_000, ANN.owner),
        ]
        for operation in operations:
            with pytest.raises(UnknownTarget) as caught:
                operation()
            assert len(str(caught.value.data)) < 300
        assert not task.final
        assert len(task.id) >= 32


async def test_a_task_can_be_cancelled_once() -> None:
    async with requests_of(ScriptedAgent([forever, OK])) as requests:
        task = requests.tasks.begin(mine())
        await trio.testing.wait_all_tasks_blocked()
        assert requests.tasks.cancel(task.id, ANN.owner) is task
        assert task.state is TaskState.CANCELLED
        await ended(task)
        assert isinstance(task.error, CallCancelled)
        assert requests.statistics().cancelled == 1
        done = await ended(requests.tasks.begin(mine()))
        requests.tasks.cancel(done.id, ANN.owner)
        assert done.state is TaskState.COMPLETED


async def test_a_result_that_comes_after_the_cancel_is_dropped() -> None:
    async def deaf(envelope: Envelope) -> Reply:
        with trio.CancelScope(shield=True):
            await trio.testing.wait_all_tasks_blocked()
        return OK

    async with requests_of(ScriptedAgent([deaf])) as requests:
        task = requests.tasks.begin(mine())
        await trio.lowlevel.checkpoint()
        requests.tasks.cancel(task.id, ANN.owner)
        await ended(task)
        assert (task.state, task.reply) == (TaskState.CANCELLED, None)
        assert requests.tasks.statistics().kept_bytes == 0


async def test_long_tasks_have_a_deadline_of_their_own(
    autojump_clock: trio.testing.MockClock,
) -> None:
    agent = ScriptedAgent([forever], settings=AgentSettings(deadline=30.0))
    async with requests_of(agent, task_deadline=600.0) as requests:
        began = trio.current_time()
        short = await ended(requests.tasks.begin(mine()))
        assert trio.current_time() - began == 30.0
        assert isinstance(short.error, DeadlineExceeded)
        long = await ended(requests.tasks.begin(mine(), long=True))
        assert trio.current_time() - began == 630.0
        assert (long.state, type(long.error)) == (TaskState.FAILED, DeadlineExceeded)


async def test_tasks_are_bounded_in_number() -> None:
    async with requests_of(ScriptedAgent([forever]), tasks=2) as requests:
        for _ in range(2):
            requests.tasks.begin(mine())
        with pytest.raises(Overloaded, match="2 tasks are running") as caught:
            requests.tasks.begin(mine())
        assert caught.value.retry_after == 1.0
        assert requests.tasks.statistics().refused == 1


async def test_nobody_takes_all_the_room_for_tasks() -> None:
    async with requests_of(ScriptedAgent([forever]), tasks=3, tasks_each=2) as requests:
        tasks = requests.tasks
        first, _ = tasks.begin(mine()), tasks.begin(mine())
        with pytest.raises(Overloaded, match="2 tasks of 'ann' are running") as caught:
            tasks.begin(mine())
        assert not caught.value.began
        same_name = tasks.begin(call(principal=Principal(name="ann", scheme="jwt")))
        with pytest.raises(Overloaded, match="3 tasks are running"):
            tasks.begin(call(principal=Principal(name="bob")))
        tasks.cancel(first.id, ANN.owner)
        await ended(first)
        tasks.begin(mine())
        assert not same_name.final
        assert tasks.statistics().refused == 2


async def test_final_tasks_are_kept_for_their_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def slow(envelope: Envelope) -> Reply:
        await trio.sleep(20.0)
        return OK

    async with requests_of(ScriptedAgent([slow]), keep=100.0, task_deadline=1000.0) as requests:
        task = requests.tasks.begin(mine())
        brief = requests.tasks.begin(mine(), keep=5.0)
        assert (task.ttl, brief.ttl) == (1100.0, 1005.0)
        assert requests.tasks.begin(mine(), keep=999.0).keep == 100.0
        await ended(task)
        assert (task.ttl, brief.ttl) == (120.0, 25.0)
        await trio.sleep(5.5)
        assert requests.tasks.find(task.id, ANN.owner) is task
        with pytest.raises(UnknownTarget):
            requests.tasks.find(brief.id, ANN.owner)
        await trio.sleep(95.0)
        with pytest.raises(UnknownTarget):
            requests.tasks.find(task.id, ANN.owner)
        assert requests.tasks.list() == ()


async def test_final_tasks_are_kept_up_to_a_number_and_a_size() -> None:
    large = Reply(Raw(b'"' + b"x" * 98 + b'"'))
    async with requests_of(ScriptedAgent([large]), most=3, task_bytes=250) as requests:
        made = [await ended(requests.tasks.begin(mine())) for _ in range(4)]
        assert requests.tasks.list() == (made[3], made[2])
        assert requests.tasks.statistics().kept_bytes == 200
    async with requests_of(ScriptedAgent([large]), most=3) as requests:
        made = [await ended(requests.tasks.begin(mine())) for _ in range(4)]
        assert requests.tasks.list() == (made[3], made[2], made[1])
        requests.tasks.discard(made[2])
        requests.tasks.discard(made[2])
        assert requests.tasks.list() == (made[3], made[1])
        assert requests.tasks.statistics().kept_bytes == 200


@pytest.mark.parametrize("bound", [{"task_bytes": 500}, {"most": 5}])
async def test_who_keeps_much_does_not_push_out_what_others_keep(bound: dict[str, Any]) -> None:
    large = Reply(Raw(b'"' + b"x" * 98 + b'"'))
    bob = Principal(name="bob")
    async with requests_of(ScriptedAgent([large]), **bound) as requests:
        tasks = requests.tasks
        first = [await ended(tasks.begin(mine())) for _ in range(2)]
        flood = [await ended(tasks.begin(call(principal=bob))) for _ in range(9)]
        assert set(tasks.list()) == {*first, *flood[-3:]}
        assert tasks.statistics().kept_bytes == 500


async def test_a_kept_result_does_not_hold_on_to_its_message() -> None:
    message = b'{"result":{"a":1},"rest":"' + b"x" * 10_000 + b'"}'
    part: dict[str, Raw] = msgspec.json.decode(message, type=dict[str, Raw])
    async with requests_of(ScriptedAgent([Reply(part["result"])])) as requests:
        task = await ended(requests.tasks.begin(mine()))
        assert requests.tasks.statistics().kept_bytes == 7
        assert task.reply == Reply(Raw(b'{"a":1}'))


async def test_statistics_count_tasks() -> None:
    agent = ScriptedAgent([OK, InternalError("x"), forever])
    async with requests_of(agent) as requests:
        await ended(requests.tasks.begin(mine()))
        await ended(requests.tasks.begin(mine()))
        cancelled, running = requests.tasks.begin(mine()), requests.tasks.begin(mine())
        await trio.testing.wait_all_tasks_blocked()
        requests.tasks.cancel(cancelled.id, ANN.owner)
        await ended(cancelled)
        assert requests.tasks.list()[0] is running
        assert attrs.asdict(requests.tasks.statistics()) == {
            "begun": 4,
            "running": 1,
            "completed": 1,
            "failed": 1,
            "cancelled": 1,
            "refused": 0,
            "kept": 3,
            "kept_bytes": len(b'{"content":[]}'),
        }


async def test_progress_becomes_the_message_and_wakes_who_watches() -> None:
    steps: list[Raw] = [
        Raw(b'{"progress":1,"total":4}'),
        Raw(b'{"progress":2.5}'),
        Raw(b'{"progress":3,"message":"nearly"}'),
        Raw(b'{"progress":"x"}'),
        Raw(b"[]"),
        Raw(b"{}"),
        Raw(b'{"message":"' + b"m" * 5000 + b'"}'),
    ]
    seen: list[str] = []

    async def work(envelope: Envelope) -> Reply:
        for step in steps:
            envelope.peer.notify("notifications/progress", step)
            await trio.testing.wait_all_tasks_blocked()
        envelope.peer.notify("notifications/message", Raw(b"{}"))
        return OK

    peer = ScriptedPeer()
    async with requests_of(ScriptedAgent([work])) as requests:
        task = requests.tasks.begin(mine(peer=peer))
        while not task.final:
            await task.changed.wait()
            if not task.final:
                seen.append(task.message)
    assert seen[:6] == ["1 of 4", "2.5", "nearly", "nearly", "nearly", "nearly"]
    assert len(seen[6]) == 1000
    assert [method for method, _ in peer.told].count("notifications/progress") == 7


async def test_a_task_asks_and_goes_on_with_the_answers(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def work(envelope: Envelope) -> Reply:
        await trio.sleep(4.0)
        answers: list[Raw] = []

        async def ask() -> None:
            answers.append(await envelope.peer.request("elicitation/create", FORM))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            nursery.start_soon(ask)
        await trio.sleep(4.0)
        return Reply(Raw(msgspec.json.encode(answers)))

    peer = ScriptedPeer(capabilities={"elicitation": Raw(b"{}")})
    agent = ScriptedAgent([work], settings=AgentSettings(deadline=10.0))
    async with requests_of(agent, grace=1.0) as requests:
        tasks = requests.tasks
        task = tasks.begin(mine(peer=peer))
        while len(task.questions) < 2:
            await task.changed.wait()
        assert task.state is TaskState.INPUT_REQUIRED
        first, second = task.questions
        assert first != second
        assert task.questions[first].method == "elicitation/create"
        assert task.questions[first].params == FORM
        await trio.sleep(100.0)  # the person's time is not the agent's
        with pytest.raises(InvalidArguments, match="must be an object"):
            tasks.answer(task.id, ANN.owner, {first: Raw(b"5"), second: Raw(b"{}")})
        tasks.answer(task.id, ANN.owner, {first: Raw(b'{"n":1}'), "unknown": Raw(b"7")})
        assert list(task.questions) == [second]
        assert task.state is TaskState.INPUT_REQUIRED
        tasks.answer(task.id, ANN.owner, {first: Raw(b'{"n":9}')})
        tasks.answer(task.id, ANN.owner, {second: Raw(b'{"n":2}')})
        assert task.state.value == "working"
        await ended(task)
        assert task.state.value == "completed"
        assert task.reply is not None
        answers = msgspec.json.decode(task.reply.result)
        assert sorted(one["n"] for one in answers) == [1, 2]
        assert peer.asked == []


async def test_a_question_that_is_given_up_is_asked_no_more(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def work(envelope: Envelope) -> Reply:
        with trio.move_on_after(5.0):
            await envelope.peer.request("elicitation/create", FORM)
        await trio.sleep(5.0)
        return OK

    peer = ScriptedPeer(capabilities={"elicitation": Raw(b"{}")})
    async with requests_of(ScriptedAgent([work])) as requests:
        task = requests.tasks.begin(mine(peer=peer))
        await trio.sleep(1.0)
        assert task.state is TaskState.INPUT_REQUIRED
        await trio.sleep(5.0)
        assert task.state.value == "working"
        assert task.questions == {}
        assert (await ended(task)).state is TaskState.COMPLETED


async def test_a_task_asks_only_what_its_caller_can_answer() -> None:
    async def work(envelope: Envelope) -> Reply:
        return Reply(await envelope.peer.request("elicitation/create", FORM))

    async with requests_of(ScriptedAgent([work])) as requests:
        task = await ended(requests.tasks.begin(mine(peer=ScriptedPeer())))
        assert task.state is TaskState.FAILED
        assert isinstance(task.error, MissingCapability)


async def test_a_task_that_waits_for_ever_for_an_answer_ends_at_its_last_resort(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def work(envelope: Envelope) -> Reply:
        return Reply(await envelope.peer.request("elicitation/create", FORM))

    peer = ScriptedPeer(capabilities={"elicitation": Raw(b"{}")})
    async with requests_of(ScriptedAgent([work]), task_deadline=600.0, grace=1.0) as requests:
        began = trio.current_time()
        task = await ended(requests.tasks.begin(mine(peer=peer)))
        assert trio.current_time() - began == 601.0
        assert (task.state, type(task.error)) == (TaskState.FAILED, DeadlineExceeded)
        assert task.questions == {}


async def test_tasks_end_with_the_node() -> None:
    async with requests_of(ScriptedAgent([forever])) as requests:
        task = requests.tasks.begin(mine())
        await trio.testing.wait_all_tasks_blocked()
    assert task.state is TaskState.CANCELLED
    assert isinstance(requests, Requests)
