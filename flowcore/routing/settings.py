"""What can be set of a router: the `[router]` table."""

from __future__ import annotations

from functools import partial

import attrs

from flowcore.config import Duration, Selection, Size, selection, setting
from flowcore.config import validators as v
from flowcore.resilience import Rate


@attrs.frozen(kw_only=True)
class FeedbackSettings:
    """What a router learns from, and how much anybody can teach it."""

    implicit: bool = setting(
        True,
        help="whether it also learns from how calls end that it chose, or that follow what it found",
    )
    implicit_weight: float = setting(
        0.3,
        validator=v.in_range(0.0, 1.0),
        help="what such a lesson counts, where one that somebody gives counts 1",
    )
    slow: Duration = setting(
        10.0, validator=v.gt(0), help="a success that takes longer counts as half a success"
    )
    keep: Duration = setting(
        3600.0, validator=v.gt(0), help="how long feedback may be given to a route"
    )
    routes: int = setting(
        10_000,
        validator=v.ge(1),
        help="most routes that wait for feedback; the oldest are forgotten",
    )
    lessons: Rate = setting(
        factory=partial(Rate, rate=1.0, burst=200),
        help="how many lessons one principal may give, so that nobody drowns the others",
    )


@attrs.frozen(kw_only=True)
class DriftSettings:
    """When what is asked is no longer what was learned from."""

    window: int = setting(500, validator=v.ge(20), help="the latest queries that are compared")
    threshold: float = setting(
        4.0,
        validator=v.gt(1),
        help="how many times the distance that chance alone would make counts as drift",
    )
    retrain: bool = setting(True, help="whether the gate is trained anew on what is kept, then")


@attrs.frozen(kw_only=True)
class MemorySettings:
    """Shared memory: what agents and clients put away and find again by meaning."""

    enabled: bool = setting(True, help="whether there are `memory.*` tools")
    text: Size = setting(
        64 * 2**10, validator=v.ge(16), help="longest text of a pattern or a query"
    )
    value: Size = setting(256 * 2**10, validator=v.ge(0), help="largest value kept beside a text")
    results: int = setting(100, validator=v.in_range(1, 10_000), help="most results of a search")
    cache: int = setting(
        1000, validator=v.ge(0), help="queries whose results are kept while nothing changes"
    )


@attrs.frozen(kw_only=True)
class RouterSettings:
    """The right agent for a request in words, and memory that is searched by meaning."""

    embedder: Selection = selection("embedder", "hashed", help="what makes vectors of texts")
    index: Selection = selection("vectors", "auto", help="what finds the vectors that are near")
    gate: Selection = selection("gate", "moe", help="what weighs experts, and learns")
    top_k: int = setting(
        8, validator=v.in_range(1, 16), help="experts in an answer, where the question does not say"
    )
    near: int = setting(
        16, validator=v.in_range(0, 256), help="nearest patterns that the gate is shown"
    )
    practice: int = setting(
        2,
        validator=v.in_range(0, 16),
        help="how often a gate that is trained anew goes over its lessons again, where there are at most"
        " 20,000; the same on all nodes",
    )
    feedback: FeedbackSettings = setting(
        factory=FeedbackSettings, help="what it learns from, and how much anybody can teach it"
    )
    drift: DriftSettings = setting(
        factory=DriftSettings, help="when what is asked is no longer what was learned from"
    )
    memory: MemorySettings = setting(
        factory=MemorySettings, help="what agents and clients put away and find again"
    )
    save: Duration = setting(
        60.0,
        validator=v.gt(0),
        help="how often indexes and gate are saved, where they have changed",
    )
