"""Static tokens: known by their digests only."""

from __future__ import annotations

import datetime
import hashlib

import pytest
import trio

from flow_auth.token import TokenConfig, TokenScheme, TokenSettings
from flowcore.access import new_token
from flowcore.errors import Unauthenticated
from flowcore.http import HeaderMap, Request


def request(token: str) -> Request:
    headers = HeaderMap({b"authorization": b"Bearer " + token.encode()})
    return Request("POST", "/mcp", headers, b"", "127.0.0.1", 1, trio.Event())


async def test_a_token_stands_for_its_owner_and_two_may_while_they_are_exchanged() -> None:
    old, old_digest = new_token()
    new, new_digest = new_token()
    config = TokenConfig(
        tokens=(
            TokenSettings(name="ann", sha256=old_digest, roles=("admin",), scopes=("mcp",)),
            TokenSettings(name="ann", sha256=new_digest),
        )
    )
    scheme = TokenScheme(config, "static")
    principal = await scheme.identify(request(old), "")
    assert principal is not None
    assert (principal.name, principal.scheme) == ("ann", "static")
    assert principal.roles == {"admin"}
    assert principal.scopes == {"mcp"}
    again = await scheme.identify(request(new), "")
    assert again is not None
    assert again.name == "ann"


async def test_other_tokens_are_refused_or_left_to_other_schemes() -> None:
    token, digest = new_token()
    scheme = TokenScheme(TokenConfig(tokens=(TokenSettings(name="a", sha256=digest),)), "static")
    for wrong in (token + "x", token[:-1], "flow_", f"flow_{digest}", token.swapcase()):
        if wrong.startswith("flow_"):
            with pytest.raises(Unauthenticated, match="not known"):
                await scheme.identify(request(wrong), "")
    for other in ("a.b.c", digest, "Flow_x"):
        assert await scheme.identify(request(other), "") is None


async def test_a_token_is_good_through_its_last_day() -> None:
    token, digest = new_token()
    settings = TokenSettings(name="a", sha256=digest, expires="2027-01-31")
    midnight = datetime.datetime(2027, 2, 1, tzinfo=datetime.UTC).timestamp()
    config = TokenConfig(tokens=(settings,))
    before = TokenScheme(config, "static", lambda: midnight - 1)
    assert await before.identify(request(token), "") is not None
    after = TokenScheme(config, "static", lambda: midnight)
    with pytest.raises(Unauthenticated, match="expired"):
        await after.identify(request(token), "")


def test_wrong_settings_are_refused() -> None:
    _, digest = new_token()
    same = TokenSettings(name="a", sha256=digest)
    with pytest.raises(ValueError, match="same digest"):
        TokenConfig(tokens=(same, TokenSettings(name="b", sha256=digest)))
    with pytest.raises(ValueError, match="isoformat"):
        TokenSettings(name="a", sha256=digest, expires="tomorrow")
    for wrong in ("", "abc", digest.upper(), new_token()[0]):
        with pytest.raises(ValueError, match="expected"):
            TokenSettings(name="a", sha256=wrong)
    with pytest.raises(ValueError, match="empty token"):
        TokenSettings(name="a", sha256=hashlib.sha256(b"flow_").hexdigest())
