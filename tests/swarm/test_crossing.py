"""What crosses from one node to another, whole: deadlines, priorities, keys, permissions, much at once."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Iterator

import pytest
import trio

from flowcore import open_flow
from flowcore.envelope import Principal
from flowcore.errors import DeadlineExceeded, PermissionDenied
from support.flows import AGENTS, available, config, two

DEMO = {
    "type": "python",
    "target": AGENTS,
    "pool": {"min": 1, "max": 1, "concurrency": 2000},
}
LARGE = 16 * 2**20


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


async def test_a_thousand_calls_beside_large_results_are_all_answered(
    tmp_path: pathlib.Path,
) -> None:
    sizes: list[int] = []
    async with two(tmp_path, DEMO) as (alpha, _):

        async def ask(text: str, times: int) -> None:
            got = (await alpha.call("talk.echo", {"text": text, "times": times})).text
            assert got == text * times
            sizes.append(len(got))

        with trio.fail_after(120):
            async with trio.open_nursery() as nursery:
                for _ in range(2):
                    nursery.start_soon(ask, "x" * 16, LARGE // 16)
                for number in range(1000):
                    nursery.start_soon(ask, f"{number:04}", 1)
    assert sorted(sizes) == [4] * 1000 + [LARGE] * 2


async def test_a_key_is_done_once_whatever_node_it_is_asked_at(tmp_path: pathlib.Path) -> None:
    async with two(tmp_path, DEMO) as (alpha, beta):
        arguments = {"a": 1, "b": 2}

        async def ask() -> None:
            await alpha.call("talk.add", arguments, idempotency_key="once")

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask)
        await beta.call("talk.add", arguments, idempotency_key="once")
        assert beta.agents["talk"].statistics().succeeded == 1


async def test_a_deadline_ends_the_work_at_the_other_node(tmp_path: pathlib.Path) -> None:
    async with two(tmp_path, DEMO) as (alpha, beta):
        with pytest.raises(DeadlineExceeded):
            await alpha.call("talk.wait", {"seconds": 3600}, deadline=0.2)
        with trio.fail_after(60):
            while beta.requests.tracker.running:
                await trio.lowlevel.checkpoint()


async def test_the_other_node_says_who_may_do_what_there(tmp_path: pathlib.Path) -> None:
    near, far = config("alpha", tmp_path, []), config("beta", tmp_path, [])
    near["agent"], far["agent"] = {}, {"talk": DEMO}
    far["requests"] = {"guards": ["permissions"]}
    far["guard"] = {
        "permissions": {
            "type": "permissions",
            "rules": [{"allow": ["talk.echo"], "roles": ["reader"]}],
        }
    }
    reader = Principal(name="ann", scheme="test", roles=frozenset({"reader"}))
    nobody = Principal(name="bob", scheme="test")
    async with open_flow(near) as alpha:
        far["swarm"]["seeds"] = [alpha.swarm.address]
        async with open_flow(far) as beta:
            await beta.wait_settled()
            await available(alpha, "talk")
            said = await alpha.call("talk.echo", {"text": "x"}, principal=reader)
            assert said.text == "x"
            for principal, tool, arguments in (
                (reader, "talk.add", {"a": 1, "b": 2}),
                (nobody, "talk.echo", {"text": "x"}),
            ):
                with pytest.raises(PermissionDenied):
                    await alpha.call(tool, arguments, principal=principal)
            assert beta.agents["talk"].statistics().succeeded == 1
