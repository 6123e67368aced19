"""Credentials that are good no more: refused by every node, at once, and after a restart."""

from __future__ import annotations

import hashlib
import json
import pathlib
from typing import Any

import pytest
import trio

import flowcore
from flowcore.access import Access, EdgeSettings, revocation_id
from flowcore.durable import Revocations
from flowcore.errors import AgentUnavailable, QuotaExceeded, Unauthenticated
from flowcore.http import HeaderMap, Request, open_client
from flowcore.requests import Principal
from flowcore.secrets import new_token
from flowcore.state import Revoke, StateSettings, WorkSettings
from support.keeping import keeping
from support.sharing import sharing


async def test_what_is_revoked_at_one_node_is_refused_at_every_other(
    tmp_path: pathlib.Path,
) -> None:
    async with sharing(tmp_path) as shared:
        alpha, beta = await shared.start("alpha"), await shared.start("beta")
        assert "idp:jti:1" not in beta.revoked
        await alpha.revoked.revoke(shared.state, ("idp:jti:1",), None)
        assert "idp:jti:1" in alpha.revoked
        await shared.until(lambda: "idp:jti:1" in beta.revoked)
        gamma = await shared.start("gamma")  # one that comes later knows it, too
        assert "idp:jti:1" in gamma.revoked
        assert gamma.durable.status()["revoked"] == 1


async def test_what_is_reinstated_at_one_node_is_let_in_at_every_other(
    tmp_path: pathlib.Path,
) -> None:
    async with sharing(tmp_path) as shared:
        alpha, beta = await shared.start("alpha"), await shared.start("beta")
        await alpha.revoked.revoke(shared.state, ("idp:jti:1", "idp:jti:2"), None)
        await shared.until(lambda: "idp:jti:2" in beta.revoked)
        gone = await beta.revoked.reinstate(shared.state, ("idp:jti:1", "idp:jti:3", "idp:jti:1"))
        assert gone == ("idp:jti:1",)
        assert "idp:jti:1" not in beta.revoked
        await shared.until(lambda: "idp:jti:1" not in alpha.revoked)
        assert "idp:jti:2" in alpha.revoked
        gamma = await shared.start("gamma")
        assert ["idp:jti:1" in gamma.revoked, "idp:jti:2" in gamma.revoked] == [False, True]


async def test_a_revocation_ends_when_what_it_is_about_would_have_expired(
    tmp_path: pathlib.Path,
) -> None:
    now = [100.0]
    revoked = Revocations(lambda: now[0])
    async with keeping(tmp_path, clock=lambda: now[0]) as kept:
        await kept.state.do(Revoke(ids=("early",), ttl=50.0))
        await revoked.load(kept.state)
        kept.state.watch_work(revoked.heard)
        await kept.state.do(Revoke(ids=("late", "longer"), ttl=10.0))
        await kept.state.do(Revoke(ids=("longer",)))
        assert all(one in revoked for one in ("early", "late", "longer"))
        now[0] = 111.0
        assert [one in revoked for one in ("early", "late", "longer")] == [True, False, True]
        again = Revocations(lambda: now[0])
        await again.load(kept.state)
        assert [one in again for one in ("early", "late", "longer")] == [True, False, True]


async def test_revocations_are_bounded(tmp_path: pathlib.Path) -> None:
    few = StateSettings(work=WorkSettings(revocations=2))
    async with keeping(tmp_path, few) as kept:
        await kept.state.do(Revoke(ids=("a", "b")))
        with pytest.raises(QuotaExceeded):
            await Revocations().revoke(kept.state, ("c",), None)


class Known:
    """Whoever comes is ann, by the credentials that are said."""

    challenge, headers = "", ()

    def __init__(self, *credentials: str) -> None:
        self._credentials = credentials

    async def identify(self, request: Request, resource: str) -> Principal | None:
        del request, resource
        return Principal(name="ann", scheme="idp", credentials=self._credentials)


@pytest.mark.parametrize(
    "revoked",
    [
        revocation_id("idp", "jti", "7"),
        revocation_id("idp", "key", "2026"),
        revocation_id("idp", "principal", "ann"),
    ],
)
async def test_who_comes_with_what_is_revoked_is_refused(revoked: str) -> None:
    request = Request("POST", "/", HeaderMap({}), b"", "127.0.0.1", 1, trio.Event())
    scheme = Known("jti:7", "key:2026")
    for ids, refused in (({revoked}, True), ({revoked + "x", "other:jti:7"}, False)):
        door = Access("mcp", EdgeSettings(), [scheme], lambda event: None, ids)
        if refused:
            with pytest.raises(Unauthenticated, match="revoked"):
                await door.identify(request, "http://here/")
        else:
            assert (await door.identify(request, "http://here/")).name == "ann"


def test_ids_of_any_length_are_told_apart() -> None:
    long = "x" * 5000
    ids = {revocation_id("idp", "jti", one) for one in ("a", long, long + "y", "\ud800")}
    assert len(ids) == 4
    assert all(len(one.encode("utf-8", "surrogatepass")) <= 512 for one in ids)


async def test_a_token_is_revoked_over_the_api_edge_and_stays_so(tmp_path: pathlib.Path) -> None:
    token, digest = new_token()
    other, other_digest = new_token()
    config: dict[str, Any] = {
        "node": {"data_dir": str(tmp_path)},
        "state": {},
        "auth": {
            "staff": {
                "type": "token",
                "tokens": [
                    {"name": "ann", "sha256": digest},
                    {"name": "bob", "sha256": other_digest},
                ],
            }
        },
        "edge": {"api": {"type": "api", "bind": "127.0.0.1:0", "auth": ["staff"]}},
    }
    async with open_client() as client:

        async def ask(flow: Any, who: str, path: str, body: Any = None) -> tuple[int, Any]:
            headers = [
                (b"authorization", f"Bearer {who}".encode()),
                (b"content-type", b"application/json"),
            ]
            answer = await client.request(
                "GET" if body is None else "POST",
                flow.endpoints["api"][0] + path,
                headers=headers,
                body=b"" if body is None else json.dumps(body).encode(),
            )
            return answer.status, json.loads(answer.body)

        async with flowcore.open_flow(config) as flow:
            assert (await ask(flow, token, "/status"))[0] == 200
            body = {"scheme": "staff", "what": "token", "id": digest, "seconds": 3600.0}
            status, answer = await ask(flow, other, "/revocations/add", body)
            assert (status, answer) == (200, {"revoked": f"staff:token:{digest}"})
            assert (await ask(flow, token, "/status"))[0] == 401
            status, answer = await ask(flow, other, "/revocations")
            (line,) = answer["revocations"]
            assert line["id"] == f"staff:token:{digest}"
            assert 3500 < line["left"] <= 3600
            for wrong, said in (
                ({"scheme": "staff", "what": "badge", "id": "x"}, "Invalid enum value"),
                ({"scheme": "", "what": "key", "id": "x"}, "one of them is empty"),
                ({"scheme": "a", "what": "key", "id": "x", "seconds": -1}, "more than 0 seconds"),
            ):
                status, answer = await ask(flow, other, "/revocations/add", wrong)
                assert status == 400
                assert said in answer["error"]["message"]
            status, answer = await ask(flow, other, "/revocations/forget", {})
            assert status == 404
            assert "add, remove" in answer["error"]["message"]
            del body["seconds"]
            for status in (200, 404):  # it is not revoked any more the second time
                assert (await ask(flow, other, "/revocations/remove", body))[0] == status
            assert (await ask(flow, token, "/status"))[0] == 200
            assert (await ask(flow, other, "/revocations"))[1] == {"revocations": []}
            assert (await ask(flow, other, "/revocations/remove", {"scheme": "x"}))[0] == 400
            assert (await ask(flow, other, "/revocations/add", body))[0] == 200
        async with flowcore.open_flow(config) as flow:
            assert (await ask(flow, token, "/status"))[0] == 401
            assert (await ask(flow, other, "/status"))[0] == 200


async def test_without_a_state_nothing_can_be_revoked() -> None:
    async with flowcore.open_flow({}) as flow:
        with pytest.raises(AgentUnavailable, match="keeps no hard state"):
            await flow.revoke(["idp:jti:1"])
        with pytest.raises(AgentUnavailable, match="keeps no hard state"):
            await flow.revocations()
        with pytest.raises(AgentUnavailable, match="keeps no hard state"):
            await flow.reinstate(["idp:jti:1"])
        assert await flow.kept_tasks() == []
        assert hashlib.sha256(b"").hexdigest() not in flow.revoked
