"""The settings of `[requests]`."""

from __future__ import annotations

from typing import Literal

import attrs

from flowcore.config import Duration, Size, reference, setting
from flowcore.config import validators as v


@attrs.frozen(kw_only=True)
class RetrySettings:
    """When a request that failed is tried again: only where that is safe, and within a budget."""

    attempts: int = setting(
        3, validator=v.ge(1), help="attempts at most, the first one counted", reloadable=True
    )
    base: Duration = setting(
        0.1,
        validator=v.gt(0),
        help="the longest first wait; waits are random below it",
        reloadable=True,
    )
    factor: float = setting(
        2.0, validator=v.ge(1), help="how much longer each further wait may be", reloadable=True
    )
    cap: Duration = setting(
        5.0, validator=v.gt(0), help="the longest any wait may be", reloadable=True
    )
    budget: float = setting(
        0.2,
        validator=v.in_range(0, 1),
        help="retries allowed per request, over all requests",
        reloadable=True,
    )


@attrs.frozen(kw_only=True)
class IdempotencySettings:
    """How requests that carry an idempotency key are met."""

    running: Literal["join", "refuse"] = setting(
        "join",
        help="a key that is being worked on: wait for that outcome, or refuse (409)",
        reloadable=True,
    )
    keep: Duration = setting(
        3600.0, validator=v.gt(0), help="how long an outcome answers its key", reloadable=True
    )
    most: int = setting(
        100_000, validator=v.ge(1), help="most keys that are remembered", reloadable=True
    )
    each: int = setting(
        50_000,
        validator=v.ge(1),
        help="most keys of one principal that are remembered, of those; its own oldest go first",
        reloadable=True,
    )
    keep_bytes: Size = setting(
        64 << 20,
        validator=v.ge(0),
        help="most memory that kept results take; beyond it whoever keeps the most gives way, and a key"
        " whose result is let go stays used",
        reloadable=True,
    )


@attrs.frozen(kw_only=True)
class DurableSettings:
    """Tasks and idempotency keys that outlive this node: kept in the hard state, where that is durable."""

    enabled: bool = setting(
        True, help="keep them there; else, and where there is no such state, in this node's memory"
    )
    claim: Duration = setting(
        30.0,
        validator=v.ge(1),
        help="a node that does not say for so long that it is at work on its tasks is taken for lost",
    )
    attempts: int = setting(
        3,
        validator=v.ge(1),
        help="how often a task is begun whose tool may be repeated, when nodes are lost that do it",
    )
    progress: Duration = setting(
        2.0, validator=v.gt(0), help="how often other nodes hear how far a task is, at most"
    )


@attrs.frozen(kw_only=True)
class RequestSettings:
    """How requests are taken, and how long what came of them is kept."""

    guards: tuple[str, ...] = reference(
        "guard", (), help="guards that every request must pass, in this order"
    )
    limit: int = setting(
        10_000,
        validator=v.ge(1),
        help="most requests waiting or running at a time",
        reloadable=True,
    )
    max_deadline: Duration = setting(
        3600.0,
        validator=v.gt(0),
        help="the longest deadline that a caller may ask for",
        reloadable=True,
    )
    keep: Duration = setting(
        3600.0, validator=v.gt(0), help="how long outcomes of requests are kept", reloadable=True
    )
    most: int = setting(
        100_000, validator=v.ge(0), help="most outcomes that are kept", reloadable=True
    )
    keep_bytes: Size = setting(
        64 << 20, validator=v.ge(0), help="most memory that kept outcomes take", reloadable=True
    )
    grace: Duration = setting(
        1.0,
        validator=v.gt(0),
        help="how long after its deadline a request may linger before it counts as expired, whatever"
        " its worker does",
        reloadable=True,
    )
    task_bytes: Size = setting(
        256 << 20,
        validator=v.ge(0),
        help="most memory that kept results of tasks take; beyond it whoever keeps the most gives way",
        reloadable=True,
    )
    tasks: int = setting(
        1000, validator=v.ge(0), help="most tasks that run at a time", reloadable=True
    )
    tasks_each: int = setting(
        250,
        validator=v.ge(0),
        help="most tasks of one principal that run at a time",
        reloadable=True,
    )
    task_deadline: Duration = setting(
        3600.0,
        validator=v.gt(0),
        help="how long a task may run where nothing shorter is asked for",
        reloadable=True,
    )
    retry: RetrySettings = setting(factory=RetrySettings, help="when a request is tried again")
    idempotency: IdempotencySettings = setting(
        factory=IdempotencySettings, help="how idempotency keys are met"
    )
    durable: DurableSettings = setting(
        factory=DurableSettings, help="tasks and idempotency keys that outlive this node"
    )
