"""`etcd`: what fails besides commands: leases, snapshots, signing in, reading; each is tried again."""

from __future__ import annotations

import base64
import json
import pathlib
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import pytest
import trio

from flow_consensus.etcd import Etcd, keeper, leases
from flow_consensus.etcd.failures import LeaseLost
from flow_storage.memory import MemoryLog
from flowcore.config import Secret
from flowcore.errors import OutcomeUnknown, Overloaded, StateUnavailable, UntrustedFile
from flowcore.http import Request, Response, Stream
from flowcore.state import ReadLevel, StateSettings, open_state
from support.etcds import Etcds, open_etcds
from support.keeping import note
from support.liar import Liar, instead, open_liar, silence, truly
from support.on_etcd import new_prefix, on_etcd, opens, read, says
from support.ports import free_port

TXN, RANGE, WATCH, GRANT = "/v3/kv/txn", "/v3/kv/range", "/v3/watch", "/v3/lease/grant"
AUTHENTICATE = "/v3/auth/authenticate"
DENIED = instead(403, b'{"code":7,"message":"etcdserver: permission denied"}')
SIGNED_OUT = instead(401, b'{"code":16,"message":"etcdserver: invalid auth token"}')
TOO_LARGE = instead(429, b'{"code":8,"message":"grpc: received message larger than max"}')


@pytest.fixture(scope="module")
def etcd() -> Generator[Etcds]:
    with open_etcds(1, "--unsafe-no-fsync") as one:
        yield one


async def until(fact: Callable[[], Any]) -> None:
    with trio.fail_after(20):
        while not fact():
            await trio.lowlevel.checkpoint()


def said(node: Etcd, why: str) -> bool:
    """Whether that is why the last watch ended."""
    return why in node.status()["watch_ended"]


async def test_a_snapshot_that_fails_is_tried_again(
    etcd: Etcds,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(keeper, "_AGAIN", 0.01)
    async with (
        open_liar(etcd.urls[0]) as liar,
        on_etcd(liar.url, prefix=new_prefix(), snapshot_every=5, keep=0) as node,
        open_state(node, tmp_path / "state", StateSettings(compact_after=5)) as state,
    ):
        await until(lambda: node.status()["nodes"])  # who is there has its lease
        liar.will(
            GRANT, DENIED, instead(200, b"{}"), instead(200, b'{"header":{"cluster_id":"1"}}')
        )
        while liar.lies[GRANT]:
            await state.do(note("a", "again"))
        await until(lambda: node.status()["snapshots_stored"])
        for why in ("permission denied", "does not say of which cluster", "belongs to cluster 1"):
            assert why in caplog.text
        assert node.status()["snapshot_trouble"] == ""
        # history that may not be compacted is left alone
        liar.will("/v3/kv/compaction", DENIED)
        while node.status()["snapshots_stored"] < 2:
            await state.do(note("a", "again"))
        assert await state.pattern("notes", "a") is not None


async def test_what_is_too_large_is_counted_before_it_is_put_again(
    etcd: Etcds, tmp_path: pathlib.Path
) -> None:
    prefix = new_prefix()
    async with (
        on_etcd(*etcd.urls, prefix=prefix, snapshot_every=5, keep=0, snapshot_most=20_000) as node,
        open_state(node, tmp_path / "state", StateSettings(compact_after=5)) as state,
    ):
        while not node.status()["snapshot_trouble"]:
            await state.do(note("a", "x" * 30_000))
        before = node.status()["requests"]
        for _ in range(10):
            await state.do(note("a", "x" * 30_000))
        assert node.status()["snapshots_stored"] == 0
        assert node.status()["requests"] - before < 40
        while not node.status()["snapshots_stored"]:
            await state.do(note("a", "small"))
        assert node.status()["snapshot_trouble"] == ""
        await until(lambda: f"{prefix}lock".encode() not in etcd.get(prefix.encode()))


async def test_one_node_at_a_time_holds_the_lock_and_who_loses_it_stops(etcd: Etcds) -> None:
    prefix = new_prefix()
    async with (
        open_liar(etcd.urls[0]) as liar,
        on_etcd(liar.url, prefix=prefix) as node,
        on_etcd(*etcd.urls, prefix=prefix, name="other") as other,
    ):
        key = f"{prefix}lock".encode()
        done: list[object] = []

        async def work(revision: int) -> int:
            assert etcd.get(key) == {key: b"mine"}
            client = other._log.client
            done.append(await leases.holding(client, key, b"other's", 30, work))
            return revision

        assert await leases.holding(node._log.client, key, b"mine", 30, work)
        assert done == [None]
        assert etcd.get(key) == {}

        async def long(revision: int) -> None:
            del revision
            await trio.sleep_forever()

        async def wrong(revision: int) -> None:
            raise StateUnavailable(f"at {revision}")

        with pytest.raises(StateUnavailable, match="^at "):
            await leases.holding(node._log.client, key, b"mine", 30, wrong)
        liar.will("/v3/lease/keepalive", *[instead(503, b"")] * 100)
        with trio.fail_after(20), pytest.raises(LeaseLost):
            await leases.holding(node._log.client, key, b"mine", 1, long)


async def test_a_token_that_is_not_taken_is_an_answer_that_is_missing(etcd: Etcds) -> None:
    own: dict[str, Any] = {"user": "flow", "password": Secret("p"), "start": 0.3}
    token = b'{"header":{"cluster_id":"1"},"token":"%s"}'
    async with open_liar(etcd.urls[0]) as liar:
        for lies, why in (
            ([instead(200, token % b"abc")] * 1000, "a new token is not taken"),
            ([instead(200, token % b"")] * 1000, "what came is no token"),
            ([instead(200, token % b"a\\u0007")] * 1000, "what came is no token"),
            ([instead(503, b"")] * 1000, "503"),
            ([SIGNED_OUT] * 1000, "invalid auth token"),
        ):
            liar.lies.clear()
            liar.will(AUTHENTICATE, *lies)
            liar.will(TXN, *[SIGNED_OUT] * 1000)
            await says(why, partial(opens, liar.url, prefix=new_prefix(), **own))
        # a watch that is signed out signs in again
        liar.lies.clear()
        liar.tokens = False
        liar.will(AUTHENTICATE, instead(200, token % b"one"), instead(200, token % b"two"))
        liar.will(WATCH, SIGNED_OUT)
        prefix = new_prefix()
        async with on_etcd(liar.url, prefix=prefix, **{**own, "start": 20.0}) as node:
            await until(lambda: node.status()["tokens"] == 2)
            async with on_etcd(*etcd.urls, prefix=prefix, name="other") as other:
                await other.propose(b"a")
            assert await read(node, 1) == [b"a"]
        liar.will(WATCH, SIGNED_OUT)
        async with on_etcd(liar.url, prefix=prefix) as node:
            await until(lambda: node.status()["watches"] > 1)
            assert await read(node, 1) == [b"a"]


async def test_a_watch_that_is_refused_or_endless_is_begun_anew(etcd: Etcds) -> None:
    prefix = new_prefix()
    async with open_liar(etcd.urls[0]) as liar, on_etcd(liar.url, prefix=prefix) as node:
        cluster = int(node.status()["etcd_cluster"], 16)
        header = b'{"result":{"header":{"cluster_id":"%d"},' % cluster
        for body, why in (
            (header + b'"canceled":true,"cancel_reason":"no rights"}}\n', "no rights"),
            (header + b'"canceled":true}}\n', "the watch was cancelled"),
            (b'{"error":{"grpc_code":14,"message":"no leader"}}\n', "no leader"),
            (b'{"neither":1}\n', "neither a result nor an error"),
            (b"x" * (16 * 2**20 + 70_000), "more than 16777216 bytes"),
            (header + b'"created":true}}\n', "a stream has ended"),
            (header + b'"events":[{"kv":{"key":"%s"}}]}}\n', "no answer of etcd"),
        ):
            liar.will(WATCH, instead(200, body))
            liar.cut_streams()
            await until(partial(said, node, why))
        liar.will(WATCH, DENIED)
        liar.cut_streams()
        await until(lambda: "permission denied" in node.status()["watch_ended"])
        assert await node.propose(b"a") == 1
        assert await read(node, 1) == [b"a"]


async def test_a_batch_that_was_written_over_is_not_believed(etcd: Etcds) -> None:
    prefix = new_prefix()
    async with on_etcd(*etcd.urls, prefix=prefix) as node:
        await node.propose(b"a")
        key = f"{prefix}log/{1:016x}".encode()
        await until(lambda: node.status()["watches"])
        etcd.put(key, etcd.get(key)[key])
        await until(lambda: node.status()["stopped"])
        assert "was written over" in node.status()["stopped"]


async def test_what_lies_beyond_the_end_is_not_believed(etcd: Etcds) -> None:
    prefix = new_prefix()
    async with open_liar(etcd.urls[0]) as liar:
        liar.will(WATCH, *[silence] * 100)
        async with on_etcd(liar.url, prefix=prefix) as node:
            await node.propose(b"a")
            key = f"{prefix}log/".encode()
            etcd.put(key + b"%016x" % 2, etcd.get(key)[key + b"%016x" % 1])
            with pytest.raises(StateUnavailable, match="lies beyond the end of the log, 1"):
                await node.propose(b"b")


async def test_commands_wait_where_nothing_was_sent(etcd: Etcds) -> None:
    port = free_port()
    dead = f"http://127.0.0.1:{port}"
    async with on_etcd(*etcd.urls, dead, prefix=new_prefix()) as node:
        assert await node.propose(b"a") == 1
        node._log.client._at = 1  # its turn
        assert await node.propose(b"b") == 2
        assert node.status()["unknown"] == 0
        assert node.status()["failed_requests"] >= 1


async def test_more_than_may_wait_is_refused_and_the_rest_told_when_it_is_stopped(
    etcd: Etcds,
) -> None:
    async with open_liar(etcd.urls[0]) as liar:
        told: list[str] = []
        async with on_etcd(liar.url, prefix=new_prefix(), queue=2, batch=1) as node:
            await node.propose(b"a")
            liar.will(TXN, silence)

            async def propose(command: bytes) -> None:
                try:
                    await node.propose(command)
                except Exception as error:
                    told.append(f"{type(error).__name__}: {error}")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(propose, b"flying")
                await until(lambda: not liar.lies[TXN])
                nursery.start_soon(propose, b"waits")
                nursery.start_soon(propose, b"waits too")
                await until(lambda: node.status()["waiting"] == 3)
                with pytest.raises(Overloaded, match="2 commands"):
                    await node.propose(b"one too many")
                node._writer.stop("the test ends it")
        assert len(told) == 3
        assert sum("OutcomeUnknown: the test ends it" in one for one in told) == 1
        assert sum("StateUnavailable: no commands are taken" in one for one in told) == 2


async def test_reading_copes_with_answers_that_are_too_large(etcd: Etcds) -> None:
    prefix = new_prefix()
    async with on_etcd(*etcd.urls, prefix=prefix, name="other") as other:
        for number in range(40):
            await other.propose(b"%d" % number * 10_000)
    expected = [b"%d" % number * 10_000 for number in range(40)]
    async with open_liar(etcd.urls[0]) as liar:
        async with on_etcd(liar.url, prefix=prefix) as node:
            await until(lambda: node.status()["watches"])
            liar.will(RANGE, truly(), TOO_LARGE, truly(), TOO_LARGE)
            assert await read(node, 40) == expected
            liar.will(RANGE, DENIED)
            with pytest.raises(StateUnavailable, match="the log cannot be read: permission"):
                await node.entries(1, 1)
            liar.will(RANGE, DENIED)
            with pytest.raises(StateUnavailable, match="permission denied"):
                await node.read_barrier()
            assert (await node.entries(1, 1))[0].data == expected[0]
        async with on_etcd(liar.url, prefix=prefix) as node:
            await until(lambda: node.status()["watches"])
            liar.will(RANGE, *[TOO_LARGE] * 20)
            with pytest.raises(UntrustedFile, match="a batch in etcd cannot be read"):
                await read(node, 40)


async def test_a_snapshot_that_is_replaced_while_it_is_read_is_read_anew(
    etcd: Etcds, tmp_path: pathlib.Path
) -> None:
    prefix = new_prefix()
    more: dict[str, Any] = {"prefix": prefix, "snapshot_every": 5, "keep": 0, "command_size": 1024}

    async with (
        open_liar(etcd.urls[0]) as liar,
        on_etcd(*etcd.urls, **more) as node,
        open_state(node, tmp_path / "state", StateSettings(compact_after=5)) as state,
    ):
        for number in range(9):  # more than one piece
            await state.do(note(f"k{number}", "x" * 300))
        while node.status()["snapshots_stored"] < 2:
            await state.do(note("a", "x" * 300))

        async def replaced(liar: Liar, request: Request) -> Response | Stream:
            before = node.status()["snapshots_stored"]
            while node.status()["snapshots_stored"] == before:
                await state.do(note("a", "y" * 300))
            return await liar.truth(request)

        asked = {"x": 0}

        async def counted(liar: Liar, request: Request) -> Response | Stream:
            """The second piece that is asked for."""
            asked["x"] += b"/snapshot/" in base64.b64decode(json.loads(request.body)["key"])
            if asked["x"] == 2:
                return await replaced(liar, request)
            liar.will(RANGE, counted)
            return await liar.truth(request)

        async with on_etcd(liar.url, **more) as newcomer:
            await until(lambda: newcomer.status()["watches"])
            liar.will(RANGE, counted)
            async with open_state(newcomer, tmp_path / "new") as copy:
                assert asked["x"] >= 2
                found = await copy.pattern("notes", "a")
                assert found is not None
                assert found.text == "y" * 300


async def test_without_etcd_a_state_answers_what_it_has_and_says_what_it_cannot(
    etcd: Etcds, tmp_path: pathlib.Path
) -> None:
    prefix, storage = new_prefix(), MemoryLog("mine")
    async with open_liar(etcd.urls[0]) as liar:
        async with (
            on_etcd(liar.url, prefix=prefix, storage=storage) as node,
            open_state(node, tmp_path / "state") as state,
        ):
            await state.do(note("a", "kept"))
        for path in (TXN, RANGE, WATCH):
            liar.will(path, *[instead(503, b"")] * 10_000)
        async with (
            on_etcd(liar.url, prefix=prefix, storage=storage, patience=0.2) as node,
            open_state(node, tmp_path / "state") as state,
        ):
            found = await state.pattern("notes", "a", level=ReadLevel.STALE)
            assert found is not None
            assert found.text == "kept"
            for level in (ReadLevel.LINEARIZABLE, ReadLevel.LEASED):
                with pytest.raises(StateUnavailable, match="nobody says what is committed"):
                    await state.pattern("notes", "a", level=level)
            with pytest.raises(StateUnavailable, match="no commands are taken just now"):
                await state.do(note("a", "new"))
            liar.lies.clear()
            with trio.fail_after(60):
                while True:
                    try:
                        await state.do(note("a", "again"))
                    except (StateUnavailable, OutcomeUnknown):
                        continue
                    break
            found = await state.pattern("notes", "a", level=ReadLevel.STALE)
            assert found is not None
            assert found.text == "again"
