"""Which URIs a URI template may have been expanded to (RFC 6570, levels 1 to 3), for routing.

The matcher is generous where a value's characters are concerned: whether the resource exists is for the
agent to say. It takes time linear in the URI for each expression, whatever template and URI are given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import attrs

_EXPRESSION = re.compile(r"\{([+#./;?&]?)[^{}]*\}")

_ENDS = {
    "": "/?#",
    "+": "",
    "#": "",
    ".": "/?#",
    "/": "?#",
    ";": "/?#",
    "?": "#",
    "&": "#",
}
"""By operator (RFC 6570 section 3.2.1): the characters at which an expression's expansion ends."""

Spans = list[tuple[int, int]]
"""Positions in a URI, as intervals with both ends included, in order and apart from each other."""


@attrs.frozen
class _Expression:
    lead: str
    """The character an expansion begins with if it is not empty; "" if there is none."""
    end: re.Pattern[str] | None

    def after(self, uri: str, spans: Spans) -> Spans:
        """Where a match can go on once this expression has taken its part, from any of `spans`."""
        found = list(spans) if self.lead else []
        reached = -1
        for begin in self._begins(uri, spans):
            if begin > reached:  # else what it reaches is part of what the one before reached
                stop = None if self.end is None else self.end.search(uri, begin)
                reached = len(uri) if stop is None else stop.start()
                found.append((begin, reached))
        return _merged(found)

    def _begins(self, uri: str, spans: Spans) -> Iterator[int]:
        for first, last in spans:
            if self.lead:
                for at in _occurrences(uri, self.lead, first, last):
                    yield at + 1
            else:
                yield first
                if self.end is not None:
                    for stop in self.end.finditer(uri, first, last):
                        yield stop.end()


@attrs.frozen
class Pattern:
    """A URI template that can be asked about a URI."""

    template: str
    prefix: str
    """What every expansion begins with."""
    literals: int
    """How many characters are given: of two templates that match, the one with more says more."""
    _parts: tuple[str | _Expression, ...]

    def matches(self, uri: str) -> bool:
        """Whether the template may have been expanded to this URI."""
        if not uri.startswith(self.prefix):
            return False
        spans: Spans = [(0, 0)]
        for part in self._parts:
            if isinstance(part, str):
                length = len(part)
                spans = [
                    (at + length, at + length)
                    for first, last in spans
                    for at in _occurrences(uri, part, first, last)
                ]
            else:
                spans = part.after(uri, spans)
            if not spans:
                return False
        return spans[-1][1] == len(uri)


def pattern(template: str) -> Pattern:
    """The pattern of a template. What is no expression, a lone brace too, is taken as it stands."""
    parts: list[str | _Expression] = []
    literals = position = 0
    for match in _EXPRESSION.finditer(template):
        if match.start() > position:
            parts.append(template[position : match.start()])
        operator = match[1]
        ends = _ENDS[operator]
        lead = "" if operator == "+" else operator
        parts.append(_Expression(lead, re.compile(f"[{ends}]") if ends else None))
        position = match.end()
    if position < len(template):
        parts.append(template[position:])
    literals = sum(len(part) for part in parts if isinstance(part, str))
    prefix = parts[0] if parts and isinstance(parts[0], str) else ""
    return Pattern(template, prefix, literals, tuple(parts))


def _occurrences(uri: str, text: str, first: int, last: int) -> Iterator[int]:
    """Where in the URI `text` stands, beginning between `first` and `last`."""
    at = uri.find(text, first, last + len(text))
    while at >= 0:
        yield at
        at = uri.find(text, at + 1, last + len(text))


def _merged(spans: Spans) -> Spans:
    merged: Spans = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged
