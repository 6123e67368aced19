"""What holds for every way of telling who asks: it fails closed."""

from __future__ import annotations

import random
from collections.abc import Iterator

import msgspec
import trio

from flowcore.envelope import Principal
from flowcore.errors import CallError, Unauthenticated
from flowcore.http import HeaderMap, Request
from flowcore.interfaces import AuthScheme
from flowcore.testing.bench import Bench
from flowcore.testing.findings import Wrong

_SCHEMES = (b"Bearer", b"bearer", b"BEARER", b"Basic", b"DPoP", b"Signature", b"HMAC", b"flow", b"")
_TEXTS = (
    *(
        b"",
        b" ",
        b"a",
        b"a.b.c",
        b"e30.e30.",
        b"e30.e30.e30",
        b"null",
        b"0",
        b"%00",
        b"flow_",
        b"\xff",
    ),
    *(b"=" * 100, b"." * 10_000, b"A" * 100_000, b"admin:admin", b'keyid="a", signature=":AAAA:"'),
)
_HEADERS = (b"cookie", b"x-api-key", b"signature", b"signature-input", b"flow-signature", b"dpop")


def _request(headers: dict[bytes, bytes], body: bytes = b"{}") -> Request:
    return Request("POST", "/mcp", HeaderMap(headers), body, "192.0.2.1", 1, trio.Event())


def _garbage(chance: random.Random) -> Iterator[Request]:
    """Credentials that nobody has given out."""
    for scheme in _SCHEMES:
        for text in _TEXTS:
            yield _request({b"authorization": scheme + b" " + text})
    for header in _HEADERS:
        for text in _TEXTS:
            yield _request({header: text})
    for _ in range(200):
        text = chance.randbytes(chance.randint(1, 200))
        yield _request({b"authorization": chance.choice(_SCHEMES) + b" " + text})


async def _asked(bench: Bench, scheme: AuthScheme, request: Request) -> Principal | None:
    """Who it says sends a request; None also where it refuses."""
    try:
        principal = await scheme.identify(request, bench.trial.resource)
    except CallError:
        return None
    if principal is not None and not isinstance(principal, Principal):
        raise Wrong(f"identify gave {principal!r:.100}, no Principal")
    return principal


async def leaves_alone_what_is_not_its_own(bench: Bench) -> None:
    """a request without credentials is nobody's: None, not a refusal and not a principal"""
    async with bench.opened() as scheme:
        try:
            said = await scheme.identify(_request({}), bench.trial.resource)
        except Unauthenticated as error:
            raise Wrong(f"it refuses ({error}); another scheme may know who that is") from None
        if said is not None:
            raise Wrong(f"it says that this is {said}")


async def knows_nobody_by_garbage(bench: Bench) -> None:
    """credentials that nobody has given out are refused with Unauthenticated, or left to others"""
    async with bench.opened() as scheme:
        for request in _garbage(random.Random(3)):
            said = await _asked(bench, scheme, request)
            if said is not None:
                raise Wrong(f"it takes {dict(request.headers)!r:.200} for {said}")


async def knows_who_it_should(bench: Bench) -> None:
    """the requests of its Trial are known; what is cut from their credentials, or put to them, is not"""
    if not bench.trial.known:
        return
    for request in bench.trial.known:
        async with bench.opened() as scheme:
            said = await scheme.identify(request, bench.trial.resource)
            if said is None:
                raise Wrong(f"it does not know who sends {dict(request.headers)!r:.200}")
            if not said.name or not said.scheme:
                raise Wrong(f"{said} has no name, or no scheme")
        async with bench.opened() as scheme:
            for name, value in request.headers.items():
                for other in (value[:-1], value[1:], value + value, value + b"x", b""):
                    changed = HeaderMap({**request.headers, name: other})
                    spoilt = await _asked(
                        bench, scheme, msgspec.structs.replace(request, headers=changed)
                    )
                    if spoilt is not None and _decides(request, name):
                        raise Wrong(f"with {name.decode()}: {other!r:.100} it still knows {spoilt}")


def _decides(request: Request, name: bytes) -> bool:
    """Whether a header may be what a sender is known by; a Host or an Accept is not."""
    return len(request.headers) == 1 or name in (b"authorization", *_HEADERS)


async def challenges(bench: Bench) -> None:
    """`challenge` can stand in a header"""
    async with bench.opened() as scheme:
        challenge: object = scheme.challenge
        if not isinstance(challenge, str) or not challenge.isascii() or not challenge.isprintable():
            raise Wrong(f"it is {challenge!r:.100}")


async def serves_many_at_once(bench: Bench) -> None:
    """requests that come at the same time do not wait for, or disturb, one another"""
    async with bench.opened() as scheme, trio.open_nursery() as nursery:

        async def ask(request: Request, known: bool) -> None:
            said = await _asked(bench, scheme, request)
            if (said is not None) and not known:
                raise Wrong(f"among others it takes garbage for {said}")

        for number in range(50):
            nursery.start_soon(ask, _request({b"authorization": b"Bearer %d" % number}), False)
