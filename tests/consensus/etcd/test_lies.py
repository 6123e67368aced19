"""`etcd`, with something between it and a real one that loses, cuts and invents answers."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Generator
from functools import partial

import pytest
import trio

from flow_consensus.etcd import Etcd
from flow_storage.memory import MemoryLog
from flowcore.errors import OutcomeUnknown, StateUnavailable, TooLarge
from flowcore.http import Request, Response
from support.etcds import Etcds, open_etcds
from support.liar import (
    JSON,
    Liar,
    changed,
    done_but,
    done_but_cut,
    instead,
    open_liar,
    silence,
    truly,
)
from support.on_etcd import new_prefix, on_etcd, opens, read, says, surely
from support.ports import free_port

TXN, RANGE, WATCH = "/v3/kv/txn", "/v3/kv/range", "/v3/watch"
GARBAGE = (
    b"",
    b"{",
    b"[]",
    b"null",
    b'"ok"',
    b"\xff\xfe",
    b'{"header":7}',
    b'{"header":{"cluster_id":"x"}}',
    b'{"header":{"cluster_id":"18446744073709551616"}}',
    b'{"succeeded":true}',
    b'{"header":{"cluster_id":"1","revision":"9"},"succeeded":true}',
    b"[" * 100_000,
)


@pytest.fixture(scope="module")
def etcd() -> Generator[Etcds]:
    with open_etcds(1, "--unsafe-no-fsync") as one:
        yield one


def older(body: bytes) -> bytes:
    """As if it were at the first revision."""
    start = body.index(b'"revision":"') + 12
    return body[:start] + b"1" + body[body.index(b'"', start) :]


async def test_an_answer_that_was_lost_is_found_again_and_nothing_is_done_twice(
    etcd: Etcds,
) -> None:
    chance = random.Random(5)
    async with open_liar(etcd.urls[0]) as liar, on_etcd(liar.url, prefix=new_prefix()) as node:
        commands = []
        for number in range(60):
            lies = [
                done_but(503, b"lost"),
                done_but(200, b"{"),
                done_but_cut(10),
                done_but(504, b'{"code":14,"message":"etcdserver: request timed out"}'),
                instead(503, b'{"code":14,"message":"etcdserver: leader changed"}'),
                instead(500, b""),
                truly(),
            ]
            liar.will(TXN, *chance.sample(lies, chance.randrange(3)))
            command = b"%d" % number
            commands.append(command)
            assert await node.propose(command) == number + 1
        assert await read(node, 60) == commands
        assert node.status()["found_again"] > 5
        assert node.status()["unknown"] == 0


REFUSED = b'{"code":3,"message":"etcdserver: request is too large"}'


async def test_what_is_refused_when_it_is_sent_again_is_told_truly(etcd: Etcds) -> None:
    async with open_liar(etcd.urls[0]) as liar, on_etcd(liar.url, prefix=new_prefix()) as node:
        # it was not done, and the head is put anew so that it never will be
        liar.will(TXN, instead(503, b""), instead(400, REFUSED))
        with pytest.raises(TooLarge):
            await node.propose(b"a")
        # it was done the first time
        liar.will(TXN, done_but(503, b""), instead(400, REFUSED))
        assert await node.propose(b"b") == 1
        # nobody says so
        liar.will(TXN, done_but(503, b""), instead(400, REFUSED), instead(503, b""))
        with pytest.raises(OutcomeUnknown, match="too large: it may be committed"):
            await node.propose(b"c")
        # before anything is sent again, etcd is asked where the log ends
        liar.will(RANGE, instead(403, b'{"code":7,"message":"etcdserver: permission denied"}'))
        with pytest.raises(StateUnavailable, match="taken just now: .*permission denied"):
            await node.propose(b"x")
        liar.will(TXN, instead(400, b'{"code":7,"message":"etcdserver: permission denied"}'))
        with pytest.raises(StateUnavailable, match="nothing was written: .*permission denied"):
            await node.propose(b"d")
        assert await node.propose(b"e") == 3
        assert await read(node, 3) == [b"b", b"c", b"e"]


FULL = b'{"code":8,"message":"etcdserver: mvcc: database space exceeded"}'


async def test_what_an_etcd_that_is_full_has_done_nevertheless_is_done(etcd: Etcds) -> None:
    async with open_liar(etcd.urls[0]) as liar, on_etcd(liar.url, prefix=new_prefix()) as node:
        liar.will(TXN, done_but(429, FULL))
        assert await node.propose(b"a") == 1
        liar.will(TXN, instead(429, FULL))
        with pytest.raises(StateUnavailable, match="nothing was written: .*space exceeded"):
            await node.propose(b"b")
        liar.will(TXN, done_but(429, FULL))
        liar.will(RANGE, truly(), instead(503, b""))  # the end, and what came of it
        with pytest.raises(OutcomeUnknown, match="space exceeded: it may be committed"):
            await node.propose(b"c")
        liar.lies.clear()
        # sent, sent again and refused, and the head cannot be put anew
        liar.will(TXN, done_but(503, b""), instead(429, FULL), instead(429, FULL))
        assert await node.propose(b"d") == 3
        liar.will(TXN, instead(503, b""), instead(429, FULL), instead(429, FULL))
        with pytest.raises(OutcomeUnknown, match="space exceeded: it may be committed"):
            await node.propose(b"e")
        assert await node.propose(b"f") == 4
        assert await read(node, 4) == [b"a", b"c", b"d", b"f"]


async def test_another_one_took_the_place_of_what_was_refused(etcd: Etcds) -> None:
    prefix = new_prefix()
    async with (
        open_liar(etcd.urls[0]) as liar,
        on_etcd(liar.url, prefix=prefix) as node,
        on_etcd(*etcd.urls, prefix=prefix, name="other") as other,
    ):
        await node.propose(b"a")

        async def taken(liar: Liar, request: Request) -> Response:
            await other.propose(b"other's")
            return Response(503, JSON, b"")

        liar.will(TXN, taken, instead(400, REFUSED))
        with pytest.raises(TooLarge):
            await node.propose(b"b")
        assert await node.propose(b"c") == 3
        assert await read(node, 3) == [b"a", b"other's", b"c"]


async def test_two_nodes_of_which_one_is_lied_to_agree(etcd: Etcds) -> None:
    """The other one takes the place meanwhile, and what was lost is told from what was not."""
    prefix, chance = new_prefix(), random.Random(6)
    taken: dict[int, bytes] = {}
    async with (
        open_liar(etcd.urls[0]) as liar,
        on_etcd(liar.url, prefix=prefix, name="lied to") as one,
        on_etcd(*etcd.urls, prefix=prefix, name="other") as other,
    ):
        for number in range(40):
            lie = chance.choice([done_but(503, b""), instead(503, b""), truly()])
            liar.will(TXN, lie)

            async def propose(node: Etcd, command: bytes) -> None:
                position = await node.propose(command)
                assert taken.setdefault(position, command) == command

            async with trio.open_nursery() as nursery:
                nursery.start_soon(propose, one, b"one %d" % number)
                nursery.start_soon(propose, other, b"other %d" % number)
        assert len(taken) == 80
        expected = [taken[position] for position in range(1, 81)]
        await one.read_barrier()
        assert await read(one, 80) == await read(other, 80) == expected


@pytest.mark.parametrize("path", [TXN, RANGE, WATCH])
async def test_garbage_is_no_answer(etcd: Etcds, path: str) -> None:
    told: list[str] = []
    async with (
        open_liar(etcd.urls[0]) as liar,
        on_etcd(liar.url, prefix=new_prefix(), told=told) as node,
    ):
        for number, body in enumerate(GARBAGE):
            liar.will(path, instead(200, body))
            liar.cut_streams()
            assert await node.propose(b"%d" % number) == number + 1
            assert await node.read_barrier() == number + 1
        with trio.fail_after(20):
            while liar.lies.get(path):
                liar.cut_streams()
                await trio.lowlevel.checkpoint()
        assert await read(node, len(GARBAGE)) == [b"%d" % one for one in range(len(GARBAGE))]
        assert node.status()["stopped"] == ""
    assert any(told)
    assert told[-1] == ""


async def test_an_answer_that_is_older_than_one_before_is_not_believed(etcd: Etcds) -> None:
    async with open_liar(etcd.urls[0]) as liar, on_etcd(liar.url, prefix=new_prefix()) as node:
        assert await node.propose(b"a") == 1
        liar.will(RANGE, changed(older), changed(older))
        assert await node.read_barrier() == 1
        liar.will(TXN, changed(older))
        assert await node.propose(b"b") == 2
        assert await read(node, 2) == [b"a", b"b"]
    async with (
        open_liar(etcd.urls[0]) as liar,
        on_etcd(liar.url, prefix=new_prefix(), patience=0.3) as node,
    ):
        liar.will(RANGE, *[changed(older)] * 10_000)
        await says("is at revision 1, and .* put back", node.read_barrier)


async def test_an_endpoint_of_another_etcd_is_not_believed(etcd: Etcds) -> None:
    with open_etcds(1, "--unsafe-no-fsync") as stranger:
        async with on_etcd(*etcd.urls, *stranger.urls, prefix=new_prefix()) as node:
            assert await node.propose(b"a") == 1
            client = node._log.client
            client._at = 1  # its turn
            assert await node.read_barrier() == 1
            assert client.endpoint == etcd.urls[0]
            assert stranger.get(b"test/") == {}


async def test_a_watch_that_is_silent_or_cut_loses_nothing(etcd: Etcds) -> None:
    prefix = new_prefix()
    async with (
        open_liar(etcd.urls[0]) as liar,
        on_etcd(*etcd.urls, prefix=prefix, name="other") as other,
    ):
        liar.will(WATCH, silence)
        async with on_etcd(liar.url, prefix=prefix, silence=0.05) as node:
            for number in range(30):
                await other.propose(b"%d" % number)
                if number % 3 == 0:
                    liar.cut_streams()
            assert await read(node, 30) == [b"%d" % number for number in range(30)]
            assert node.status()["watches"] > 1


async def test_a_watch_of_what_is_compacted_begins_anew(etcd: Etcds) -> None:
    prefix = new_prefix()
    gone = (
        b'{"result":{"header":{"cluster_id":"%d"},"created":true}}\n'
        b'{"result":{"header":{"cluster_id":"%d"},"canceled":true,"compact_revision":"9"}}\n'
    )
    async with open_liar(etcd.urls[0]) as liar, on_etcd(liar.url, prefix=prefix) as node:
        cluster = int(node.status()["etcd_cluster"], 16)
        liar.will(WATCH, instead(200, gone % (cluster, cluster)))
        liar.cut_streams()
        assert await node.propose(b"a") == 1
        async with on_etcd(*etcd.urls, prefix=prefix, name="other") as other:
            await other.propose(b"b")
        with trio.fail_after(20):
            while "are gone" not in node.status()["watch_ended"]:
                await trio.lowlevel.checkpoint()
        assert await read(node, 2) == [b"a", b"b"]


async def test_while_etcd_is_away_commands_are_refused_for_certain(etcd: Etcds) -> None:
    port = free_port()
    told: list[str] = []
    away = partial(opens, f"http://127.0.0.1:{port}", start=0.2)
    await says(f"no etcd answers within 0.2 s: .*{port}", away)
    async with open_liar(etcd.urls[0]) as liar:
        async with on_etcd(liar.url, prefix=new_prefix(), patience=0.3, told=told) as node:
            await surely(node, b"a")
            for path in (TXN, RANGE, WATCH):
                liar.will(path, *[instead(503, b'{"code":14,"message":"no leader"}')] * 10_000)
            with pytest.raises(OutcomeUnknown, match="no leader"):
                while True:  # until it is sent, and not answered
                    with contextlib.suppress(StateUnavailable):
                        await node.propose(b"b")
            for _ in range(3):
                await says("no leader", partial(node.propose, b"c"))
                await says("no leader", node.read_barrier)
            assert "no leader" in told[-1]
            liar.lies.clear()
            last = await surely(node, b"d")
            found = await read(node, last)
            assert found[0] == b"a"
            assert found[-1] == b"d"
            assert set(found) <= {b"a", b"b", b"d"}
            assert told[-1] == ""


async def test_a_node_that_knows_the_log_starts_while_etcd_is_away(etcd: Etcds) -> None:
    storage, prefix = MemoryLog("mine"), new_prefix()
    async with open_liar(etcd.urls[0]) as liar:
        async with on_etcd(liar.url, prefix=prefix, storage=storage) as node:
            await node.propose(b"a")
            identity = node.identity
        refuse = [instead(502, b"<html>bad gateway</html>")] * 10_000
        liar.will(TXN, *refuse)
        liar.will(RANGE, *refuse)
        async with on_etcd(liar.url, prefix=prefix, storage=storage, patience=0.2) as node:
            assert node.identity == identity
            await says("502", node.read_barrier)
            liar.lies.clear()
            assert await read(node, 1) == [b"a"]
