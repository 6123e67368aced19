"""The way of a request: one outcome, whatever its agent does."""

from __future__ import annotations

import contextlib
import gc
import logging
from typing import Any

import attrs
import msgspec
import pytest
import trio
import trio.testing
from msgspec import Raw

from flowcore.agents import AgentSettings, State
from flowcore.envelope import Envelope, Priority, Reply
from flowcore.errors import (
    AgentUnavailable,
    CallCancelled,
    CallError,
    DeadlineExceeded,
    IdempotencyConflict,
    InternalError,
    InvalidArguments,
    InvalidRequest,
    OutcomeUnknown,
    Overloaded,
    PermissionDenied,
    StillRunning,
    UnknownTarget,
    UpstreamError,
    UpstreamFailure,
)
from flowcore.requests import Guard, Outcome, Requests
from flowcore.requests.settings import IdempotencySettings, RetrySettings
from support.doers import OK, ScriptedAgent, call, requests_of, tools


def last(requests: Requests) -> Any:
    """The entry of the request that ended last."""
    return next(one for one in requests.tracker.entries() if one.outcome is not None)


async def forever(envelope: Envelope) -> Reply:
    await trio.sleep_forever()
    raise AssertionError


async def test_a_request_gets_its_result() -> None:
    agent = ScriptedAgent()
    async with requests_of(agent) as requests:
        assert await requests.submit(call(arguments={"text": "x"})) is OK
        assert last(requests).outcome is Outcome.RESULT
        assert requests.statistics().results == 1


async def test_the_deadline_is_the_agents_or_the_callers(
    autojump_clock: trio.testing.MockClock,
) -> None:
    agent = ScriptedAgent(settings=AgentSettings(deadline=30.0))
    async with requests_of(agent, max_deadline=100.0) as requests:
        now = trio.current_time()
        for envelope in (
            call(),
            call(deadline=300.0),
            call(deadline=5.0),
            call(deadline=60.0, explicit=True),
            call(deadline=300.0, explicit=True),
        ):
            await requests.submit(envelope)
    assert [one.deadline - now for one in agent.calls] == [30.0, 30.0, 5.0, 60.0, 100.0]


async def test_a_deadline_cancels_the_work(autojump_clock: trio.testing.MockClock) -> None:
    agent = ScriptedAgent([forever])
    async with requests_of(agent) as requests:
        began = trio.current_time()
        with pytest.raises(DeadlineExceeded):
            await requests.submit(call(deadline=5.0))
        assert trio.current_time() - began == 5.0
        assert last(requests).outcome is Outcome.EXPIRED


async def test_a_deadline_that_has_passed_is_refused() -> None:
    agent = ScriptedAgent()
    async with requests_of(agent) as requests:
        with pytest.raises(DeadlineExceeded) as caught:
            await requests.submit(call(deadline=0.0))
        assert not caught.value.began
        assert requests.statistics().refused == 1
    assert agent.calls == []


async def test_work_that_shields_itself_expires_after_a_grace_and_its_result_is_late(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def stubborn(envelope: Envelope) -> Reply:
        with trio.CancelScope(shield=True):
            await trio.sleep(20.0)
        return OK

    agent = ScriptedAgent([stubborn, OK])
    async with requests_of(agent, grace=1.0) as requests:
        began = trio.current_time()
        envelope = call(deadline=5.0)

        async def watch() -> None:
            await trio.sleep(7.0)
            entry = requests.tracker.find(envelope.id, trio.current_time())
            assert entry is not None
            assert entry.outcome is Outcome.EXPIRED
            assert entry.ended - began <= 5.0 + 2 * 1.0

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            with pytest.raises(DeadlineExceeded, match="answered after the deadline"):
                await requests.submit(envelope)
        assert trio.current_time() - began == 20.0
        statistics = requests.statistics()
        assert (statistics.expired, statistics.late, statistics.results) == (1, 1, 0)
        assert "did not stop at its deadline" in caplog.text
        await requests.submit(call())


async def test_cancelling_the_caller_cancels_the_work_and_is_its_outcome() -> None:
    agent = ScriptedAgent([forever])
    async with requests_of(agent) as requests:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(requests.submit, call())
            await trio.testing.wait_all_tasks_blocked()
            assert requests.tracker.running == 1
            nursery.cancel_scope.cancel()
        assert requests.tracker.running == 0
        assert last(requests).outcome is Outcome.CANCELLED


async def test_a_group_with_a_cancellation_leaves_no_request_behind() -> None:
    async def nested(envelope: Envelope) -> Reply:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            await trio.sleep_forever()
        raise AssertionError

    async with requests_of(ScriptedAgent([nested])) as requests:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(requests.submit, call())
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert requests.tracker.running == 0


@pytest.mark.parametrize(
    "error", [UpstreamError("no", code=5), InternalError("x"), Overloaded("full", retry_after=2.0)]
)
async def test_typed_errors_pass_and_are_recorded(error: CallError) -> None:
    async with requests_of(ScriptedAgent([error])) as requests:
        with pytest.raises(type(error)) as caught:
            await requests.submit(call())
        assert caught.value is error
        assert (last(requests).outcome, last(requests).error) == (Outcome.ERROR, error.message)


async def test_a_fault_is_logged_with_the_requests_id_and_told_without_its_inside(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with requests_of(ScriptedAgent([ValueError("the secret")])) as requests:
        envelope = call()
        with pytest.raises(InternalError) as caught:
            await requests.submit(envelope)
        assert envelope.id in caught.value.message
        assert caught.value.data == {"request": envelope.id}
        assert "secret" not in msgspec.json.encode(caught.value.wire()).decode()
        assert last(requests).error == "ValueError"
    assert "the secret" in caplog.text
    assert envelope.id in caplog.text


async def test_what_is_unknown_is_refused() -> None:
    async with requests_of(ScriptedAgent()) as requests:
        with pytest.raises(UnknownTarget, match="no agent 'other'"):
            await requests.submit(call(agent="other"))
        with pytest.raises(UnknownTarget, match="no tool 'nothing'"):
            await requests.submit(call("nothing"))
        assert requests.statistics().refused == 1
        assert requests.statistics().errors == 1


async def test_what_is_no_tool_call_needs_no_tool() -> None:
    async with requests_of(ScriptedAgent()) as requests:
        assert await requests.submit(call("file:///x", method="resources/read")) is OK


async def test_arguments_are_checked_before_the_agent_sees_them() -> None:
    agent = ScriptedAgent()
    async with requests_of(agent) as requests:
        with pytest.raises(InvalidArguments, match=r"arguments\.text of 'work'"):
            await requests.submit(call(arguments={"text": 7}))
        assert last(requests).error == "SchemaViolation"
        with pytest.raises(InvalidArguments, match="Additional properties"):
            await requests.submit(call(arguments={"other": 7}))
    assert agent.calls == []


async def test_an_agent_may_check_its_arguments_itself() -> None:
    agent = ScriptedAgent(settings=AgentSettings(validate_arguments=False))
    async with requests_of(agent) as requests:
        await requests.submit(call(arguments={"text": 7}))


async def test_a_catalog_that_changes_is_looked_at_again() -> None:
    agent = ScriptedAgent()
    async with requests_of(agent) as requests:
        await requests.submit(call())
        agent.catalog = tools("other")
        await requests.submit(call("other"))
        with pytest.raises(UnknownTarget):
            await requests.submit(call())


async def test_a_full_node_refuses_at_once() -> None:
    agent = ScriptedAgent([forever])
    async with requests_of(agent, limit=2) as requests, trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(requests.submit, call())
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(Overloaded) as caught:
            await requests.submit(call())
        assert caught.value.retry_after is not None
        with pytest.raises(InvalidRequest):
            await requests.submit(agent.calls[0].again())
        nursery.cancel_scope.cancel()


# ---- retries


async def test_what_never_began_is_tried_again(autojump_clock: trio.testing.MockClock) -> None:
    agent = ScriptedAgent([AgentUnavailable("x"), UpstreamFailure("x", began=False), OK])
    async with requests_of(agent, retry=RetrySettings(base=1.0)) as requests:
        began = trio.current_time()
        assert await requests.submit(call()) is OK
        assert 0 < trio.current_time() - began <= 1.0 + 2.0
        assert requests.statistics().retries == 2
        assert requests.statistics().results == 1
    assert len(agent.calls) == 3


async def test_lost_work_is_tried_again_only_if_its_tool_may_be_repeated(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plain = ScriptedAgent([OutcomeUnknown("lost"), OK])
    reads = ScriptedAgent(
        [OutcomeUnknown("lost"), OK], catalog=tools("work", read_only=True), name="reads"
    )
    async with requests_of(plain, reads) as requests:
        with pytest.raises(OutcomeUnknown):
            await requests.submit(call())
        assert await requests.submit(call(agent="reads")) is OK
    assert (len(plain.calls), len(reads.calls)) == (1, 2)


async def test_there_are_three_attempts_at_most(autojump_clock: trio.testing.MockClock) -> None:
    agent = ScriptedAgent([AgentUnavailable("x")])
    async with requests_of(agent) as requests:
        with pytest.raises(AgentUnavailable):
            await requests.submit(call())
    assert len(agent.calls) == 3


async def test_no_attempt_is_waited_for_beyond_the_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    agent = ScriptedAgent([AgentUnavailable("x", retry_after=10.0)])
    async with requests_of(agent) as requests:
        began = trio.current_time()
        with pytest.raises(AgentUnavailable):
            await requests.submit(call(deadline=10.0))
        assert trio.current_time() == began


async def test_an_agent_that_is_down_is_not_waited_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    agent = ScriptedAgent([AgentUnavailable("failed")], state=State.FAILED)
    async with requests_of(agent) as requests:
        with pytest.raises(AgentUnavailable):
            await requests.submit(call())
    assert len(agent.calls) == 1


async def test_a_tool_of_an_agent_that_still_starts_is_not_there_yet_rather_than_unknown() -> None:
    agent = ScriptedAgent(catalog=tools("other"), state=State.STARTING)
    async with requests_of(agent) as requests:
        with pytest.raises(AgentUnavailable, match="is starting") as told:
            await requests.submit(call())
        assert not told.value.began
        agent.state = State.IDLE
        with pytest.raises(UnknownTarget, match="has no tool"):
            await requests.submit(call())
    assert not agent.calls


# ---- idempotency keys


async def test_one_key_does_its_work_once() -> None:
    agent = ScriptedAgent([OK, InternalError("never reached")])
    async with requests_of(agent) as requests:
        for _ in range(3):
            assert await requests.submit(call(idempotency_key="k")) == OK
        with pytest.raises(IdempotencyConflict):
            await requests.submit(call(idempotency_key="k", arguments={"text": "x"}))
        assert requests.statistics().replayed == 2
    assert len(agent.calls) == 1


async def test_whoever_comes_while_it_runs_joins() -> None:
    go_on = trio.Event()

    async def slow(envelope: Envelope) -> Reply:
        await go_on.wait()
        return OK

    agent = ScriptedAgent([slow])
    replies: list[Reply] = []
    async with requests_of(agent) as requests:

        async def one() -> None:
            replies.append(await requests.submit(call(idempotency_key="k")))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(one)
            await trio.testing.wait_all_tasks_blocked()
            assert len(agent.calls) == 1
            go_on.set()
    assert replies == [OK] * 5
    assert len(agent.calls) == 1


async def test_whoever_joins_waits_until_its_own_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    agent = ScriptedAgent([forever])
    async with requests_of(agent) as requests, trio.open_nursery() as nursery:
        nursery.start_soon(requests.submit, call(idempotency_key="k"))
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(DeadlineExceeded, match="still running") as caught:
            await requests.submit(call(idempotency_key="k", deadline=2.0))
        assert not caught.value.began
        nursery.cancel_scope.cancel()


async def test_running_keys_may_be_refused() -> None:
    agent = ScriptedAgent([forever])
    settings = IdempotencySettings(running="refuse")
    async with requests_of(agent, idempotency=settings) as requests:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(requests.submit, call(idempotency_key="k"))
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(StillRunning):
                await requests.submit(call(idempotency_key="k"))
            nursery.cancel_scope.cancel()


async def test_if_the_first_never_began_one_who_joined_does_the_work() -> None:
    go_on = trio.Event()
    agent = ScriptedAgent([OK], begins=False)

    async def waits_for_a_worker(envelope: Envelope) -> Reply:
        await go_on.wait()
        raise AgentUnavailable("it was not its day")

    agent.answers = [waits_for_a_worker, OK]
    outcomes: list[Any] = []
    async with requests_of(agent, retry=RetrySettings(attempts=1)) as requests:

        async def one() -> None:
            try:
                outcomes.append(await requests.submit(call(idempotency_key="k")))
            except AgentUnavailable as error:
                outcomes.append(error)

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(one)
            await trio.testing.wait_all_tasks_blocked()
            go_on.set()
    assert [type(one) for one in outcomes].count(AgentUnavailable) == 1
    assert outcomes.count(OK) == 3
    assert len(agent.calls) == 2


@pytest.mark.parametrize("began", [True, False])
async def test_work_cut_off_is_unknown_only_if_it_had_begun(began: bool) -> None:
    agent = ScriptedAgent([forever, OK], begins=began)
    async with requests_of(agent) as requests:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(requests.submit, call(idempotency_key="k"))
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        if began:
            for _ in range(2):
                with pytest.raises(OutcomeUnknown, match="cut off"):
                    await requests.submit(call(idempotency_key="k"))
        else:
            assert await requests.submit(call(idempotency_key="k")) == OK
    assert len(agent.calls) == 1 + (not began)


async def test_unknown_work_is_done_again_if_its_tool_may_be_repeated() -> None:
    agent = ScriptedAgent([ValueError("crash"), OK], catalog=tools("work", idempotent=True))
    async with requests_of(agent) as requests:
        with pytest.raises(InternalError):
            await requests.submit(call(idempotency_key="k"))
        assert await requests.submit(call(idempotency_key="k")) == OK


# ---- guards


@attrs.define
class Watchman(Guard):
    """Lets everything pass but what it is told not to, and writes down what it sees."""

    seen: list[str] = attrs.field(factory=list)
    refusal: Exception | None = None
    name: str = "a"

    def enter(self, envelope: Envelope, now: float) -> None:
        self.seen.append(f"{self.name} enters")
        if self.refusal is not None:
            raise self.refusal

    def leave(self, envelope: Envelope, now: float, error: CallError | None) -> None:
        self.seen.append(f"{self.name} leaves with {type(error).__name__}")


async def test_guards_see_every_request_come_and_go() -> None:
    log: list[str] = []
    guards = [Watchman(log, name="a"), Watchman(log, name="b")]
    agent = ScriptedAgent([OK, InternalError("x"), ValueError("x"), forever])
    async with requests_of(agent, guards=guards) as requests:
        await requests.submit(call())
        assert log == [
            "a enters",
            "b enters",
            "b leaves with NoneType",
            "a leaves with NoneType",
        ]
        for expected in ("InternalError", "InternalError"):
            log.clear()
            with pytest.raises(InternalError):
                await requests.submit(call())
            assert log[-1] == f"a leaves with {expected}"
        log.clear()
        with pytest.raises(InvalidArguments):
            await requests.submit(call(arguments=[]))
        assert log[-1] == "a leaves with SchemaViolation"
        log.clear()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(requests.submit, call())
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert log[-1] == "a leaves with CallCancelled"


async def test_a_guard_refuses_before_anything_is_done(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log: list[str] = []
    first, second = Watchman(log, name="a"), Watchman(log, name="b")
    agent = ScriptedAgent()
    async with requests_of(agent, guards=[first, second]) as requests:
        second.refusal = PermissionDenied("not you")
        with pytest.raises(PermissionDenied):
            await requests.submit(call(arguments=[]))
        assert log == ["a enters", "b enters", "a leaves with PermissionDenied"]
        second.refusal = ValueError("a guard with a fault")
        with caplog.at_level(logging.CRITICAL), pytest.raises(InternalError):
            await requests.submit(call())
    assert agent.calls == []
    assert issubclass(CallCancelled, CallError)


# ---- the end


async def test_a_drain_waits_for_what_runs_and_refuses_what_comes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def slow(envelope: Envelope) -> Reply:
        await trio.sleep(3.0)
        return OK

    agent = ScriptedAgent([slow])
    async with requests_of(agent) as requests, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(requests.submit, call())
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        assert not await requests.drain(1.0)
        with pytest.raises(AgentUnavailable, match="draining"):
            await requests.submit(call())
        assert await requests.drain(10.0)
        assert trio.current_time() - began == 3.0
        assert await requests.drain(10.0)


async def test_what_a_drain_leaves_is_cut_and_told_so(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def endless(envelope: Envelope) -> Reply:
        with trio.CancelScope() as envelope.scope:
            if envelope.priority is Priority.HIGH:  # it asks its caller, which stops its clock
                envelope.stop_clock(trio.current_time())
            await trio.sleep_forever()
        raise DeadlineExceeded("over")

    ended: list[str] = []

    async def asks(priority: Priority) -> None:
        with pytest.raises(DeadlineExceeded, match="over"):
            await requests.submit(call(priority=priority))
        ended.append(priority.name)

    async with requests_of(ScriptedAgent([endless])) as requests, trio.open_nursery() as nursery:
        for priority in Priority:
            nursery.start_soon(asks, priority)
        await trio.testing.wait_all_tasks_blocked()
        assert not await requests.drain(1.0)
        began = trio.current_time()
        assert await requests.cut() == 3
        assert trio.current_time() == began
        assert len(ended) == 3
        assert requests.statistics().expired == 3
        assert await requests.cut() == 0


async def test_a_drain_of_nothing_is_done_at_once() -> None:
    async with requests_of(ScriptedAgent()) as requests:
        assert await requests.drain(0.0)


async def test_a_stress_of_everything_leaves_nothing_behind(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """300 requests with keys, deadlines, crashes and cancellations: counts add up, nothing stays."""
    import random

    chance = random.Random(42)

    async def moody(envelope: Envelope) -> Reply:
        await trio.sleep(chance.uniform(0.0, 3.0))
        match chance.randrange(6):
            case 0:
                raise ValueError("crash")
            case 1:
                raise OutcomeUnknown("lost")
            case 2:
                raise AgentUnavailable("gone")
            case 3:
                await trio.sleep(20.0)
        return Reply(Raw(b"{}"))

    agent = ScriptedAgent([moody], catalog=tools("work"))
    ended: list[str] = []
    async with requests_of(agent, limit=200) as requests:

        async def one(number: int) -> None:
            await trio.sleep(chance.uniform(0.0, 5.0))
            key = f"k{chance.randrange(40)}" if chance.random() < 0.5 else None
            envelope = call(deadline=chance.choice([1.0, 5.0, 30.0]), idempotency_key=key)
            with trio.move_on_after(chance.choice([0.5, 10.0, 100.0])) as scope:
                try:
                    await requests.submit(envelope)
                    ended.append("result")
                except CallError as error:
                    ended.append(type(error).__name__)
            if scope.cancelled_caught:
                ended.append("cancelled")

        logging.disable(logging.CRITICAL)
        try:
            async with trio.open_nursery() as nursery:
                for number in range(300):
                    nursery.start_soon(one, number)
        finally:
            logging.disable(logging.NOTSET)
        assert len(ended) == 300
        said = requests.statistics()
        assert said.running == 0
        assert said.late == 0
        assert said.accepted + said.refused == 300
        assert said.accepted == said.results + said.errors + said.cancelled + said.expired
        assert said.results == ended.count("result")
        assert said.cancelled == ended.count("cancelled")


async def test_a_refused_request_leaves_nothing_to_be_collected() -> None:
    """Under overload most requests are refused: what each left in a cycle would stop the loop for long."""

    class Closed(Guard):
        def enter(self, envelope: Envelope, now: float) -> None:
            raise Overloaded("closed", retry_after=1.0)

    async def refused(times: int) -> None:
        for _ in range(times):
            with contextlib.suppress(Overloaded):
                await requests.submit(call())

    async with requests_of(ScriptedAgent(), guards=[Closed()]) as requests:
        await refused(10)
        gc.collect()
        gc.disable()
        try:
            await refused(100)
            assert gc.collect() < 100
        finally:
            gc.enable()
