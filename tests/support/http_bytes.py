"""Bytes that look like HTTP requests, right and wrong, for tests that make them up."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from hypothesis import strategies as st

cuts = st.lists(st.integers(0, 1500), max_size=8)
"""Where to cut bytes into pieces."""


def pieces(data: bytes, at: Iterable[int]) -> list[bytes]:
    """The bytes, cut there."""
    ends = [0, *sorted(min(one, len(data)) for one in at), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(ends)]


FRAGMENTS = (
    b"GET|POST| |/|*|http://x/| HTTP/1.1\r\n| HTTP/1.0\r\n| HTTP/1.2\r\n|\r\n|\n|\r|:|\0|\t|a|"
    b"GET / HTTP/1.1\r\nHost: x\r\n|POST / HTTP/1.1\r\nHost: x\r\n|GET / HTTP/1.0\r\n|"
    b"Host: x\r\n|Content-Length: 3\r\n|Content-Length: 0\r\n|Content-Length: +3\r\n|"
    b"Transfer-Encoding: chunked\r\n|Transfer-Encoding: gzip\r\n|Transfer-Encoding : chunked\r\n|"
    b"Connection: close\r\n|Expect: 100-continue\r\n|a: b\r\n| c\r\n|0\r\n|3\r\n|3;a=b\r\n|abc|"
    b"abc\r\n|0\r\n\r\n|ffffffffffffffffff\r\n|PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n|\xff|\x7f|"
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n|POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
).split(b"|")
streams = st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=4), max_size=14).map(b"".join)
"""Requests put together from pieces of requests."""
