"""`flowctl doctor`: each thing that can be wrong is made wrong, and it says so, and what to do."""

from __future__ import annotations

import contextlib
import json
import pathlib
import shutil
import socket
import ssl
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, NamedTuple

import pytest
import trio

from flowcore import Flow, open_flow
from flowcore.cli import doctor, flowctl
from support.certificates import CLIENT, DAY, SERVER, Authority
from support.flows import config
from support.node import run
from support.ports import free_port

NOBODY = "http://127.0.0.1:1"


def judged(
    capsys: pytest.CaptureFixture[str], *words: str, url: str = NOBODY
) -> tuple[int, list[dict[str, Any]]]:
    """The exit code, and all that was looked at."""
    capsys.readouterr()
    code = flowctl.run(["doctor", "--json", "--url", url, *words])
    told = json.loads(capsys.readouterr().out)
    assert all(bool(one["advice"]) for one in told["checks"] if one["verdict"] == "fail")
    return code, told["checks"]


def of(found: list[dict[str, Any]], check: str, about: str = "") -> dict[str, Any]:
    """The one check of a kind."""
    (one,) = [each for each in found if each["check"] == check and about in each["about"]]
    return one


def written(folder: pathlib.Path, more: str = "", **node: str) -> list[str]:
    """The options for a configuration."""
    path = folder / "flow.toml"
    settings = {"name": "alpha", "data_dir": str(folder / "data"), **node}
    lines = [f'{name} = "{value}"' for name, value in settings.items()]
    path.write_text("[node]\n" + "\n".join(lines) + "\n" + more)
    return ["--config", str(path)]


def test_a_wrong_configuration_is_told_with_its_line(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = written(tmp_path, '[edge.api]\ntype = "api"\nbnid = "127.0.0.1:0"\n')
    code, found = judged(capsys, *words)
    one = of(found, "configuration")
    assert (code, one["verdict"]) == (1, "fail")
    assert ":6: edge.api" in one["found"]
    assert "did you mean 'bind'?" in one["found"]
    assert of(found, "node")["verdict"] == "fail"  # nobody is there, either


@pytest.mark.parametrize(
    ("begins", "ends", "verdict", "says"),
    [
        (-DAY, 100 * DAY, "ok", "good for 100 days"),
        (-DAY, 5.5 * DAY, "warn", "good for 5 days"),
        (-30 * DAY, -2.1 * DAY, "fail", "expired 2 days ago"),
        (2 * DAY, 30 * DAY, "fail", "good only from"),
    ],
)
def test_certificates_are_told_before_they_end(
    begins: Any,
    ends: Any,
    verdict: str,
    says: str,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pair = Authority().issue("127.0.0.1", usage=SERVER, begins=begins, ends=ends)
    cert, key = pair.write(tmp_path, "edge")
    table = f'[edge.api]\ntype = "api"\nbind = "127.0.0.1:{free_port()}"\n'
    tls = f'tls = {{ cert = "{cert}", key = "{key}" }}\n'
    _, found = judged(capsys, *written(tmp_path, table + tls))
    one = of(found, "certificate")
    assert one["verdict"] == verdict
    assert says in one["found"].replace("good for 99", "good for 100")
    (tmp_path / cert).write_text("no certificate")
    _, found = judged(capsys, *written(tmp_path, table + tls))
    assert of(found, "certificate")["verdict"] == "fail"
    (tmp_path / cert).unlink()
    _, found = judged(capsys, *written(tmp_path, table + tls))
    assert "cannot be read" in of(found, "certificate")["found"]


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.mark.parametrize(
    ("free", "verdict"), [(10 << 30, "ok"), (500 << 20, "warn"), (10 << 20, "fail")]
)
def test_a_disk_that_fills_is_told(
    free: int,
    verdict: str,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(20 << 30, (20 << 30) - free, free))
    _, found = judged(capsys, *written(tmp_path))
    assert of(found, "disk")["verdict"] == verdict


def test_a_data_folder_that_cannot_be_one_is_told(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    _, found = judged(capsys, *written(tmp_path, data_dir=str(tmp_path / "file" / "data")))
    one = of(found, "disk")
    assert one["verdict"] == "fail"
    assert "no folder" in one["found"]


@contextmanager
def taken() -> Generator[int]:
    """A port that somebody else has."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", free_port()))
        one.listen()
        yield one.getsockname()[1]


def test_a_port_that_somebody_else_has_is_told(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with taken() as port:
        words = written(tmp_path, f'[edge.api]\ntype = "api"\nbind = "127.0.0.1:{port}"\n')
        _, found = judged(capsys, *words)
        one = of(found, "port")
        assert one["verdict"] == "fail"
        assert "edge.api cannot listen there: somebody else does" in one["found"]
    _, found = judged(capsys, *words)
    assert of(found, "port")["verdict"] == "ok"


def node_files(folder: pathlib.Path, authority: Authority, name: str) -> dict[str, str]:
    pair = authority.issue(f"spiffe://flow/node/{name}", usage=(SERVER, CLIENT))
    cert, key = pair.write(folder, name)
    (folder / "ca.pem").write_bytes(authority.pem)
    return {"cert": cert, "key": key, "ca": "ca.pem"}


def test_a_peer_that_is_not_there_or_not_of_this_swarm_is_told(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = node_files(tmp_path, Authority(), "alpha")
    tls = ", ".join(f'{name} = "{value}"' for name, value in files.items())
    nowhere = free_port()
    swarm = f'[swarm]\nbind = "127.0.0.1:{free_port()}"\ntls = {{ {tls} }}\nseeds = '
    _, found = judged(capsys, *written(tmp_path, f'{swarm}["127.0.0.1:{nowhere}"]\n'))
    one = of(found, "peer", str(nowhere))
    assert one["verdict"] == "fail"
    assert "cannot be reached" in one["found"]
    stranger = Authority("another swarm's")
    with greeting(stranger, tmp_path) as port:
        _, found = judged(capsys, *written(tmp_path, f'{swarm}["127.0.0.1:{port}"]\n'))
    one = of(found, "peer", str(port))
    assert one["verdict"] == "fail"
    assert "is not known" in one["found"]


@contextmanager
def greeting(authority: Authority, folder: pathlib.Path) -> Generator[int]:
    """A port at which somebody of another CA shakes hands, once."""
    other = folder / "other"
    other.mkdir()
    pair = authority.issue("spiffe://flow/node/beta", usage=(SERVER, CLIENT))
    cert, key = pair.write(other, "beta")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(other / cert, other / key)

    def serve() -> None:
        accepted, _ = listening.accept()
        with accepted, contextlib.suppress(OSError):  # the other side refuses it
            context.wrap_socket(accepted, server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(20)


@asynccontextmanager
async def two(
    folder: pathlib.Path, alpha: dict[str, Any], beta: dict[str, Any]
) -> AsyncGenerator[dict[str, Flow]]:
    """Two nodes of a swarm, with these tables besides; the first has an api edge."""
    flows: dict[str, Flow] = {}
    async with AsyncExitStack() as stack:
        seeds: list[str] = []
        for name, more in (("alpha", alpha), ("beta", beta)):
            made = {**config(name, folder, seeds), **more}
            made["edge"] = {"api": {"type": "api", "bind": "127.0.0.1:0"}}
            flows[name] = await stack.enter_async_context(open_flow(made))
            await flows[name].wait_settled()
            seeds = [flows["alpha"].swarm.address]
        with trio.fail_after(20):
            async with _changes(flows["alpha"]) as changes:
                async for _ in changes:
                    if "beta" in flows["alpha"].swarm.overlay.reachable():
                        break
            yield flows


@asynccontextmanager
async def _changes(flow: Flow) -> AsyncGenerator[AsyncGenerator[None]]:
    changes = flow.swarm.overlay.changes()
    try:
        yield changes
    finally:
        await changes.aclose()


async def doctored(
    flows: dict[str, Flow], capsys: pytest.CaptureFixture[str]
) -> tuple[int, list[dict[str, Any]]]:
    url = flows["alpha"].endpoints["api"][0]
    return await trio.to_thread.run_sync(lambda: judged(capsys, url=url))


ROUTED: dict[str, Any] = {"router": {}, "storage": {"type": "memory"}}


async def test_nodes_that_agree_are_in_order_and_a_clock_that_is_wrong_is_told(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with two(tmp_path, ROUTED, ROUTED) as flows:
        code, found = await doctored(flows, capsys)
        assert code == 0
        checked = {one["check"]: one["verdict"] for one in found if "beta" in one["about"]}
        alike = ("member", "clock", "embedder", "index", "gate", "version")
        assert checked == dict.fromkeys(alike, "ok")
        flows["beta"].wall.set("test", 90.0)
        code, found = await doctored(flows, capsys)
        one = of(found, "clock", "beta")
        assert (code, one["verdict"]) == (1, "fail")
        assert one["found"].startswith(("90.", "89.9"))
        assert "ahead of this node's" in one["found"]
        flows["beta"].wall.set("test", -2.0)
        _, found = await doctored(flows, capsys)
        assert of(found, "clock", "beta")["verdict"] == "warn"


async def test_embedders_indexes_and_gates_that_differ_are_told(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = {
        "storage": {"type": "memory"},
        "router": {"embedder": {"type": "hashed", "dimensions": 128}, "index": "exact"},
    }
    here = {"storage": {"type": "memory"}, "router": {"index": "hnsw", "practice": 1}}
    async with two(tmp_path, here, other) as flows:
        code, found = await doctored(flows, capsys)
        assert code == 1
        assert of(found, "embedder", "beta")["verdict"] == "fail"
        assert "128 dimensions" in of(found, "embedder", "beta")["found"]
        assert of(found, "index", "beta")["verdict"] == "warn"
        gate = of(found, "gate", "beta")
        assert gate["verdict"] == "warn"
        assert "practice 2" in gate["found"].split(", and ")[0]
        assert "practice 1" in gate["found"].split(", and ")[1]


async def test_a_component_that_is_not_well_is_told(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = {**ROUTED, "agent": {"broken": {"type": "python", "target": "json:nothing"}}}
    edge = {"api": {"type": "api", "bind": "127.0.0.1:0"}}
    async with open_flow({**broken, "edge": edge}) as flow:
        await flow.wait_settled()
        _, found = await doctored({"alpha": flow}, capsys)
        assert of(found, "component", "agent.broken")["verdict"] in ("warn", "fail")


def test_members_that_are_suspect_or_dead_are_told() -> None:
    members = [
        {"name": "a", "state": "alive", "unreachable": None, "address": "a:1"},
        {"name": "b", "state": "suspect", "unreachable": None, "address": "b:1"},
        {"name": "c", "state": "dead", "unreachable": None, "address": "c:1"},
        {"name": "d", "state": "alive", "unreachable": 4.0, "address": "d:1"},
    ]
    found = {one.about: one for one in doctor.of_members({"swarm": {"members": members}})}
    verdicts = {name: one.verdict for name, one in found.items()}
    assert verdicts == {"a": "ok", "b": "warn", "c": "fail", "d": "fail"}
    assert "d:1" in found["d"].advice


def test_for_a_person_it_says_what_to_do(tmp_path: pathlib.Path) -> None:
    words = written(tmp_path, '[edge.api]\ntype = "api"\n')
    done = run("flowctl", "doctor", "--url", NOBODY, *words)
    assert done.returncode == 1
    assert "what to do:" in done.stdout
    assert "start it (`flowserve --config FILE`)" in done.stdout
    assert run("flowctl", "doctor", "--nothing").returncode == 2
