"""What is wrong with a configuration: every problem, each with its place."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import attrs

from flowcore.errors import FlowError


@attrs.frozen
class Where:
    """A place in a configuration: a file's name and line, an override, or neither for a dict."""

    source: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


@attrs.frozen(kw_only=True)
class Problem:
    """One thing that is wrong, at one place."""

    where: Where = Where()
    path: str = ""
    """Dotted path of the key, such as `agent.time.pool.min`; empty for the file as a whole."""
    message: str

    def __str__(self) -> str:
        where = str(self.where)
        path = "" if where.endswith(f" {self.path}") else self.path  # `--set a.b` has said it
        return ": ".join(part for part in (where, path, self.message) if part)


class ConfigError(FlowError):
    """A configuration that cannot be used. `problems` holds all that is wrong, in order of line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(
            sorted(problems, key=lambda one: (one.where.source, one.where.line))
        )
        super().__init__("\n".join(str(one) for one in self.problems))


def clipped(value: object, most: int = 80) -> str:
    """A value as it stands in a message: its repr, cut where it would fill the screen."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def known_words(name: str, known: Sequence[str]) -> str:
    """The tail of a message about an unknown name: a near miss if there is one, and what is known.

    >>> known_words("rign", ["mesh", "ring"])
    ", did you mean 'ring'? (known: mesh, ring)"
    """
    lower = {one.lower(): one for one in known}
    near = difflib.get_close_matches(name.lower(), list(lower), n=1, cutoff=0.6)
    hint = f", did you mean {lower[near[0]]!r}?" if near else ""
    listed = ", ".join(known) if known else "none"
    return f"{hint} (known: {listed})"
