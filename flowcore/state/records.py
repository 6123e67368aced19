"""What reads give: patterns, lessons, counts, and how far the state was when it was asked."""

from __future__ import annotations

import enum

import attrs
from msgspec import Struct


class ReadLevel(enum.Enum):
    """What a read is worth."""

    LINEARIZABLE = "linearizable"
    """It shows all that was acknowledged, by any node, before it was asked."""
    LEASED = "leased"
    """The same, as far as clocks run alike: a leader's lease is trusted."""
    STALE = "stale"
    """What this node has applied, which may be behind."""


class Pattern(Struct, frozen=True, kw_only=True):
    """A pattern as it is kept."""

    id: int
    namespace: str
    key: str
    text: str
    value: bytes | None
    """JSON."""
    vector: bytes
    """Little-endian float32; empty if there is none."""
    embedder: str
    expert: str
    reward: float
    weight: float
    time: float
    """When it was learned, seconds since 1970."""
    used: float
    """When it was last put or touched."""
    expires: float | None
    owner: tuple[str, str]
    version: int
    """The position of its last change."""


class Lesson(Struct, frozen=True, kw_only=True):
    """Feedback as it is kept."""

    number: int
    position: int
    time: float
    request: str
    source: str
    text: str
    vector: bytes
    embedder: str
    expert: str
    reward: float
    propensity: float
    exclusive: bool
    weight: float
    owner: tuple[str, str]

    @property
    def retrains(self) -> bool:
        """Whether it is no lesson: gates are trained anew here, on those from `oldest` on."""
        return not self.expert

    @property
    def oldest(self) -> int:
        """The number of the first lesson to train anew on."""
        return int(self.text)


@attrs.frozen(kw_only=True)
class Page:
    """Patterns, as they were at a position."""

    patterns: tuple[Pattern, ...]
    cursor: str | None
    """Where the next page begins; None after the last."""
    position: int
    level: ReadLevel


@attrs.frozen(kw_only=True)
class Changes:
    """What patterns became after a position, as far as `position`, which is where to ask next."""

    changed: tuple[Pattern, ...]
    removed: tuple[int, ...]
    """Ids that are gone."""
    position: int
    complete: bool
    """Whether that is all there is now."""


@attrs.frozen(kw_only=True)
class Lessons:
    """Feedback after a position, in its order, as far as `position`, which is where to ask next."""

    lessons: tuple[Lesson, ...]
    position: int
    complete: bool


@attrs.frozen(kw_only=True)
class NamespaceCount:
    """How much a namespace holds."""

    patterns: int
    bytes: int


@attrs.frozen(kw_only=True)
class Counts:
    """How much there is, as it was at a position."""

    namespaces: dict[str, NamespaceCount]
    patterns: int
    bytes: int
    feedback: int
    sessions: int
    position: int
