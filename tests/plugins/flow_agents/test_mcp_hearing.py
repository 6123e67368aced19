"""What an upstream says besides answers, piece by piece: nothing it says disturbs who hears it."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import pytest
import trio
from msgspec import Raw

from flow_agents.mcp.calls import Acknowledgement, Calls
from flow_agents.mcp.errands import open_errands
from flow_agents.mcp.hearing import Hearing
from flow_agents.mcp.questions import Questions
from flowcore.envelope import Principal
from flowcore.errors import AgentUnavailable
from flowcore.mcp import Notification, Request, Response, decode
from support.upstreaming import RecordingPeer, tool


class Heard:
    """Both who is asked and who keeps the offers; it keeps what it is told."""

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.asked: list[str] = []
        self.withdrawn: list[int | str] = []
        self.told: list[tuple[str, Any]] = []
        self.calls = Calls()
        self.hearing = Hearing(self.calls, self, self.notify)

    def ask(self, request: Request, call: object) -> None:
        self.asked.append(request.method)

    def withdraw(self, number: int | str) -> None:
        self.withdrawn.append(number)

    def changed(self, kinds: Collection[str]) -> None:
        self.kinds += kinds

    def missed(self) -> None:
        self.kinds.append("missed")

    def notify(self, method: str, params: Raw, *, audience: Principal | None = None) -> None:
        self.told.append((method, json.loads(bytes(params))))

    def hear(self, method: str, **params: Any) -> None:
        message = decode(
            json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode()
        )
        self.hearing.hear(message, None)


def test_lists_that_change_are_told_once_somebody_keeps_them() -> None:
    heard = Heard()
    heard.hear("notifications/tools/list_changed")
    heard.hearing.missed()
    assert heard.kinds == []
    heard.hearing.attach(heard, modern=False)
    for kind in ("tools", "resources", "prompts"):
        heard.hear(f"notifications/{kind}/list_changed")
    heard.hearing.missed()
    assert heard.kinds == ["tools", "resources", "prompts", "missed"]


async def test_what_is_about_nothing_is_ignored_and_counted() -> None:
    heard = Heard()
    heard.hear("notifications/progress", progressToken="x", progress=1)
    heard.hear("notifications/progress")
    heard.hear("notifications/whatever")
    heard.hear("notifications/subscriptions/acknowledged", _meta=7)
    heard.hear("notifications/subscriptions/acknowledged")
    heard.hear("notifications/elicitation/complete", elicitationId="e")
    assert heard.hearing.ignored == 6
    heard.hear("notifications/cancelled")
    heard.hear("notifications/cancelled", requestId={"no": "id"})
    assert heard.withdrawn == []
    heard.hear("notifications/cancelled", requestId="q")
    assert heard.withdrawn == ["q"]


async def test_an_elicitation_that_ended_is_told_to_the_one_caller_there_is() -> None:
    heard = Heard()
    peer = RecordingPeer()
    heard.calls.begin("tools/call", {}, tool("x", peer=peer))
    heard.calls.begin("ping", {})
    heard.hear("notifications/elicitation/complete", elicitationId="e")
    assert peer.told == [("notifications/elicitation/complete", {"elicitationId": "e"})]


def test_an_update_leaves_behind_what_was_of_the_connection() -> None:
    heard = Heard()
    key = "io.modelcontextprotocol/subscriptionId"
    heard.hear("notifications/resources/updated", uri="a", _meta={key: 1})
    heard.hear("notifications/resources/updated", uri="a", _meta=[])
    heard.hear("notifications/resources/updated", uri="a", _meta={key: 1, "x": 2})
    assert [params for _, params in heard.told] == [
        {"uri": "a"},
        {"uri": "a"},
        {"uri": "a", "_meta": {"x": 2}},
    ]


def test_a_subscription_that_the_upstream_ends_is_over() -> None:
    heard = Heard()
    call = heard.calls.begin("subscriptions/listen", {})
    call.acknowledgement = Acknowledgement()
    heard.hear("notifications/cancelled", requestId=call.number)
    assert call.settled


def test_a_modern_upstream_cannot_ask() -> None:
    heard = Heard()
    heard.hearing.hear(Request(1, "roots/list", {}), None)
    heard.hearing.attach(heard, modern=True)
    heard.hearing.hear(Request(2, "roots/list", {}), None)
    assert heard.asked == ["roots/list"]
    assert heard.hearing.ignored == 1


def test_only_answers_to_what_was_asked_are_taken() -> None:
    calls = Calls()
    first, second = calls.begin("a", {}), calls.begin("b", {})
    for stray in (Response(None, error=None), Response("1", result=Raw(b"{}")), Response(7)):
        calls.take(stray)
    assert not first.settled
    assert not second.settled
    calls.take(Response(1, result=Raw(b"{}")))
    calls.take(Response(1, result=Raw(b"{}")))
    assert first.settled
    assert calls.statistics().late == 1
    assert calls.statistics().stray == 3


async def test_an_answer_that_is_there_already_is_not_waited_for() -> None:
    calls = Calls()
    call = calls.begin("a", {})
    call.settle(Response(1, result=Raw(b"{}")))
    assert (await call.answer()).id == 1
    calls.fail(AgentUnavailable("gone"))
    assert (await call.answer()).id == 1


async def test_questions_are_bounded_and_an_id_is_used_once() -> None:
    answers: list[Any] = []

    async def tell(message: bytes) -> None:
        answers.append(json.loads(message))

    calls = Calls()
    peer = RecordingPeer({"sampling": {}})
    calls.begin("tools/call", {}, tool("x", peer=peer))
    async with open_errands() as errands:
        questions = Questions(calls, tell, errands, allowed=("sampling",), roots=())
        for number in [*range(256), 0, 256]:
            questions.ask(Request(number, "sampling/createMessage", {}), None)
        await peer.until(lambda: len(peer.asked) == 256)
        assert {one["error"]["code"] for one in answers} == {-32600, -31050}
        questions.withdraw(3)
        await peer.until(lambda: peer.cancelled == 1)
        questions.ask(Request(3, "sampling/createMessage", {}), None)
        await peer.until(lambda: len(peer.asked) == 257)


async def test_errands_are_bounded_and_end_with_the_connection() -> None:
    done = 0

    async def wait() -> None:
        nonlocal done
        try:
            await trio.sleep_forever()
        finally:
            done += 1

    async def fail() -> None:
        raise AgentUnavailable("nobody is there")

    async with open_errands() as errands:
        errands.run(fail)
        await trio.testing.wait_all_tasks_blocked()
        assert all(errands.run(wait) for _ in range(1000))
        assert not errands.run(wait)
        await trio.testing.wait_all_tasks_blocked()
    assert done == 1000
    assert not errands.run(wait)
    assert errands.dropped == 2


async def test_a_fault_of_an_errand_is_not_hidden() -> None:
    async def fault() -> None:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup):
        async with open_errands() as errands:
            errands.run(fault)
            await trio.sleep_forever()


def test_a_notification_is_no_question() -> None:
    heard = Heard()
    heard.hearing.hear(Notification("notifications/initialized", {}), None)
    assert heard.asked == []
