"""Idempotency keys on several nodes: one key, one payload, one outcome, whichever node is asked."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
import trio

from flowcore.errors import (
    AgentUnavailable,
    CallError,
    DeadlineExceeded,
    IdempotencyConflict,
    InvalidArguments,
    OutcomeUnknown,
    QuotaExceeded,
    StillRunning,
    UpstreamError,
)
from flowcore.state import DeclareLost, StateSettings, WorkSettings
from support.doers import Answer, ScriptedAgent, call, tools
from support.sharing import Gate, said, sharing


def answering(*answers: Answer, **hints: bool) -> ScriptedAgent:
    return ScriptedAgent(answers=list(answers), catalog=tools("work", **hints))


def keyed(**more: Any) -> Any:
    return call(**{"idempotency_key": "k", **more})


async def test_another_node_gives_the_stored_outcome_and_does_nothing(
    tmp_path: pathlib.Path,
) -> None:
    async with sharing(tmp_path) as shared:
        alpha = await shared.start("alpha", answering(said("once")))
        beta = await shared.start("beta", answering(said("twice")))
        for node in (alpha, beta, beta):
            reply = await node.requests.submit(keyed())
            assert b"once" in bytes(reply.result)
        assert (len(alpha.agent.calls), len(beta.agent.calls)) == (1, 0)
        assert beta.requests.statistics().replayed == 2
        with pytest.raises(IdempotencyConflict):
            await beta.requests.submit(keyed(arguments={"text": "another payload"}))
        await beta.requests.submit(keyed(idempotency_key="another"))
        assert len(beta.agent.calls) == 1
        assert shared.state.status()["work"]["keys"]["count"] == 2


async def test_a_key_is_of_one_principal_and_one_agent(tmp_path: pathlib.Path) -> None:
    from flowcore.envelope import Principal

    async with sharing(tmp_path) as shared:
        alpha = await shared.start("alpha", answering(said("a")))
        beta = await shared.start("beta", answering(said("b")))
        long = "x" * 3000
        for who in (Principal(name=long, scheme="jwt"), Principal(name=long + "y", scheme="jwt")):
            await alpha.requests.submit(keyed(principal=who, idempotency_key="ü" * 255))
            await beta.requests.submit(keyed(principal=who, idempotency_key="ü" * 255))
        assert (len(alpha.agent.calls), len(beta.agent.calls)) == (2, 0)


async def test_a_stored_error_is_given_again_and_one_that_never_began_is_not(
    tmp_path: pathlib.Path,
) -> None:
    failed = UpstreamError("no such file", code=-32002, data={"path": "a"})
    failed.began = True
    async with sharing(tmp_path) as shared:
        alpha = await shared.start("alpha", answering(failed))
        beta = await shared.start("beta", answering(said("b")))
        for node in (alpha, beta):
            with pytest.raises(UpstreamError, match="no such file") as told:
                await node.requests.submit(keyed())
            assert (told.value.wire_code, told.value.data) == (-32002, {"path": "a"})
        assert beta.agent.calls == []
        alpha.agent.answers = [AgentUnavailable("not up", began=False)]
        alpha.agent.begins = False
        with pytest.raises(AgentUnavailable):
            await alpha.requests.submit(keyed(idempotency_key="free"))
        assert b"b" in bytes((await beta.requests.submit(keyed(idempotency_key="free"))).result)


async def test_who_asks_while_another_node_works_joins_it(tmp_path: pathlib.Path) -> None:
    gate = Gate(said("joined"))
    async with sharing(tmp_path) as shared:
        alpha = await shared.start("alpha", answering(gate))
        beta = await shared.start("beta", answering(said("no")))
        got: list[bytes] = []

        async def ask(node: Any) -> None:
            got.append(bytes((await node.requests.submit(keyed())).result))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, alpha)
            await shared.until(lambda: gate.waiting == 1)
            for _ in range(3):
                nursery.start_soon(ask, beta)
            await shared.until(lambda: beta.durable.status()["joined"] == 1)
            with pytest.raises(DeadlineExceeded):
                await beta.requests.submit(keyed(deadline=0.05))
            gate.opened.set()
        assert len(got) == 4
        assert len(set(got)) == 1
        assert beta.agent.calls == []


async def test_who_asks_while_another_node_works_is_refused_where_that_is_configured(
    tmp_path: pathlib.Path,
) -> None:
    from flowcore.requests.settings import IdempotencySettings

    gate = Gate(said("a"))
    async with sharing(tmp_path) as shared, trio.open_nursery() as nursery:
        alpha = await shared.start("alpha", answering(gate))
        beta = await shared.start("beta", idempotency=IdempotencySettings(running="refuse"))
        nursery.start_soon(alpha.requests.submit, keyed())
        await shared.until(lambda: gate.waiting == 1)
        with pytest.raises(StillRunning, match="at another node"):
            await beta.requests.submit(keyed())
        gate.opened.set()


@pytest.mark.parametrize("idempotent", [False, True])
async def test_what_a_lost_node_was_doing_is_unknown_and_only_repeated_where_it_may_be(
    tmp_path: pathlib.Path, idempotent: bool
) -> None:
    gate = Gate(said("late"))
    async with sharing(tmp_path) as shared, trio.open_nursery() as nursery:
        alpha = await shared.start("alpha", answering(gate, idempotent=idempotent))
        beta = await shared.start("beta", answering(said("again"), idempotent=idempotent))
        outcome: list[Any] = []

        async def ask() -> None:
            outcome.append(await beta.requests.submit(keyed()))

        async def refused() -> None:
            with pytest.raises(OutcomeUnknown, match="it may have happened") as told:
                await beta.requests.submit(keyed())
            assert told.value.began

        nursery.start_soon(alpha.requests.submit, keyed())
        await shared.until(lambda: gate.waiting == 1)
        nursery.start_soon(ask if idempotent else refused)
        await shared.until(lambda: beta.durable.status()["joined"] == 1)
        await shared.state.do(DeclareLost(alpha.holder))  # as the swarm does
        if idempotent:
            await shared.until(lambda: bool(outcome))
            assert b"again" in bytes(outcome[0].result)
            gate.opened.set()  # the one that was lost comes too late: what was stored stays
            await shared.until(lambda: not alpha.requests.tracker.running)
            gamma = await shared.start("gamma", answering(said("never")))
            assert b"again" in bytes((await gamma.requests.submit(keyed())).result)
        else:
            await refused()
            gate.opened.set()  # it was there after all: its outcome is known from now on
            await shared.until(lambda: not alpha.requests.tracker.running)
            assert b"late" in bytes((await beta.requests.submit(keyed())).result)
            assert beta.agent.calls == []


async def test_a_caller_who_goes_away_leaves_an_outcome_that_is_unknown(
    tmp_path: pathlib.Path,
) -> None:
    gate = Gate(said("a"))
    async with sharing(tmp_path) as shared:
        alpha = await shared.start("alpha", answering(gate))
        beta = await shared.start("beta")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(alpha.requests.submit, keyed())
            await shared.until(lambda: gate.waiting == 1)
            nursery.cancel_scope.cancel()
        await shared.until(lambda: not alpha.durable.status()["settling"])
        with pytest.raises(OutcomeUnknown):
            await beta.requests.submit(keyed())
        assert beta.agent.calls == []


async def test_a_caller_who_goes_away_before_it_began_leaves_a_key_that_is_free(
    tmp_path: pathlib.Path,
) -> None:
    async with sharing(tmp_path) as shared:
        alpha = await shared.start("alpha")
        beta = await shared.start("beta")
        for _ in range(20):
            with trio.move_on_after(0):  # while it is being reserved
                await alpha.requests.submit(keyed())
            await shared.until(lambda: not alpha.durable.status()["settling"])
            reply = await beta.requests.submit(keyed(idempotency_key="x"))
            assert reply is not None
        assert alpha.agent.calls == []
        await beta.requests.submit(keyed())
        assert len(beta.agent.calls) == 2


async def test_a_result_too_large_to_be_kept_makes_a_key_that_says_so(
    tmp_path: pathlib.Path,
) -> None:
    async with sharing(tmp_path) as shared:
        alpha = await shared.start("alpha", answering(said("x" * (4 << 20))))
        beta = await shared.start("beta")
        assert len(bytes((await alpha.requests.submit(keyed())).result)) > 4 << 20
        with pytest.raises(OutcomeUnknown, match="no longer kept") as told:
            await beta.requests.submit(keyed())
        assert told.value.data == {"done": True}


async def test_keys_are_bounded_and_the_oldest_outcomes_of_an_owner_go_first(
    tmp_path: pathlib.Path,
) -> None:
    few = StateSettings(work=WorkSettings(keys=6, owner_keys=3))
    gate = Gate(said("a"))
    async with sharing(tmp_path, few) as shared, trio.open_nursery() as nursery:
        alpha = await shared.start("alpha")
        beta = await shared.start("beta")
        for number in range(5):
            await alpha.requests.submit(keyed(idempotency_key=str(number)))
        assert shared.state.status()["work"]["keys"]["count"] == 3
        await beta.requests.submit(keyed(idempotency_key="4"))
        assert beta.agent.calls == []
        await beta.requests.submit(keyed(idempotency_key="0"))  # it was forgotten
        assert len(beta.agent.calls) == 1
        alpha.agent.answers = [gate]
        for number in range(3):
            nursery.start_soon(alpha.requests.submit, keyed(idempotency_key=f"r{number}"))
        await shared.until(lambda: gate.waiting == 3)
        with pytest.raises(QuotaExceeded):  # those that are worked on do not give way
            await beta.requests.submit(keyed(idempotency_key="one more"))
        gate.opened.set()


async def test_no_command_is_given_for_a_request_without_a_key(tmp_path: pathlib.Path) -> None:
    async with sharing(tmp_path) as shared:
        alpha = await shared.start("alpha")
        await alpha.requests.submit(keyed())
        before = shared.state.position
        for _ in range(5):
            await alpha.requests.submit(call())
        with pytest.raises(InvalidArguments):
            await alpha.requests.submit(call(arguments={"wrong": 1}))
        with pytest.raises(CallError):
            await alpha.requests.submit(keyed(idempotency_key=""))
        assert shared.state.position == before
