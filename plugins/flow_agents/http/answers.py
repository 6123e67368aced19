"""What an answer means: a result, an error that the caller should read, or a failure."""

from __future__ import annotations

import base64
import codecs
import email.utils
import http
import re
import time
from typing import Any

import msgspec
from msgspec import Raw

from flowcore.errors import AgentUnavailable, CallError, Overloaded, UpstreamFailure
from flowcore.http import HeaderMap
from flowcore.mcp import one_line, too_deep

EXCERPT = 2048
"""Bytes of an unsuccessful answer's body that its caller is shown."""
STATUS = "io.flowcore/http-status"
LONGEST_RETRY_AFTER = 3600.0


def result_of(body: bytes, headers: HeaderMap, url: str) -> Raw:
    """A tool result from a successful answer. Raises UpstreamFailure for JSON that is none."""
    media, charset = _content_type(headers)
    if not body:
        return _encode([])
    if media == "application/json" or media.endswith("+json"):
        return _json(body)
    if media.startswith("text/") or media.endswith("+xml") or media in _TEXTS:
        return _encode([{"type": "text", "text": _decode(body, charset)}])
    data = base64.b64encode(body).decode()
    for kind in ("image", "audio"):
        if media.startswith(f"{kind}/"):
            return _encode([{"type": kind, "data": data, "mimeType": media}])
    resource = {"uri": url, "mimeType": media, "blob": data}
    return _encode([{"type": "resource", "resource": resource}])


_TEXTS = frozenset(
    ("application/xml", "application/javascript", "application/yaml", "application/x-ndjson")
)


def _json(body: bytes) -> Raw:
    body = one_line(body.removeprefix(codecs.BOM_UTF8)).strip()
    try:
        text = body.decode()
        if too_deep(body):
            raise UpstreamFailure("the answer's JSON is nested too deeply")
        value = msgspec.json.decode(body, type=dict[str, Raw] | list[Raw] | Any)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise UpstreamFailure(f"the answer says that it is JSON, and is not: {problem}") from None
    structured = body if isinstance(value, dict) else b'{"result":%b}' % body
    shown = value if isinstance(value, str) else text
    content = msgspec.json.encode([{"type": "text", "text": shown}])
    return Raw(b'{"content":%b,"structuredContent":%b}' % (content, structured))


def unsuccessful(status: int, headers: HeaderMap, body: bytes, what: str) -> Raw:
    """What an answer that is not of the 200s means; `body` is its beginning, `what` names the request.

    4xx: an error result, for it is the caller who can mend it. Raises Overloaded (429), AgentUnavailable
    (503; never begun if it tells when to come again) or UpstreamFailure (other 5xx, and 3xx, since redirects
    are not followed).
    """
    _, charset = _content_type(headers)
    excerpt = _decode(body[:EXCERPT], charset).strip()
    if len(body) > EXCERPT:
        excerpt += " …"
    line = f"{what} was answered {status} {_phrase(status)}".rstrip()
    text = f"{line}: {excerpt}" if excerpt else line
    if status == 429 or status >= 500 or status < 400:
        raise _failure(status, headers, text, line)
    return _encode([{"type": "text", "text": text}], isError=True, _meta={STATUS: status})


def _failure(status: int, headers: HeaderMap, text: str, line: str) -> CallError:
    data = {"status": status}
    retry_after = _retry_after(headers)
    if status == 429:
        return Overloaded(text, data=data, retry_after=retry_after)
    if status == 503:
        began = retry_after is None
        return AgentUnavailable(text, data=data, retry_after=retry_after, began=began)
    if status < 400:
        return UpstreamFailure(f"{line}; redirects are not followed", data=data)
    return UpstreamFailure(text, data=data)


def _retry_after(headers: HeaderMap) -> float | None:
    """Seconds, from either form of Retry-After (RFC 9110, section 10.2.3)."""
    raw = headers.get(b"retry-after")
    if raw is None:
        return None
    value = raw.decode("latin-1")
    if value.isascii() and value.isdigit():
        seconds = float(value[:10])
    else:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


def _content_type(headers: HeaderMap) -> tuple[str, str]:
    """Media type and charset, in lower case."""
    raw = headers.get(b"content-type") or b"application/octet-stream"
    media, *parts = raw.decode("latin-1").lower().split(";")
    charset = "utf-8"
    for part in parts:
        name, _, value = part.partition("=")
        if name.strip() == "charset":
            charset = value.strip().strip("\"'")
    return media.strip(), charset


_CHARSETS = re.compile(
    r"us-ascii|utf-?(8|16|32)([bl]e)?|latin-?1|iso-8859-\d{1,2}|windows-12\d\d|cp\d{3,4}|koi8-[ru]"
    r"|shift_jis|euc-(jp|kr)|iso-2022-(jp|kr)|gb(k|2312|18030)|big5"
)
"""Charsets that are taken at their word; Python knows more, some of which take quadratic time."""


def _decode(body: bytes, charset: str) -> str:
    try:
        return body.decode(charset if _CHARSETS.fullmatch(charset) else "utf-8", errors="replace")
    except LookupError:  # one of a family that does not exist
        return body.decode(errors="replace")


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""


def _encode(content: list[Any], **more: Any) -> Raw:
    return Raw(msgspec.json.encode({"content": content, **more}))
