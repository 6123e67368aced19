"""An edge's own URI: what tokens must be meant for, whatever name a client uses for this machine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from flowcore.config import Address
from flowcore.http import Request

_LOCAL: Final = ("localhost", "127.0.0.1", "[::1]")


class Reach(Protocol):
    """What the settings of an edge say of where it is."""

    @property
    def bind(self) -> Address: ...
    @property
    def public_url(self) -> str: ...
    @property
    def allowed_hosts(self) -> tuple[str, ...]: ...


class Resource:
    """The URI under which an edge is reached.

    It is `public_url`, where that is given; else made of the name in a request's Host, if it is one of those
    in the configuration, and the edge's own port and path: a client cannot choose for which audience its
    token is checked.
    """

    def __init__(
        self, bind: Address, path: str, *, public_url: str, hosts: Iterable[str], local: bool
    ) -> None:
        """`hosts` are further names of this machine; `local` tells that only this machine reaches it."""
        self.port = bind.port
        """The port that is listened on; to be set where the system chose it."""
        self._own = f"[{bind.host}]" if ":" in bind.host else bind.host
        names = {self._own, *hosts, *(_LOCAL if local else ())}
        self._names = frozenset(name.lower() for name in names)
        self._path = path
        self._public = public_url

    def uri(self, request: Request) -> str:
        """The URI, for this request."""
        if self._public:
            return self._public
        host = host_of(request)
        scheme = "https" if request.secure else "http"
        return f"{scheme}://{host if host in self._names else self._own}:{self.port}{self._path}"


def known_hosts(bind: str, allowed: Iterable[str]) -> frozenset[str]:
    """The names by which an edge lets itself be asked, in lower case."""
    own = f"[{bind}]" if ":" in bind else bind
    return frozenset(name.lower() for name in (*_LOCAL, own, *allowed))


def host_of(request: Request) -> str:
    """The name in the Host header, in lower case and without the port."""
    name = request.headers.get(b"host", b"").decode("latin-1").lower()
    return name[: name.rindex("]") + 1] if "]" in name else name.partition(":")[0]
