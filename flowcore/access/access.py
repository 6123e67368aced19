"""Who asks: what an edge does with a request before anything else is done for it. Fails closed.

Schemes are asked in the order of the configuration; the first that applies decides. Only who brings no
credentials at all is anonymous: those that no scheme takes are wrong ones, and count as a failed login.
What an address has to wait after failed logins holds for right credentials, too: whoever guesses learns
nothing.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Container, Sequence
from typing import Any

import trio

from flowcore.access.settings import EdgeSettings
from flowcore.addresses import is_local
from flowcore.agents import AccessDenied, Event
from flowcore.envelope import ANONYMOUS, Principal
from flowcore.errors import CallError, Overloaded, Unauthenticated
from flowcore.http import Admits, Forwarding, Request, Tls
from flowcore.interfaces import AuthScheme
from flowcore.resilience import FailedLogins

logger = logging.getLogger(__name__)

_CARRIERS = frozenset({b"authorization", b"signature", b"signature-input"})
"""Headers that are credentials whatever schemes an edge has (RFC 9110 section 11.6.2, RFC 9421 section 4)."""

_PASSED_ON = frozenset(
    {
        b"forwarded",
        b"via",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-real-ip",
    }
)
"""Headers that say that a proxy has passed a request on (RFC 7239, RFC 9110 section 7.6.3, and usage)."""


class Access:
    """Who may come in by one edge."""

    def __init__(
        self,
        edge: str,
        settings: EdgeSettings,
        schemes: Sequence[AuthScheme],
        emit: Callable[[Event], None],
        revoked: Container[str] = frozenset(),
    ) -> None:
        """`revoked` has what is good no more, as `revocation_id` names it."""
        self._edge = edge
        self._revoked = revoked
        self._schemes = tuple(schemes)
        self._emit = emit
        self._anonymous = settings.anonymous
        self._carriers = _CARRIERS.union(*(one.headers for one in self._schemes))
        self._forwarding = Forwarding(settings.trusted_proxies, settings.forwarded_by)
        self._failed = FailedLogins(settings.failed_logins)

    @property
    def schemes(self) -> tuple[AuthScheme, ...]:
        """The schemes, in the order in which they are asked; none: everybody on loopback is anonymous."""
        return self._schemes

    @property
    def challenges(self) -> tuple[str, ...]:
        """What whoever brings no right credentials is asked for, each once (RFC 9110 section 11.6.1)."""
        return tuple(dict.fromkeys(one.challenge for one in self._schemes if one.challenge))

    async def identify(self, request: Request, resource: str) -> Principal:
        """Who sends a request; `resource` is the edge's own URI, which tokens must be meant for.

        Raises Unauthenticated, Overloaded for an address with too many failed logins, or what else a
        scheme refuses with. Nothing that a scheme fails of lets anybody in.
        """
        if not self._schemes:
            return ANONYMOUS
        address = self.address(request)
        self._may_try(address)
        try:
            principal = await self._recognised(request, resource)
        except Unauthenticated as error:
            self._may_try(address)
            self._failed.failed(address, trio.current_time())
            self._deny(address, error)
            raise
        except CallError as error:
            self._deny(address, error)
            raise
        if principal is not None:
            self._may_try(address)
            return principal
        if self._anonymous and self._is_here(request, address):
            return ANONYMOUS
        raise Unauthenticated("credentials are needed")

    async def _recognised(self, request: Request, resource: str) -> Principal | None:
        """Whom the schemes recognise; None for a request without any credentials.

        Raises Unauthenticated for credentials that are wrong, that no scheme takes, or that could not be
        checked; what else a scheme refuses with.
        """
        for scheme in self._schemes:
            try:
                principal = await scheme.identify(request, resource)
            except CallError:
                raise
            except Exception as error:
                failed = f"{type(scheme).__name__} of edge {self._edge} failed"
                logger.error("%s: %s: %.300s", failed, type(error).__name__, error)
                logger.debug("%s", failed, exc_info=error)
                raise Unauthenticated("the credentials could not be checked") from None
            if principal is not None:
                self._refuse_revoked(principal)
                return principal
        if any(name in self._carriers for name in request.headers):
            raise Unauthenticated("the credentials are of no kind that is taken here")
        return None

    def _refuse_revoked(self, principal: Principal) -> None:
        """Raises Unauthenticated for credentials, or a principal, that are good no more on any node."""
        whole = revocation_id(principal.scheme, "principal", principal.name)
        if whole in self._revoked:
            raise Unauthenticated("the principal was revoked")
        for one in principal.credentials:
            what, _, id_ = one.partition(":")
            if revocation_id(principal.scheme, what, id_) in self._revoked:
                raise Unauthenticated("the credentials were revoked")

    def _is_here(self, request: Request, address: str) -> bool:
        """Whether somebody on this machine asks, and not a proxy for somebody else, known to us or not."""
        if not is_local(request.client) or not is_local(address):
            return False
        passed_on = any(name in _PASSED_ON for name in request.headers)
        return not passed_on or self._forwarding.trusts(request.client)

    def _may_try(self, address: str) -> None:
        """Raise Overloaded if an address has to wait.

        Asked before a login is looked at, and again before it is told what came of it: of many at once, no
        more learn that than of one after the other.
        """
        wait = self._failed.wait(address, trio.current_time())
        if wait:
            raise Overloaded("too many failed logins from this address", retry_after=wait)

    def admitting(self, admits: Admits) -> Admits:
        """The same judge of connections, whose refusals are told like those of credentials."""

        def judged(tls: Tls, client: str) -> bool:
            admitted = admits(tls, client)
            if not admitted:
                named = ", ".join(tls.uris) or "no URI"
                self._deny(client, Unauthenticated(f"a certificate of {named} may not come in"))
            return admitted

        return judged

    def address(self, request: Request) -> str:
        """Where a request comes from: the nearest address that is no trusted proxy's."""
        return self._forwarding.client(request.client, request.headers)

    def status(self) -> dict[str, Any]:
        """What came of logins by this edge, measured; times in seconds."""
        failed = self._failed
        return {
            "failed_logins": failed.failures,
            "refused_logins": failed.refused,
            "addresses": len(failed),
            "addresses_waiting": failed.blocked(trio.current_time()),
        }

    def _deny(self, address: str, error: CallError) -> None:
        self._emit(AccessDenied(self._edge, address, type(error).__name__, error.message))


_LONGEST_ID = 400


def revocation_id(scheme: str, what: str, id_: str) -> str:
    """How something that may be revoked is named: of an authentication scheme, such as `idp`, what it is
    (`jti`, `key`, `token`, `certificate`, `principal`), and its own id, or the digest of a long one."""
    text = f"{scheme}:{what}:{id_}"
    data = text.encode("utf-8", "surrogatepass")
    if len(data) <= _LONGEST_ID:
        return text
    return f"{scheme[:100]}:{what}:sha256:{hashlib.sha256(data).hexdigest()}"
