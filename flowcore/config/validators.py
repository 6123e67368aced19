"""Checks of single values, with messages for people. Each gives the text of what was expected.

A validator is called with the value and raises ValueError; `setting(validator=...)` takes one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Validator = Callable[[Any], None]


def _number(bound: Any) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


class Check:
    """A validator that can also say itself in words and as JSON schema keywords.

    `form` has a `{}` for each bound, so that bounds can be said in the unit that the value is written in.
    """

    def __init__(
        self,
        test: Callable[[Any], bool],
        form: str,
        bounds: tuple[float, ...] = (),
        schema: dict[str, Any] | None = None,
    ) -> None:
        self._test = test
        self._form = form
        self._bounds = bounds
        self.schema = schema or {}

    def words(self, shown: Callable[[Any], str] = _number) -> str:
        """What is expected; `shown` writes a bound, such as seconds as a duration."""
        return self._form.format(*map(shown, self._bounds)) if self._bounds else self._form

    def __call__(self, value: Any) -> None:
        if not self._test(value):
            raise ValueError(f"expected {self.words()}")


def ge(least: float) -> Check:
    """At least."""
    return Check(lambda value: value >= least, "at least {}", (least,), {"minimum": least})


def gt(bound: float) -> Check:
    """More than."""
    return Check(lambda value: value > bound, "more than {}", (bound,), {"exclusiveMinimum": bound})


def le(most: float) -> Check:
    """At most."""
    return Check(lambda value: value <= most, "at most {}", (most,), {"maximum": most})


def lt(bound: float) -> Check:
    """Less than."""
    return Check(lambda value: value < bound, "less than {}", (bound,), {"exclusiveMaximum": bound})


def in_range(least: float, most: float) -> Check:
    """Between, both ends included."""
    return Check(
        lambda value: least <= value <= most,
        "between {} and {}",
        (least, most),
        {"minimum": least, "maximum": most},
    )


def one_of(*options: Any) -> Check:
    """One of a few values."""
    return Check(
        lambda value: value in options,
        "one of " + ", ".join(map(str, options)),
        schema={"enum": list(options)},
    )


def matches(pattern: str, words: str = "") -> Check:
    """Text that a regular expression matches as a whole; it says nothing of what is no text."""
    compiled = re.compile(pattern)
    return Check(
        lambda value: not isinstance(value, str) or compiled.fullmatch(value) is not None,
        words or f"text of the form {pattern}",
        schema={"pattern": f"^(?:{pattern})$"},
    )


def non_empty() -> Check:
    """A text, list or table with something in it."""
    # each keyword speaks of one JSON type and leaves the others alone
    schema = {"minLength": 1, "minItems": 1, "minProperties": 1}
    return Check(lambda value: len(value) > 0, "something, not nothing", schema=schema)


def each(check: Check) -> Check:
    """Every element of a list."""

    def test(values: Any) -> bool:
        for value in values:
            check(value)
        return True

    return Check(
        test,
        f"elements: {check.words()}",
        schema={"items": check.schema} if check.schema else {},
    )
