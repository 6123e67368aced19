"""The official client finds its way in by OAuth: refused, sent to the issuer, let in, asked for more."""

from __future__ import annotations

from typing import Any, Literal

import httpx2
import pytest
import trio
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)

import mcp
from flowcore import open_flow
from support import doorkeeper
from support.issuer import Issuer, open_issuer

pytestmark = [
    # the client's own HTTP library leaves async generators to the garbage collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning"),
]


class Storage:
    """Keeps what a client was given."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


def provider(url: str, issuer: Issuer) -> OAuthClientProvider:
    """The client's side of OAuth; the browser is the issuer's own."""
    brought: list[tuple[str, str]] = []

    async def redirect(url: str) -> None:
        brought.append(issuer.authorize(url))

    async def callback() -> AuthorizationCodeResult:
        code, state = brought.pop()
        return AuthorizationCodeResult(code=code, state=state)

    metadata = OAuthClientMetadata.model_validate(
        {"client_name": "test", "redirect_uris": ["http://127.0.0.1:1/callback"]}
    )
    return OAuthClientProvider(url, metadata, Storage(), redirect, callback)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_official_client_gets_a_token_and_a_further_scope(
    mode: Literal["auto", "legacy"],
) -> None:
    with trio.fail_after(60):
        async with open_issuer() as issuer:
            config: dict[str, Any] = {
                "plugins": {"files": [doorkeeper.__file__]},
                "auth": {
                    "jwt": {
                        "type": "jwt",
                        "issuer": issuer.url,
                        "jwks_url": f"{issuer.url}/jwks",
                        "scopes": ["tools:use"],
                    }
                },
                "guard": {"shelf": {"type": "shelf", "closed": ["add"]}},
                "agent": {
                    "talk": {
                        "type": "python",
                        "target": "support.talkative:Talkative",
                        "names": "bare",
                    }
                },
                "edge": {
                    "mcp": {
                        "type": "mcp",
                        "bind": "127.0.0.1:0",
                        "auth": ["jwt"],
                        "guards": ["shelf"],
                    }
                },
            }
            async with open_flow(config) as flow:
                await flow.wait_settled()
                url = flow.endpoints["mcp"][0]
                async with httpx2.AsyncClient(auth=provider(url, issuer)) as http:
                    transport = streamable_http_client(url, http_client=http)
                    async with mcp.Client(transport, mode=mode) as client:
                        names = [tool.name for tool in (await client.list_tools()).tools]
                        assert "echo" in names
                        assert "add" not in names
                        added = await client.call_tool("add", {"a": 1, "b": 2})
                        assert added.structured_content == {"sum": 3}
        assert [set(one["scope"].split()) for one in issuer.asked] == [
            {"tools:use"},
            {"tools:use", "closed:use"},
        ]
        assert {one["resource"] for one in issuer.asked} == {url}
