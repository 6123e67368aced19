"""The settings of `[state]`."""

from __future__ import annotations

import attrs

from flowcore.config import Duration, Size, setting
from flowcore.config import validators as v
from flowcore.state.limits import GIB, Limits
from flowcore.state.work import WorkLimits

_DEFAULTS = Limits()
_WORK = WorkLimits()


@attrs.frozen(kw_only=True)
class WorkSettings:
    """How much is kept of durable tasks, idempotency keys, leases and revocations."""

    tasks: int = setting(
        _WORK.tasks, validator=v.ge(1), help="durable tasks in all; more are refused"
    )
    owner_tasks: int = setting(
        _WORK.owner_tasks, validator=v.ge(1), help="durable tasks of one principal, of those"
    )
    task_quota: Size = setting(
        _WORK.task_bytes, validator=v.ge(1), help="bytes of all tasks: requests, progress, results"
    )
    owner_task_quota: Size = setting(
        _WORK.owner_task_bytes, validator=v.ge(1), help="bytes of the tasks of one principal"
    )
    task_keep: Duration = setting(
        _WORK.task_keep,
        validator=v.gt(0),
        help="how long a task is kept after it has ended, at most",
    )
    keys: int = setting(
        _WORK.keys,
        validator=v.ge(1),
        help="idempotency keys in all; beyond it the oldest that are settled are forgotten",
    )
    owner_keys: int = setting(
        _WORK.owner_keys, validator=v.ge(1), help="idempotency keys of one principal, of those"
    )
    key_quota: Size = setting(
        _WORK.key_bytes,
        validator=v.ge(1),
        help="bytes of all keys and their outcomes; a key whose outcome does not fit stays used",
    )
    owner_key_quota: Size = setting(
        _WORK.owner_key_bytes, validator=v.ge(1), help="bytes of the keys of one principal"
    )
    leases: int = setting(_WORK.leases, validator=v.ge(1), help="leases in all; more are refused")
    revocations: int = setting(
        _WORK.revocations,
        validator=v.ge(1),
        help="revoked ids that have not expired by themselves; more are refused",
    )

    @property
    def limits(self) -> WorkLimits:
        """As the state has them."""
        return WorkLimits(
            tasks=self.tasks,
            owner_tasks=self.owner_tasks,
            task_bytes=self.task_quota,
            owner_task_bytes=self.owner_task_quota,
            task_keep=self.task_keep,
            keys=self.keys,
            owner_keys=self.owner_keys,
            key_bytes=self.key_quota,
            owner_key_bytes=self.owner_key_quota,
            leases=self.leases,
            revocations=self.revocations,
        )


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

    work: WorkSettings = setting(
        factory=WorkSettings, help="how much is kept of tasks, keys, leases and revocations"
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
