"""From a document to a configuration object, with all that is wrong reported at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import attrs

from flowcore.config.document import Document, load
from flowcore.config.lines import Key
from flowcore.config.problems import ConfigError, Problem
from flowcore.config.settings import Selection
from flowcore.config.shapes import WRONG, Lookup, Walk
from flowcore.config.tables import Table

T = TypeVar("T")


@attrs.frozen
class Attempt(Generic[T]):
    """What came of reading a table: an object where nothing is wrong, and what was right where not."""

    made: T | None
    problems: tuple[Problem, ...]
    selections: tuple[Selection, ...]
    """Every component that was chosen without a problem, also where others have one."""


def attempt(
    document: Document,
    cls: type[T],
    lookup: Lookup,
    *,
    at: Key = (),
    table: Mapping[str, Any] | None = None,
) -> Attempt[T]:
    """Read the document as a `cls`, or another `table` as what stands `at` a path of it."""
    walk = Walk(lookup, document.folder, document.where, document.tree)
    result = Table(cls).read(document.tree if table is None else table, at, walk)
    made = None if walk.problems or result is WRONG else result
    return Attempt(made, tuple(walk.problems), tuple(walk.selections))


def structure(document: Document, cls: type[T], lookup: Lookup) -> T:
    """An object of `cls` from the document. Raises ConfigError with every problem."""
    tried = attempt(document, cls, lookup)
    if tried.made is None:
        raise ConfigError(tried.problems)
    return tried.made


def settings_from(given: Mapping[str, Any], cls: type[T]) -> T:
    """Settings that somebody gives while the node runs, as strictly as those of a file. Raises ConfigError.

    For classes that select no components.
    """
    return structure(load(given), cls, NothingKnown())


class NothingKnown:
    """A lookup for classes that select no components."""

    def lookup(self, kind: str, type_: str) -> type | None:
        del kind, type_
        return None

    def known(self, kind: str) -> tuple[str, ...]:
        del kind
        return ()

    def note(self, kind: str, type_: str) -> str | None:
        del kind, type_
        return None
