"""The pages: files of this package, read once, and what a browser is told to do with them."""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Mapping
from typing import Final

from flowcore.http import Request, Response

FOLDER = pathlib.Path(__file__).parent / "pages"
KINDS: Final = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""What a page may load and do: its own files, and nothing else."""
GUARDED: Final = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
"""Headers of every answer."""


class Page:
    """One file."""

    def __init__(self, kind: bytes, body: bytes) -> None:
        self._body = body
        self._tag = b'"%b"' % hashlib.sha256(body).hexdigest()[:20].encode()
        self._headers = (
            (b"content-type", kind),
            (b"cache-control", b"no-cache"),
            (b"etag", self._tag),
            *GUARDED,
        )

    def answer(self, request: Request) -> Response:
        """The file, or 304 for a browser that has it as it is."""
        if request.headers.get(b"if-none-match") == self._tag:
            return Response(304, self._headers)
        return Response(200, self._headers, self._body)


def read_pages() -> Mapping[str, Page]:
    """Every page by its path. Blocks."""
    pages = {
        f"/{path.name}": Page(KINDS[path.suffix], path.read_bytes())
        for path in sorted(FOLDER.iterdir())
        if path.suffix in KINDS
    }
    return {"/": pages["/index.html"], **pages}
