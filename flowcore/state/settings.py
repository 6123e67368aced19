"""The settings of `[state]`."""

from __future__ import annotations

import attrs

from flowcore.config import Size, setting
from flowcore.config import validators as v
from flowcore.state.limits import GIB, Limits

_DEFAULTS = Limits()


@attrs.frozen(kw_only=True)
class StateSettings:
    """How much the hard state holds. The same on every node: what a node starts with is set for all."""

    patterns: int = setting(
        _DEFAULTS.patterns,
        validator=v.ge(1),
        help="patterns in all; beyond it, those of the largest namespace that were not used for longest go",
    )
    namespace_patterns: int = setting(
        _DEFAULTS.namespace_patterns,
        validator=v.ge(1),
        help="patterns in each namespace; beyond it, those that were not used for longest go",
    )
    namespaces: int = setting(_DEFAULTS.namespaces, validator=v.ge(1), help="namespaces at most")
    quota: Size = setting(
        8 * GIB, validator=v.ge(1), help="bytes of all patterns; what would exceed it is refused"
    )
    namespace_quota: Size = setting(
        8 * GIB,
        validator=v.ge(1),
        help="bytes of the patterns of each namespace; what would exceed it is refused",
    )
    weight: float = setting(
        _DEFAULTS.weight,
        validator=v.gt(0),
        help="what the weight of a pattern that is put again and again adds up to at most",
    )
    feedback: int = setting(
        _DEFAULTS.feedback, validator=v.ge(0), help="lessons kept for gates; the oldest go"
    )
    removed: int = setting(
        _DEFAULTS.removed,
        validator=v.ge(0),
        help="removed patterns remembered, so that an index can catch up; the oldest are forgotten",
    )
    sessions: int = setting(
        _DEFAULTS.sessions, validator=v.ge(1), help="sessions of clients; the longest unused go"
    )
    answers: int = setting(
        _DEFAULTS.answers, validator=v.ge(1), help="results kept for clients that ask again"
    )
    compact_after: int = setting(
        10_000,
        validator=v.ge(1),
        help="commands after which the state is made durable, so that the log may let go of them",
    )

    @property
    def limits(self) -> Limits:
        """As the state has them."""
        return Limits(
            patterns=self.patterns,
            namespace_patterns=self.namespace_patterns,
            namespaces=self.namespaces,
            bytes=self.quota,
            namespace_bytes=self.namespace_quota,
            weight=self.weight,
            feedback=self.feedback,
            removed=self.removed,
            sessions=self.sessions,
            answers=self.answers,
        )
