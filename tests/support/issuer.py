"""A small authorization server for tests: registers everybody, asks nobody, signs what it gives out."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import attrs

from flowcore.config import Address
from flowcore.http import Request, Response, open_http_server
from support import tokens

JSON = ((b"content-type", b"application/json"),)


@attrs.define(eq=False)
class Issuer:
    """What it has been asked for, and the key that it signs with."""

    key: tokens.SigningKey = attrs.field(factory=lambda: tokens.SigningKey("EdDSA"))
    url: str = ""
    asked: list[dict[str, str]] = attrs.field(factory=list)
    """The parameters of each authorization request."""

    def authorize(self, url: str) -> tuple[str, str]:
        """What a person's browser would bring back: a code and the state."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        self.asked.append(asked)
        return str(len(self.asked) - 1), asked["state"]

    async def handle(self, request: Request) -> Response:
        """Answer one request."""
        if request.path == "/.well-known/oauth-authorization-server":
            return self._json(
                {
                    "issuer": self.url,
                    "authorization_endpoint": f"{self.url}/authorize",
                    "token_endpoint": f"{self.url}/token",
                    "registration_endpoint": f"{self.url}/register",
                    "code_challenge_methods_supported": ["S256"],
                }
            )
        if request.path == "/jwks":
            return Response(200, JSON, tokens.jwks(self.key))
        if request.path == "/register":
            return self._json({**json.loads(request.body), "client_id": "client"}, 201)
        if request.path == "/token":
            form = parse_qs(request.body.decode())
            asked = self.asked[int(form["code"][0])]
            claims = tokens.claims(
                iss=self.url, aud=form["resource"][0], scope=asked.get("scope", "")
            )
            access = tokens.token(self.key, claims).decode()
            scope = asked.get("scope", "")
            return self._json({"access_token": access, "token_type": "Bearer", "scope": scope})
        return Response(404)

    @staticmethod
    def _json(document: object, status: int = 200) -> Response:
        return Response(status, JSON, json.dumps(document).encode())


@asynccontextmanager
async def open_issuer() -> AsyncGenerator[Issuer]:
    """An authorization server on loopback."""
    issuer = Issuer()
    async with open_http_server(issuer.handle, Address("127.0.0.1", 0)) as server:
        issuer.url = f"http://{server.addresses[0]}"
        yield issuer
