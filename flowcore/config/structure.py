"""From a document to a configuration object, with all that is wrong reported at once."""

from __future__ import annotations

from typing import Any, TypeVar

from flowcore.config.document import Document
from flowcore.config.problems import ConfigError
from flowcore.config.shapes import WRONG, Lookup, Walk
from flowcore.config.tables import Table

T = TypeVar("T")


def structure(document: Document, cls: type[T], lookup: Lookup) -> T:
    """An object of `cls` from the document. Raises ConfigError with every problem."""
    walk = Walk(lookup, document.folder, document.where, document.tree)
    result = Table(cls).read(document.tree, (), walk)
    if walk.problems:
        raise ConfigError(walk.problems)
    assert result is not WRONG
    made: T = result
    return made


def structure_part(document: Document, key: str, cls: type[T], lookup: Lookup) -> T:
    """An object of `cls` from one table of the document alone; {} where it is not there."""
    walk = Walk(lookup, document.folder, document.where, document.tree)
    table: Any = document.tree.get(key, {})
    result = Table(cls).read(table, (key,), walk)
    if walk.problems:
        raise ConfigError(walk.problems)
    made: T = result
    return made


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
