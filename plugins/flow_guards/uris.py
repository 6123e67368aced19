"""The ways in which a URI may be read, so that no spelling of it gets past a rule.

An upstream may take a URI as it stands, normalise it (RFC 3986 section 6.2), or do what many readers do
besides: decode everything first, take a backslash for a slash, drop tabs and line ends (WHATWG URL). Or it
cuts the scheme off and gives the rest to a file system, which knows neither queries nor fragments, and
perhaps no case. A rule is held against each of these readings. Rules are read in the same ways; in them `*`
is any text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from urllib.parse import unquote

import attrs

READINGS = 4
"""As it stands; normalised; as a generous reader takes it; as a careless one does."""

_PARTS = re.compile(
    r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL
)
"""Scheme, authority, path, query, fragment (RFC 3986 appendix B)."""
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_UNICODE = re.compile(r"%u([0-9A-Fa-f]{4})")
"""An escape that no standard has, and some servers take."""
_OVERLONG = re.compile("([\udcc0\udcc1])([\udc80-\udcbf])")
"""An ASCII character in two bytes, which is no UTF-8 (RFC 3629 section 3), and which some decoders take."""
_UNRESERVED = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"  # RFC 3986 section 2.3
)
_PORTS = {"http": "80", "https": "443", "ws": "80", "wss": "443", "ftp": "21"}
_DROPPED = str.maketrans("", "", "\t\r\n")
_ROUNDS = 4
"""So often decoded, a URI must stay what it is."""


@attrs.frozen
class _Uri:
    scheme: str | None
    authority: str | None
    path: str
    query: str | None
    fragment: str | None

    def __str__(self) -> str:
        """The URI put together again (RFC 3986 section 5.3)."""
        return "".join(
            (
                "" if self.scheme is None else f"{self.scheme}:",
                "" if self.authority is None else f"//{self.authority}",
                self.path,
                "" if self.query is None else f"?{self.query}",
                "" if self.fragment is None else f"#{self.fragment}",
            )
        )


def readings(uri: str) -> tuple[str, ...] | None:
    """The URI in each reading; None if it was escaped so often that it can only be meant to deceive."""
    decoded = _decoded(uri)
    if decoded is None:
        return None
    return uri, normalised(uri), _generous(decoded), _careless(decoded)


def normalised(uri: str) -> str:
    """The URI in its normal form (RFC 3986 section 6.2): case, escapes, dot segments, ports, hosts."""
    return str(_settled(_each(_split(uri), _unescape_unreserved)))


def generous(uri: str) -> str | None:
    """The URI as who decodes everything, and forgives much, takes it.

    It has no fragment, which names no other resource (section 3.5).
    None if it is another one each time that it is decoded.
    """
    decoded = _decoded(uri)
    return None if decoded is None else _generous(decoded)


def careless(uri: str) -> str | None:
    """The URI as who takes all of it for a path on any file system takes it.

    Queries and fragments are part of the path; so is `..` in them. Letters are alike whatever their case,
    width or overlong encoding; a name has no dots or spaces at its end (as on Windows), and a dot segment no
    parameters (`..;a`).
    None if it is another one each time that it is decoded.
    """
    decoded = _decoded(uri)
    return None if decoded is None else _careless(decoded)


def _decoded(uri: str) -> _Uri | None:
    """The URI's parts with all escapes undone; None if there is no end to it."""
    text = uri.strip("".join(map(chr, range(0x21)))).translate(_DROPPED)
    parts = _split(text.replace("\\", "/"))
    for _ in range(_ROUNDS):
        decoded = _each(parts, _unescape)
        if decoded == parts:
            return parts
        parts = decoded
    return None


def _careless(parts: _Uri) -> str:
    path = parts.path
    if parts.query is not None:
        path += f"?{parts.query}"
    if parts.fragment is not None:
        path += f"#{parts.fragment}"
    path = _UNICODE.sub(lambda found: chr(int(found[1], 16)), path)
    path = _OVERLONG.sub(lambda found: chr((ord(found[1]) & 1) << 6 | ord(found[2]) & 63), path)
    path = unicodedata.normalize("NFKC", path).casefold().translate(_DROPPED).replace("\\", "/")
    path = "/".join(map(_bare_name, path.split("/")))
    path = re.sub("/{2,}", "/", path)
    authority = None if parts.authority is None else _own_host(parts.authority)
    return str(_settled(_Uri(parts.scheme, authority, path, None, None)))


def _bare_name(segment: str) -> str:
    name = segment.partition(";")[0]
    if name in (".", ".."):
        return name
    return segment.rstrip(" .")


def _own_host(authority: str) -> str:
    return unicodedata.normalize("NFKC", authority.rpartition("@")[2])


def _generous(parts: _Uri) -> str:
    authority = parts.authority
    if authority is not None:
        authority = _own_host(authority)
    path = re.sub("/{2,}", "/", parts.path.translate(_DROPPED).replace("\\", "/"))
    return str(_settled(attrs.evolve(parts, authority=authority, path=path, fragment=None)))


def _split(uri: str) -> _Uri:
    found = _PARTS.fullmatch(uri)
    assert found is not None  # everything but the path may be absent, and the path may be anything
    return _Uri(*found.groups())


def _each(uri: _Uri, change: Callable[[str], str]) -> _Uri:
    """The URI with all but its scheme changed, part by part: what was no delimiter becomes none."""

    def changed(part: str | None) -> str | None:
        return None if part is None else change(part)

    return _Uri(
        uri.scheme,
        changed(uri.authority),
        change(uri.path),
        changed(uri.query),
        changed(uri.fragment),
    )


def _unescape(text: str) -> str:
    return unquote(text, errors="surrogateescape") if "%" in text else text


def _unescape_unreserved(text: str) -> str:
    """Without the escapes that need not be, and the others in upper case (section 6.2.2.1 and 6.2.2.2)."""

    def plain(escape: re.Match[str]) -> str:
        character = chr(int(escape[1], 16))
        return character if character in _UNRESERVED else escape[0].upper()

    return _ESCAPE.sub(plain, text)


def _settled(uri: _Uri) -> _Uri:
    """With scheme and host in lower case, without dot segments, and as its scheme has it (section 6.2.3)."""
    scheme = uri.scheme and uri.scheme.lower()
    authority, path = uri.authority, _without_dots(uri.path)
    if authority is not None:
        authority = _host_lowered(authority)
    if scheme == "file" and path.startswith("/") and authority in (None, "localhost"):
        authority = ""  # RFC 8089 section 2
    if scheme in _PORTS and authority is not None:
        authority = authority.removesuffix(f":{_PORTS[scheme]}").removesuffix(":")
        if not path and "*" not in authority:
            path = "/"
    return attrs.evolve(uri, scheme=scheme, authority=authority, path=path)


def _host_lowered(authority: str) -> str:
    user, at, host = authority.rpartition("@")
    return user + at + host.lower()


def _without_dots(path: str) -> str:
    """The path without `.` and `..` (RFC 3986 section 5.2.4); one that was not rooted stays so."""
    if "." not in path:
        return path
    kept: list[str] = []
    segments = path.split("/")
    rooted = segments[0] == "" and len(segments) > 1
    for number, segment in enumerate(segments[1:] if rooted else segments, 1 + rooted):
        if segment == "..":
            kept[-1:] = []
        elif segment != ".":
            kept.append(segment)
            continue
        if number == len(segments):
            kept.append("")  # `a/..` and `a/.` name folders
    return "/" * rooted + "/".join(kept)


def has_dots(uri: str) -> bool:
    """Whether its path has `.` or `..` segments, escaped or not."""
    return not {".", ".."}.isdisjoint(_unescape(_split(uri).path).split("/"))
