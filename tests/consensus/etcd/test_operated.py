"""`etcd`, as it is operated: killed, restarted, with users, with TLS; the way there from another engine."""

from __future__ import annotations

import pathlib
import subprocess
from collections.abc import AsyncGenerator, Generator, Sequence
from functools import partial
from typing import Any

import pytest
import trio

from flow_storage.memory import MemoryLog
from flowcore.assembly import read as read_configured
from flowcore.config import Secret
from flowcore.errors import OutcomeUnknown, Overloaded, StateUnavailable, UntrustedFile
from flowcore.flow import Flow, open_flow, restore
from flowcore.http import ClientTlsSettings
from flowcore.state import About, SnapshotInfo, open_state, packed
from support.canary import CANARY
from support.certificates import CLIENT, SERVER, Authority
from support.etcds import Etcds, open_etcds, text
from support.keeping import keeping, note, open_single
from support.needs import program
from support.on_etcd import new_prefix, on_etcd, opens, read, says, surely


async def test_etcd_is_killed_in_the_middle_and_nothing_acknowledged_is_lost_or_done_twice() -> (
    None
):
    with open_etcds(1) as etcd:
        (member,) = etcd.members
        prefix = new_prefix()
        acknowledged: dict[int, bytes] = {}
        unknown: set[bytes] = set()
        refused: set[bytes] = set()
        done = False
        async with on_etcd(member.url, prefix=prefix, patience=0.2, silence=0.1) as node:

            async def work(number: int) -> None:
                turn = 0
                while not done:
                    command = b"%d.%d" % (number, turn)
                    turn += 1
                    try:
                        acknowledged[await node.propose(command)] = command
                    except OutcomeUnknown:
                        unknown.add(command)
                    except (StateUnavailable, Overloaded):
                        refused.add(command)

            async with trio.open_nursery() as nursery:
                for number in range(8):
                    nursery.start_soon(work, number)
                for _ in range(3):
                    aim = len(acknowledged) + 100
                    with trio.fail_after(60):
                        while len(acknowledged) < aim:
                            await trio.lowlevel.checkpoint()
                    await trio.to_thread.run_sync(member.kill)
                    member.start()
                aim = len(acknowledged) + 100
                with trio.fail_after(60):
                    while len(acknowledged) < aim:
                        await trio.lowlevel.checkpoint()
                done = True
            last = await surely(node, b"the end")
            found = await read(node, last)
            assert len(set(found)) == len(found) - found.count(b"the end") + 1
            for position, command in acknowledged.items():
                assert found[position - 1] == command
            rest = set(found) - set(acknowledged.values()) - {b"the end"}
            assert rest <= unknown
            assert not rest & refused
        async with on_etcd(member.url, prefix=prefix, name="another") as node:
            assert await read(node, last) == found


def _with_users(etcd: Etcds) -> None:
    """root, and flow, who may do as it likes under test/."""
    end = b"test0"
    permission = {"permType": 2, "key": text(b"test/"), "range_end": text(end)}
    for path, request in (
        ("/v3/auth/user/add", {"name": "root", "password": "root"}),
        ("/v3/auth/role/add", {"name": "root"}),
        ("/v3/auth/user/grant", {"user": "root", "role": "root"}),
        ("/v3/auth/user/add", {"name": "flow", "password": CANARY}),
        ("/v3/auth/role/add", {"name": "flow"}),
        ("/v3/auth/role/grant", {"name": "flow", "perm": permission}),
        ("/v3/auth/user/grant", {"user": "flow", "role": "flow"}),
        ("/v3/auth/enable", {}),
    ):
        etcd.ask(path, request)


async def test_users_sign_in_again_when_their_tokens_are_gone(tmp_path: pathlib.Path) -> None:
    with open_etcds(1, "--unsafe-no-fsync") as etcd:
        _with_users(etcd)
        (member,) = etcd.members
        own: dict[str, Any] = {"user": "flow", "password": Secret(CANARY), "prefix": "test/a/"}
        refusals: tuple[tuple[dict[str, Any], str], ...] = (
            ({}, "it wants a user and a password"),
            ({**own, "password": Secret("wrong")}, "authentication failed"),
            ({**own, "user": "nobody"}, "authentication failed"),
            ({**own, "prefix": "elsewhere/"}, "permission denied"),
        )
        for wrong, why in refusals:
            with pytest.raises(StateUnavailable, match=why) as refused:
                async with on_etcd(member.url, **wrong):
                    raise AssertionError
            assert CANARY not in str(refused.value)
        more = {**own, "snapshot_every": 3, "keep": 0}
        async with (
            on_etcd(member.url, **more) as node,
            open_state(node, tmp_path / "state") as state,
        ):
            await state.do(note("a"))
            root = {"name": "root", "password": "root"}
            token = etcd.ask("/v3/auth/authenticate", root)["token"]
            etcd.ask("/v3/auth/disable", {}, token)
            etcd.ask("/v3/auth/enable", {})  # now there are no tokens
            await state.do(note("a", "again"))
            assert node.status()["tokens"] == 2
            await node.compact(state.position)
            for number in range(4):
                await state.do(note("b", str(number)))
            await node.compact(state.position)
            with trio.fail_after(20):
                while not node.status()["snapshots_stored"]:
                    await trio.lowlevel.checkpoint()
            assert node.status()["snapshot_trouble"] == ""


async def test_an_etcd_that_is_full_refuses_and_goes_on_when_there_is_room() -> None:
    with open_etcds(1, "--unsafe-no-fsync", "--quota-backend-bytes", str(8 * 2**20)) as etcd:
        etcd.put(b"other's", bytes(2**20))
        async with on_etcd(*etcd.urls, prefix="test/", command_size=2**20) as node:
            taken = 0
            with pytest.raises(StateUnavailable, match="nothing was written: .*space exceeded"):
                for _ in range(40):
                    taken = await node.propose(bytes(2**19))
            assert taken > 1
            assert await node.read_barrier() == taken  # what is refused is not there
            assert len(await read(node, taken)) == taken
            with pytest.raises(StateUnavailable, match="space exceeded"):
                await node.propose(b"small")
            assert await node.read_barrier() == taken
            etcd.delete(b"other's")
            revision = node.status()["revision"] + 1
            etcd.ask("/v3/kv/compaction", {"revision": revision, "physical": True})
            etcd.ask("/v3/maintenance/defragment", {})
            (alarm,) = etcd.ask("/v3/maintenance/alarm", {"action": "GET"})["alarms"]
            etcd.ask("/v3/maintenance/alarm", {"action": "DEACTIVATE", **alarm})
            with trio.fail_after(20):
                assert await node.propose(b"small") == taken + 1


async def test_tls_shows_a_certificate_and_believes_its_own_ca_alone(
    tmp_path: pathlib.Path,
) -> None:
    authority, foreign = Authority(), Authority("foreign")
    # the gateway shows etcd's own certificate to etcd itself
    authority.issue("127.0.0.1", usage=(SERVER, CLIENT)).write(tmp_path, "server")
    authority.issue("client", usage=CLIENT).write(tmp_path, "client")
    foreign.issue("client", usage=CLIENT).write(tmp_path, "foreign")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    (tmp_path / "foreign-ca.pem").write_bytes(foreign.pem)
    files = (
        *("--cert-file", str(tmp_path / "server.pem"), "--key-file", str(tmp_path / "server.key")),
        *("--trusted-ca-file", str(tmp_path / "ca.pem"), "--client-cert-auth"),
    )
    with open_etcds(1, "--unsafe-no-fsync", *files, scheme="https") as etcd:
        (url,) = etcd.urls

        def tls(name: str = "client", ca: str = "ca.pem") -> ClientTlsSettings:
            return ClientTlsSettings(ca=ca, cert=f"{name}.pem", key=f"{name}.key")

        async with on_etcd(url, tls=tls(), folder=tmp_path, start=60.0) as node:
            assert await node.propose(b"a") == 1
            assert await read(node, 1) == [b"a"]
        for wrong, why in (
            (tls(ca="foreign-ca.pem"), "unable to get local issuer certificate"),
            (tls("foreign"), ""),
            (ClientTlsSettings(ca="ca.pem"), ""),
            (None, "unable to get local issuer certificate"),
        ):
            ask = partial(opens, url, tls=wrong, folder=tmp_path, start=0.3)
            await says(f"no etcd answers within 0.3 s: .*{why}", ask)


@pytest.fixture(scope="module")
def etcd() -> Generator[Etcds]:
    with open_etcds(1, "--unsafe-no-fsync") as one:
        yield one


async def _restored(position: int, parts: Sequence[bytes]) -> MemoryLog:
    """The storage of a node that was never started, as `flowctl snapshot restore` leaves it."""

    async def pieces() -> AsyncGenerator[bytes]:
        for one in parts:
            yield one

    storage = MemoryLog("restored")
    await storage.save_snapshot(SnapshotInfo(position=position, term=1), pieces())
    await storage.reset(position, 1)
    return storage


async def test_a_state_moves_there_and_back_by_snapshots(
    etcd: Etcds, tmp_path: pathlib.Path
) -> None:
    prefix = new_prefix()
    async with keeping(tmp_path / "single") as kept:
        for number in range(20):
            await kept.state.do(note(f"k{number % 7}", str(number)))
        before = [one async for one in kept.state.snapshot()]
        position = kept.state.position
    storage = await _restored(position, before)
    async with (
        on_etcd(*etcd.urls, prefix=prefix, storage=storage) as node,
        open_state(node, tmp_path / "alpha") as state,
        on_etcd(*etcd.urls, prefix=prefix, name="beta") as other,
        open_state(other, tmp_path / "beta") as copy,
    ):
        assert state.position == copy.position == position
        assert [one async for one in copy.snapshot()] == before
        stored = await copy.do(note("k0", "of beta"))
        assert stored.position == position + 1
        found = await state.pattern("notes", "k0")
        assert found is not None
        assert found.text == "of beta"
        after = [one async for one in state.snapshot()]
    # started again it goes on, and does not restore twice
    async with on_etcd(*etcd.urls, prefix=prefix, storage=storage) as node:
        assert await node.read_barrier() == position + 1
    # what was lost on the way is not done twice
    same = await _restored(position, before)
    async with on_etcd(*etcd.urls, prefix=prefix, storage=same, name="gamma") as node:
        assert await node.read_barrier() == position + 1
    # what has entries takes none
    again = await _restored(position + 1, after)
    with pytest.raises(StateUnavailable, match="entries: nothing was restored"):
        async with on_etcd(*etcd.urls, prefix=prefix, storage=again):
            raise AssertionError
    # and back
    back = await _restored(position + 1, after)
    async with (
        open_single(back) as single,
        open_state(single, tmp_path / "back" / "state.sqlite") as state,
    ):
        assert [one async for one in state.snapshot()] == after
        assert (await state.do(note("k0", "back"))).position == position + 2


async def _saved(flow: Flow, path: pathlib.Path) -> int:
    """Save the state as `flowctl snapshot save` does; its position."""
    async with flow.state.open_snapshot() as (position, pieces):
        about = About(cluster="", node="flow", position=position, term=1, time=0.0, flowcore="test")
        parts = [one async for one in packed(about, pieces)]
    await trio.Path(path).write_bytes(b"".join(parts))
    return position


async def test_nodes_move_from_raft_to_etcd_and_back(etcd: Etcds, tmp_path: pathlib.Path) -> None:
    """As docs/etcd.md says."""
    on_one: dict[str, Any] = {"type": "raft", "voters": ["flow"]}
    shared: dict[str, Any] = {
        "type": "etcd",
        "endpoints": list(etcd.urls),
        "prefix": new_prefix(),
        "patience": "20s",
    }
    position = last = 0
    for turn, consensus in enumerate((on_one, shared, on_one)):
        config = {"node": {"data_dir": str(tmp_path / str(turn))}, "consensus": consensus}
        if turn:
            about = await restore(read_configured(config), tmp_path / f"saved{turn - 1}")
            assert about.position == position
        async with open_flow(config) as flow:
            if turn:
                found = await flow.state.pattern("notes", "a")
                assert found is not None
                assert (found.text, found.version) == (f"turn {turn - 1}", last)
            last = (await flow.state.do(note("a", f"turn {turn}"))).position
            assert last > position
            position = await _saved(flow, tmp_path / f"saved{turn}")


async def test_a_damaged_snapshot_is_not_restored_as_a_state(
    etcd: Etcds, tmp_path: pathlib.Path
) -> None:
    storage = await _restored(5, [b"no snapshot of a state"])
    with pytest.RaisesGroup(pytest.RaisesExc(UntrustedFile), flatten_subgroups=True):
        async with (
            on_etcd(*etcd.urls, prefix=new_prefix(), storage=storage) as node,
            open_state(node, tmp_path / "state"),
        ):
            raise AssertionError


def test_what_is_kept_can_be_read_with_etcds_own_client(etcd: Etcds) -> None:
    async def main() -> None:
        async with on_etcd(*etcd.urls, prefix="shown/") as node:
            await node.propose(b"a")

    trio.run(main)
    shown = subprocess.run(
        [program("etcdctl"), "--endpoints", etcd.urls[0], "get", "--prefix", "shown/head"],
        env={"ETCDCTL_API": "3"},
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert '"last":1' in shown.stdout
