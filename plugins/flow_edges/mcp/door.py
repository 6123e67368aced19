"""Who comes in over HTTP, and what a client is told that may not: challenges, and where to get a token.

The endpoint is an OAuth 2.1 resource server (2026-07-28 and 2025-11-25, basic/authorization): a refusal
names the page that says which authorization servers there are (RFC 9728), a token must be meant for this
endpoint's own URI, and what it cannot do for lack of a scope is refused by RFC 6750 section 3.1.
"""

from __future__ import annotations

from typing import Final

import msgspec

from flow_edges.mcp.client import Caller
from flow_edges.mcp.guard import JSON, refused
from flow_edges.mcp.replies import Failure
from flow_edges.mcp.settings import McpSettings, is_loopback
from flow_edges.resource import Resource
from flowcore.access import Access
from flowcore.errors import PermissionDenied
from flowcore.http import Request, Response
from flowcore.interfaces import OAuthScheme
from flowcore.requests import ANONYMOUS

WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"
"""Where the page about the resource is, with the resource's own path behind it."""


class Door:
    """Asks each request of an edge who sends it."""

    def __init__(self, access: Access, settings: McpSettings) -> None:
        self._access = access
        self._settings = settings
        self.resource = Resource(
            settings.bind,
            settings.path,
            public_url=settings.public_url,
            hosts=settings.allowed_hosts,
            local=is_loopback(settings.bind.host),
        )
        """The endpoint's own URI."""
        self._open = not access.schemes
        tokens = [one for one in access.schemes if isinstance(one, OAuthScheme)]
        self._issuers = tuple(
            dict.fromkeys(issuer for one in tokens for issuer in one.authorization_servers)
        )
        self._scopes = tuple(dict.fromkeys(scope for one in tokens for scope in one.scopes))
        self._challenges = access.challenges
        self._bearer = next((one for one in self._challenges if _is_bearer(one)), None)

    def guest(self, request: Request) -> Caller | None:
        """Who sends a request where nobody is asked who they are; None where everybody is."""
        return Caller(ANONYMOUS, self._access.address(request)) if self._open else None

    async def identify(self, request: Request) -> Caller:
        """Who sends a request. Raises CallError for who may not come in."""
        address = self._access.address(request)
        return Caller(await self._access.identify(request, self.resource.uri(request)), address)

    def page(self, request: Request) -> Response | None:
        """The metadata of this resource (RFC 9728 section 3), if that is what is asked for."""
        path = request.path
        if self._bearer is None or not path.startswith(WELL_KNOWN):
            return None
        if path.removeprefix(WELL_KNOWN) not in ("", self._settings.path, self._suffix(request)):
            return None
        if request.method not in ("GET", "HEAD"):
            return refused(405, "this page takes GET", (b"allow", b"GET"))
        document: dict[str, object] = {
            "resource": self.resource.uri(request),
            "bearer_methods_supported": ["header"],
            "resource_name": self._settings.title,
        }
        if self._issuers:
            document["authorization_servers"] = self._issuers
        if self._scopes:
            document["scopes_supported"] = self._scopes
        return Response(200, JSON, msgspec.json.encode(document))

    def challenge(self, request: Request, refusal: Failure) -> None:
        """Add to a refusal by 401 or 403 what the client could do about it."""
        if refusal.status == 401:
            told = [self._told(request, one, refusal) for one in self._challenges]
        elif refusal.status == 403 and self._bearer is not None:
            told = self._insufficient(request, self._bearer, refusal)
        else:
            return
        headers = [(b"www-authenticate", one.encode("latin-1", "replace")) for one in told]
        refusal.headers = (*refusal.headers, *headers)

    def _told(self, request: Request, challenge: str, refusal: Failure) -> str:
        if not _is_bearer(challenge):
            return challenge
        parameters = {}
        if b"authorization" in request.headers and refusal.error is not None:
            parameters = {"error": "invalid_token", "error_description": refusal.error.message}
        if self._scopes:
            parameters["scope"] = " ".join(self._scopes)
        return _with(challenge, {**parameters, "resource_metadata": self._metadata(request)})

    def _insufficient(self, request: Request, challenge: str, refusal: Failure) -> list[str]:
        """The challenge of a refusal that a further scope would lift; none if no token would help."""
        error = refusal.error
        needed = _scopes_of(error) if isinstance(error, PermissionDenied) else []
        if error is None or not needed:
            return []
        parameters = {
            "error": "insufficient_scope",
            "scope": " ".join(needed),
            "resource_metadata": self._metadata(request),
            "error_description": error.message,
        }
        return [_with(challenge, parameters)]

    def _metadata(self, request: Request) -> str:
        resource = self.resource.uri(request)
        origin = "/".join(resource.split("/", 3)[:3])
        return f"{origin}{WELL_KNOWN}{self._suffix(request)}"

    def _suffix(self, request: Request) -> str:
        """What follows the well-known part of the page's path: the resource's own (RFC 9728 section 3.1)."""
        path = "/" + "".join(self.resource.uri(request).split("/", 3)[3:])
        return "" if path == "/" else path


def _is_bearer(challenge: str) -> bool:
    return challenge.partition(" ")[0].lower() == "bearer"


def _with(challenge: str, parameters: dict[str, str]) -> str:
    """A challenge with parameters; what may not stand in one (RFC 6750 section 3) is left out."""
    more = ", ".join(f'{name}="{_quotable(value)}"' for name, value in parameters.items())
    return f"{challenge}{', ' if ' ' in challenge else ' '}{more}"


def _quotable(text: str) -> str:
    return "".join(one for one in text if " " <= one <= "~" and one not in '"\\')[:500]


def _scopes_of(error: PermissionDenied) -> list[str]:
    """The scopes that a refusal says would do: `data["scope"]`, with spaces between them."""
    scope = error.data.get("scope") if isinstance(error.data, dict) else None
    return scope.split() if isinstance(scope, str) else []
