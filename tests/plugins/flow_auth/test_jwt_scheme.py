"""Tokens as requests bring them, keys that rotate in files and behind URLs, and what is remembered."""

from __future__ import annotations

import os
import pathlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from flow_auth.jwt.keys import FileKeys, UrlKeys, read_keys
from flow_auth.jwt.scheme import JwtScheme, read_revoked
from flow_auth.jwt.settings import JwtConfig
from flow_auth.watched import LARGEST, WatchedFile
from flowcore.config import Address
from flowcore.errors import AgentUnavailable, AssemblyError, Unauthenticated
from flowcore.http import HeaderMap, Request, Response, open_client, open_http_server
from support.tokens import AUDIENCE, ISSUER, SigningKey, claims, jwks, token

ALL = ("EdDSA", "ES256", "RS256")


def request(authorization: bytes | None, target: str = "/mcp") -> Request:
    headers = HeaderMap({} if authorization is None else {b"authorization": authorization})
    return Request("POST", target, headers, b"", "127.0.0.1", 1, trio.Event())


@attrs.define(eq=False)
class Keys:
    """A source that counts how often it is asked."""

    keys: Any
    looks: int = 0

    async def get(self) -> Any:
        return self.keys

    async def again(self) -> Any:
        self.looks += 1
        return self.keys


@attrs.define
class Clock:
    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def scheme(
    *keys: SigningKey, clock: Clock | None = None, revoked: Any = None, **more: Any
) -> JwtScheme:
    config = JwtConfig(issuer=ISSUER, keys=pathlib.Path("unused"), **more)
    source = Keys(read_keys(jwks(*keys), ALL))
    return JwtScheme(config, "idp", source, revoked, clock or Clock())


def fresh(clock: Clock, **more: Any) -> dict[str, Any]:
    return claims(iat=int(clock.now), exp=int(clock.now) + 300, **more)


async def test_a_request_without_such_a_token_is_not_for_this_scheme() -> None:
    it = scheme(SigningKey("EdDSA"))
    for other in (None, b"Basic YTpi", b"Bearer flow_abc", b"Bearer abc", b"bearerx a.b.c"):
        assert await it.identify(request(other), AUDIENCE) is None


async def test_a_token_in_the_query_is_not_looked_at() -> None:
    key, clock = SigningKey("EdDSA"), Clock()
    it = scheme(key, clock=clock)
    text = token(key, fresh(clock)).decode()
    assert await it.identify(request(None, f"/mcp?access_token={text}"), AUDIENCE) is None


@pytest.mark.parametrize(
    "value", [b"Bearer a.b.c d", b"Bearer ", b"Bearer a.b.\xff", b"Bearer a,b.c.d"]
)
async def test_a_malformed_bearer_token_is_refused(value: bytes) -> None:
    with pytest.raises(Unauthenticated, match="malformed"):
        await scheme(SigningKey("EdDSA")).identify(request(value), AUDIENCE)


async def test_two_authorization_headers_are_refused() -> None:
    it = request(b"Bearer a.b.c")
    it.headers.repeated = {b"authorization": [b"Bearer a.b.c", b"Bearer d.e.f"]}
    with pytest.raises(Unauthenticated, match="more than once"):
        await scheme(SigningKey("EdDSA")).identify(it, AUDIENCE)


async def test_the_edge_is_the_audience_unless_another_is_configured() -> None:
    key, clock = SigningKey("EdDSA"), Clock()
    data = b"Bearer " + token(key, fresh(clock, aud=["https://a.example", "https://b.example"]))
    it = scheme(key, clock=clock)
    for place in ("https://a.example", "https://b.example"):
        assert await it.identify(request(data), place) is not None
    with pytest.raises(Unauthenticated, match="somebody else"):
        await it.identify(request(data), "https://c.example")
    fixed = scheme(key, clock=clock, audience=("https://b.example",))
    assert await fixed.identify(request(data), "https://c.example") is not None


async def test_a_remembered_token_ends_when_it_expires_or_after_a_while() -> None:
    key, clock = SigningKey("EdDSA"), Clock()
    it = scheme(key, clock=clock, leeway=0.0)
    short = b"Bearer " + token(key, fresh(clock) | {"exp": clock.now + 30})
    first = await it.identify(request(short), AUDIENCE)
    assert await it.identify(request(short), AUDIENCE) is first
    clock.now += 30
    with pytest.raises(Unauthenticated, match="expired"):
        await it.identify(request(short), AUDIENCE)
    long = b"Bearer " + token(key, fresh(clock))
    first = await it.identify(request(long), AUDIENCE)
    clock.now += 59
    assert await it.identify(request(long), AUDIENCE) is first
    clock.now += 1
    again = await it.identify(request(long), AUDIENCE)
    assert again == first
    assert again is not first


async def test_a_remembered_token_is_refused_once_it_is_revoked(
    tmp_path: pathlib.Path, autojump_clock: MockClock
) -> None:
    path = tmp_path / "revoked.txt"
    path.write_text("# none yet\n")
    key, clock = SigningKey("EdDSA"), Clock()
    it = scheme(
        key,
        clock=clock,
        revoked=WatchedFile(path, read_revoked, "revocation list"),
    )
    data = b"Bearer " + token(key, fresh(clock, jti="j1"))
    assert await it.identify(request(data), AUDIENCE) is not None
    path.write_text("j0\nj1\n")
    await trio.sleep(1)
    with pytest.raises(Unauthenticated, match="revoked"):
        await it.identify(request(data), AUDIENCE)


async def test_keys_in_a_file_rotate_and_a_broken_file_changes_nothing(
    tmp_path: pathlib.Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "jwks.json"
    old, new = SigningKey("EdDSA", "old"), SigningKey("ES256", "new")
    path.write_bytes(jwks(old))
    clock = Clock()
    config = JwtConfig(issuer=ISSUER, keys=path)
    it = JwtScheme(config, "idp", FileKeys(path, ALL), None, clock)
    by_old = b"Bearer " + token(old, fresh(clock))
    by_new = b"Bearer " + token(new, fresh(clock))
    assert await it.identify(request(by_old), AUDIENCE) is not None
    with pytest.raises(Unauthenticated, match="unknown key"):
        await it.identify(request(by_new), AUDIENCE)
    replace(path, jwks(old, new))
    await trio.sleep(1)
    for data in (by_old, by_new):
        assert await it.identify(request(data), AUDIENCE) is not None
    replace(path, b"{ broken")
    await trio.sleep(1)
    for data in (by_old, by_new):
        assert await it.identify(request(data), AUDIENCE) is not None
    assert "going on with the old" in caplog.text
    replace(path, jwks(new))
    await trio.sleep(1)
    with pytest.raises(Unauthenticated, match="unknown key"):
        await it.identify(request(by_old), AUDIENCE)
    assert await it.identify(request(by_new), AUDIENCE) is not None


def replace(path: pathlib.Path, data: bytes) -> None:
    other = path.with_suffix(".new")
    other.write_bytes(data)
    other.replace(path)


async def test_a_key_file_that_cannot_be_used_at_the_start_is_said(tmp_path: pathlib.Path) -> None:
    missing = tmp_path / "none.json"
    with pytest.raises(AssemblyError, match="No such file"):
        FileKeys(missing, ALL)
    missing.write_bytes(b"x" * (LARGEST + 1))
    with pytest.raises(AssemblyError, match="more than 262144 bytes"):
        FileKeys(missing, ALL)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(AssemblyError, match="no regular file"):
        FileKeys(tmp_path / "pipe", ALL)


# ---- keys behind a URL


@attrs.define(eq=False)
class Issuer:
    """A server of JWK Sets."""

    answer: Response
    fetched: int = 0
    hold: trio.Event | None = None

    async def handle(self, request: Request) -> Response:
        self.fetched += 1
        if self.hold is not None:
            await self.hold.wait()
        return self.answer


@asynccontextmanager
async def published(issuer: Issuer, **more: float) -> AsyncGenerator[UrlKeys]:
    times = {"refresh": 600.0, "stale": 3600.0} | more
    async with (
        open_http_server(issuer.handle, Address("127.0.0.1", 0)) as server,
        open_client(body=LARGEST) as client,
        trio.open_nursery() as nursery,
    ):
        url = f"http://{server.addresses[0]}/jwks.json"
        yield UrlKeys(url, ALL, client, nursery, **times)
        nursery.cancel_scope.cancel()


def listed(*keys: SigningKey) -> Response:
    return Response(200, (), jwks(*keys))


async def test_keys_are_fetched_once_for_all_who_wait() -> None:
    issuer = Issuer(listed(SigningKey("EdDSA")), hold=trio.Event())
    async with published(issuer) as keys, trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(keys.get)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert issuer.hold is not None
        issuer.hold.set()
    assert issuer.fetched == 1


async def test_who_waits_for_keys_may_go_away() -> None:
    issuer = Issuer(listed(SigningKey("EdDSA")), hold=trio.Event())
    async with published(issuer) as keys:
        with trio.move_on_after(0.01) as scope:
            await keys.get()
        assert scope.cancelled_caught
        assert issuer.hold is not None
        issuer.hold.set()
        assert len(await keys.get()) == 1
    assert issuer.fetched == 1


async def test_an_unknown_key_id_is_looked_for_but_not_again_and_again() -> None:
    old, new = SigningKey("EdDSA", "old"), SigningKey("EdDSA", "new")
    issuer = Issuer(listed(old))
    async with published(issuer) as keys:
        it = JwtScheme(JwtConfig(issuer=ISSUER, jwks_url="https://unused"), "idp", keys)
        assert await it.identify(request(b"Bearer " + token(old)), AUDIENCE) is not None
        issuer.answer = listed(old, new)
        for _ in range(50):
            with pytest.raises(Unauthenticated, match="unknown key"):
                await it.identify(request(b"Bearer " + token(new)), AUDIENCE)
        assert issuer.fetched == 1  # it was fetched just now
        keys._tried -= 31
        assert await it.identify(request(b"Bearer " + token(new)), AUDIENCE) is not None
        assert issuer.fetched == 2


@pytest.mark.parametrize(
    "answer",
    [
        Response(500, (), b"{}"),
        Response(302, ((b"location", b"https://elsewhere.example"),)),
        Response(200, (), b"<html>"),
        Response(200, (), b'{"keys": []}'),
        Response(200, (), b"x" * (10 << 20)),
    ],
    ids=["error", "redirect", "html", "no keys", "10 MB"],
)
async def test_an_issuer_that_answers_otherwise_gives_no_keys_and_takes_none_away(
    answer: Response,
) -> None:
    key = SigningKey("EdDSA")
    issuer = Issuer(answer)
    async with published(issuer) as keys:
        with pytest.raises(AgentUnavailable, match="cannot be fetched now"):
            await keys.get()
        issuer.answer = listed(key)
        keys._tried -= 31
        assert len(await keys.get()) == 1
        issuer.answer = answer
        keys._tried -= 31
        assert len(await keys.again()) == 1


async def test_keys_grow_too_old() -> None:
    issuer = Issuer(listed(SigningKey("EdDSA")))
    async with published(issuer, refresh=10, stale=100) as keys:
        await keys.get()
        issuer.answer = Response(503)
        keys._fetched -= 50
        keys._tried -= 50
        assert len(await keys.get()) == 1
        keys._fetched -= 50
        with pytest.raises(AgentUnavailable):
            await keys.get()
