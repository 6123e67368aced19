"""Checks of single values, with messages for people. Each gives the text of what was expected.

A validator is called with the value and raises ValueError; `setting(validator=...)` takes one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Validator = Callable[[Any], None]


class Check:
    """A validator that can also say itself in words and as JSON schema keywords."""

    def __init__(
        self, test: Callable[[Any], bool], words: str, schema: dict[str, Any] | None = None
    ) -> None:
        self._test = test
        self.words = words
        self.schema = schema or {}

    def __call__(self, value: Any) -> None:
        if not self._test(value):
            raise ValueError(f"expected {self.words}")


def ge(least: float) -> Check:
    """At least."""
    return Check(lambda value: value >= least, f"at least {least:g}", {"minimum": least})


def gt(bound: float) -> Check:
    """More than."""
    return Check(lambda value: value > bound, f"more than {bound:g}", {"exclusiveMinimum": bound})


def le(most: float) -> Check:
    """At most."""
    return Check(lambda value: value <= most, f"at most {most:g}", {"maximum": most})


def lt(bound: float) -> Check:
    """Less than."""
    return Check(lambda value: value < bound, f"less than {bound:g}", {"exclusiveMaximum": bound})


def in_range(least: float, most: float) -> Check:
    """Between, both ends included."""
    return Check(
        lambda value: least <= value <= most,
        f"between {least:g} and {most:g}",
        {"minimum": least, "maximum": most},
    )


def matches(pattern: str, words: str = "") -> Check:
    """Text that a regular expression matches as a whole."""
    compiled = re.compile(pattern)
    return Check(
        lambda value: compiled.fullmatch(value) is not None,
        words or f"text of the form {pattern}",
        {"pattern": f"^(?:{pattern})$"},
    )


def non_empty() -> Check:
    """A text, list or table with something in it."""
    return Check(lambda value: len(value) > 0, "something, not nothing")


def each(check: Check) -> Check:
    """Every element of a list."""

    def test(values: Any) -> bool:
        for value in values:
            check(value)
        return True

    return Check(test, f"elements: {check.words}", {"items": check.schema} if check.schema else {})
