"""Where a request goes: the origin and target of a URL."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import urlsplit

import attrs


@attrs.frozen
class Origin:
    """Where requests of a URL go."""

    secure: bool
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def authority(self) -> str:
        """The Host header's value: without the scheme's own port."""
        return str(self).removesuffix(":443" if self.secure else ":80")


@lru_cache(maxsize=1024)
def split_url(url: str) -> tuple[Origin, str]:
    """(origin, target) of an absolute http or https URL. Raises ValueError saying what is wrong."""
    if not url.isascii() or any(character <= " " or character == "\x7f" for character in url):
        raise ValueError(f"expected a URL of visible ASCII, not {url!r}")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"expected an absolute http or https URL, not {url!r}")
    if parts.username is not None or parts.password is not None:
        raise ValueError("expected a URL without user and password; use headers")
    secure = parts.scheme == "https"
    port = parts.port if parts.port is not None else (443 if secure else 80)
    if not 0 < port < 65536:
        raise ValueError(f"expected a port from 1 to 65535 in {url!r}")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Origin(secure, parts.hostname, port), target
