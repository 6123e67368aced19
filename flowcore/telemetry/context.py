"""W3C trace context: which trace a request belongs to, as headers and `_meta` carry it.

https://www.w3.org/TR/trace-context/ sections 2.2 (version 00 of `traceparent`) and 3.3 (`tracestate`). What
is malformed is no context: it is counted by whoever reads it, and is never a request's error.
"""

from __future__ import annotations

import os
import random
import re
from typing import Final

import attrs

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
SAMPLED: Final = 1
"""The flag that says that whoever sent it keeps the trace."""

_LONGEST_PARENT = 512
"""Later versions may add to a `traceparent`; longer than this is not read."""
_LONGEST_STATE = 8192
_MOST_MEMBERS = 32
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_KEY = r"[a-z][-_*/a-z0-9]{0,255}|[a-z0-9][-_*/a-z0-9]{0,240}@[a-z][-_*/a-z0-9]{0,13}"
_MEMBER = re.compile(
    rf"(?:{_KEY})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{{0,255}}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_NO_TRACE = "0" * 32
_NO_SPAN = "0" * 16


@attrs.frozen
class SpanContext:
    """A span, as those see it who are not it: 32 and 16 hex digits, flags, and what vendors carry along."""

    trace_id: str
    span_id: str
    flags: int = 0
    state: str = ""

    @property
    def sampled(self) -> bool:
        """Whether the trace is kept, as far as whoever sent it knows."""
        return bool(self.flags & SAMPLED)

    @property
    def traceparent(self) -> str:
        """The header's value."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"


def parse_traceparent(text: str, state: str = "") -> SpanContext | None:
    """The context that a `traceparent` says; None if it is malformed.

    A malformed `tracestate` is dropped, and the rest holds (section 3.3.1.3).
    """
    if len(text) > _LONGEST_PARENT:
        return None
    found = _PARENT.fullmatch(text)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    if version == "00" and more is not None:
        return None
    # of flags, only those that version 00 knows are passed on
    return SpanContext(trace_id, span_id, int(flags, 16) & SAMPLED, clean_tracestate(state))


def clean_tracestate(text: str) -> str:
    """A `tracestate` as it may be passed on; "" if it is malformed."""
    if not text or len(text) > _LONGEST_STATE:
        return ""
    members = [one.strip(" \t") for one in text.split(",")]
    members = [one for one in members if one]
    if len(members) > _MOST_MEMBERS:
        return ""
    keys = {one.partition("=")[0] for one in members}
    if len(keys) < len(members) or not all(_MEMBER.fullmatch(one) for one in members):
        return ""
    return ",".join(members)


def new_half() -> int:
    """Half of a random trace id: 64 bits, not all zero."""
    return chance.getrandbits(64) or 1


def new_span_id() -> str:
    """A random span id: 16 hex digits, not all zero."""
    return f"{new_half():016x}"


chance = random.Random(os.urandom(32))
os.register_at_fork(after_in_child=lambda: chance.seed(os.urandom(32)))
