"""A clock that is wrong, rehearsed: what is signed, stamped and certified goes by it, and it is undone."""

from __future__ import annotations

import base64
import datetime
import json
import logging
import pathlib
import secrets
import time
from collections.abc import Iterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from flowcore import Flow, open_flow
from flowcore.agents import FaultInjected
from flowcore.errors import InvalidArguments
from flowcore.http import Client, open_client
from flowcore.signing import Key, KeyRing, Signer
from flowcore.swarm import NodeTlsSettings
from flowcore.swarm.authorities import NotVouchedFor
from flowcore.swarm.identity import Identity
from flowcore.wall import WallClock
from support.linked import make_certificates

SECRET = secrets.token_bytes(32)
RING = KeyRing([Key(id="k1", secret=SECRET, principal="ann")])
PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def act(of: Flow, action: str, **arguments: Any) -> dict[str, Any]:
    return of.guard("chaos").act(action, arguments)


async def ping(client: Client, url: str, ahead: float = 0.0) -> int:
    """The status of a ping that is signed by a clock of its own."""
    signer = Signer(RING, url, clock=lambda: time.time() + ahead)
    headers = [
        (b"content-type", b"application/json"),
        (b"accept", b"application/json, text/event-stream"),
        (b"authorization", signer.authorization("POST", url, PING).encode()),
    ]
    return (await client.request("POST", url, headers=headers, body=PING)).status


async def test_signatures_and_the_audit_log_go_by_a_clock_that_is_wrong_until_it_is_undone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    secret = base64.b64encode(SECRET).decode()
    monkeypatch.setenv("RING", f'[[key]]\nid = "k1"\nsecret = "{secret}"\nprincipal = "ann"\n')
    config = {
        "node": {"data_dir": str(tmp_path)},
        "auth": {"partners": {"type": "hmac", "keys": {"env": "RING"}}},
        "guard": {"chaos": {"type": "faults"}, "audit": {"type": "audit"}},
        "requests": {"guards": ["audit", "chaos"]},
        "edge": {"mcp": {"type": "mcp", "bind": "127.0.0.1:0", "auth": ["partners"]}},
    }
    async with open_flow(config) as flow, open_client() as client:
        [url] = flow.endpoints["mcp"]
        assert await ping(client, url) == 200
        act(flow, "start", name="slow", fault="clock", offset="10m", behind=True, duration="1h")
        assert await ping(client, url) == 401  # of the future
        assert await ping(client, url, ahead=-600) == 200
        assert act(flow, "stop", name="slow") == {"stopped": ["slow"]}
        assert await ping(client, url) == 200
        assert await ping(client, url, ahead=-600) == 401
    lines = audited(tmp_path)
    told = {one["done"]: one for one in lines if one["what"] == "fault"}
    denied = [one for one in lines if one["what"] == "denied"]
    begun, undone = (moment(told[what]["time"]) for what in ("begun", "undone"))
    assert (
        500 < (begun - undone).total_seconds() <= 600
    )  # it says when by the clock that it has then
    assert 500 < (begun - moment(denied[0]["time"])).total_seconds() <= 600
    assert moment(denied[1]["time"]) >= begun
    assert told["undone"]["why"] == "by an operator"


def audited(folder: pathlib.Path) -> list[dict[str, Any]]:
    [log] = folder.rglob("audit.jsonl")
    return [json.loads(line) for line in log.read_text().splitlines()]


def moment(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


async def test_it_lasts_as_long_as_it_was_said_and_a_dry_run_moves_nothing(
    mock_clock: MockClock,
) -> None:
    config = {"guard": {"chaos": {"type": "faults"}}, "requests": {"guards": ["chaos"]}}
    async with open_flow(config) as flow, flow.events() as events:
        await flow.wait_settled()
        mock_clock.autojump_threshold = 0
        act(flow, "start", name="dry", fault="clock", offset="1h", dry_run=True, duration="5s")
        assert flow.wall.offset == 0
        act(flow, "start", name="fast", fault="clock", offset="1h", duration="10s")
        act(flow, "start", name="slow", fault="clock", offset="1m", behind=True, duration="20s")
        assert flow.wall.offset == 3540
        before = trio.current_time()
        await trio.sleep(15)
        assert trio.current_time() - before == 15  # what lasts does not go by it
        assert flow.wall.offset == -60
        await trio.sleep(10)
        assert flow.wall.offset == 0
        told = []
        with trio.move_on_after(1):
            async for event in events:
                if isinstance(event, FaultInjected):
                    told.append((event.experiment, event.fault, event.what, event.dry_run))
        assert [one for one in told if one[0] == "dry"] == [
            ("dry", "clock", "begun", True),
            ("dry", "clock", "undone", True),
        ]
        assert ("fast", "clock", "undone", False) in told


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"fault": "clock"}, "expected an offset"),
        ({"fault": "clock", "offset": "-1h"}, "offset"),
        ({"fault": "error", "offset": "1h"}, "only for 'clock'"),
        ({"fault": "error", "behind": True}, "only for 'clock'"),
        ({"fault": "clock", "offset": "1h", "nodes": ["beta"]}, "only for faults of links"),
    ],
)
async def test_what_makes_no_sense_is_refused(arguments: dict[str, Any], why: str) -> None:
    config = {"guard": {"chaos": {"type": "faults"}}, "requests": {"guards": ["chaos"]}}
    async with open_flow(config) as flow:
        with pytest.raises(InvalidArguments, match=why):
            act(flow, "start", name="x", **arguments)


def test_certificates_of_nodes_expire_by_it(tmp_path: pathlib.Path) -> None:
    make_certificates(tmp_path, "alpha", "beta")
    wall = WallClock()
    tls = NodeTlsSettings(cert="alpha.pem", key="alpha.key", ca="ca.pem")
    alpha = Identity(tls, tmp_path, wall.moment)
    other = Identity(NodeTlsSettings(cert="beta.pem", key="beta.key", ca="ca.pem"), tmp_path)
    shown = other.certificate("beta")
    assert shown is not None
    assert alpha.check(shown).name == "beta"
    wall.set("far", 50 * 365 * 86400.0)
    with pytest.raises(NotVouchedFor):
        alpha.check(shown)
    wall.lift("far")
    wall.lift("far")
    assert wall.offset == 0
    assert alpha.check(shown).name == "beta"
