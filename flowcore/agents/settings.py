"""The settings that every agent has, whatever its type."""

from __future__ import annotations

from typing import Literal

import attrs

from flowcore.config import Duration, Selection, reference, selection, setting
from flowcore.config import validators as v


@attrs.frozen(kw_only=True)
class PoolSettings:
    """How many workers there are, and who waits for one."""

    min: int | None = setting(
        None, validator=v.ge(0), help="workers kept warm; unset: as the agent's type says"
    )
    max: int | None = setting(
        None, validator=v.ge(1), help="most workers at a time; unset: as the agent's type says"
    )
    concurrency: int | None = setting(
        None,
        validator=v.ge(1),
        help="calls that one worker does at a time; unset: as the type says",
    )
    idle_timeout: Duration = setting(
        30.0, validator=v.gt(0), help="how long a worker beyond `min` may have nothing to do"
    )
    queue: int = setting(
        100,
        validator=v.ge(0),
        help="most calls that wait while `max` workers are at work; others wait for one that starts",
    )
    ageing: Duration = setting(
        5.0,
        validator=v.gt(0),
        help="how long a call waits until it counts as of the next higher priority",
    )
    start_timeout: Duration = setting(
        30.0, validator=v.gt(0), help="how long a worker may take to become ready"
    )
    max_starting: int = setting(
        4, validator=v.ge(1), help="most workers that start at the same time"
    )

    def __attrs_post_init__(self) -> None:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"expected min to be at most max, not {self.min} and {self.max}")


@attrs.frozen(kw_only=True)
class RestartSettings:
    """When an agent whose workers crash is given up for a while, and for how long."""

    limit: int = setting(5, validator=v.ge(0), help="crashes of workers allowed within the period")
    period: Duration = setting(
        60.0, validator=v.gt(0), help="the period in which crashes are counted"
    )
    base: Duration = setting(1.0, validator=v.gt(0), help="the first wait of a failed agent")
    factor: float = setting(2.0, validator=v.ge(1), help="how much longer each further wait is")
    cap: Duration = setting(60.0, validator=v.gt(0), help="the longest wait of a failed agent")


@attrs.frozen(kw_only=True)
class HeartbeatSettings:
    """How agents that live elsewhere are asked whether they are well."""

    interval: Duration = setting(5.0, validator=v.gt(0), help="time between two heartbeats")
    misses: int = setting(
        3, validator=v.ge(1), help="missed heartbeats after which a worker is lost"
    )


@attrs.frozen(kw_only=True)
class AgentSettings:
    """What every agent has besides the settings of its type."""

    description: str = setting("", help="what the agent is for, in a sentence", reloadable=True)
    roles: tuple[str, ...] = setting((), help="roles by which it can be found")
    capabilities: tuple[str, ...] = setting((), help="capabilities by which it can be found")
    topics: tuple[str, ...] = setting((), help="topics whose broadcasts it is given")
    names: Literal["qualified", "bare"] = setting(
        "qualified",
        help="offer tools and prompts as agent.name, or under their own where nobody else has it",
    )
    pool: PoolSettings = setting(factory=PoolSettings, help="its workers")
    balancer: Selection = selection(
        "balancer", "least_connections", help="how a call's worker is chosen"
    )
    deadline: Duration = setting(
        30.0,
        validator=v.gt(0),
        help="how long a call may take where the caller says nothing shorter",
        reloadable=True,
    )
    guards: tuple[str, ...] = reference(
        "guard",
        (),
        help="guards that its requests must pass, after those of `[requests]` and the edge",
    )
    validate_arguments: bool = setting(
        True,
        help="check the arguments of a tool against its schema before it is called",
        reloadable=True,
    )
    restart: RestartSettings = setting(factory=RestartSettings, help="how crashes are met")
    heartbeat: HeartbeatSettings = setting(
        factory=HeartbeatSettings, help="how its health is asked"
    )
    shutdown: Duration = setting(
        5.0, validator=v.ge(0), help="how long its calls may go on when it is stopped"
    )
    singleton: bool = setting(
        False, help="run it at one node of the swarm at a time, whichever holds its lease"
    )
    lease: Duration = setting(
        5.0,
        validator=v.ge(1),
        help="how long a singleton's lease holds from each time that it is renewed: its node being lost,"
        " another one runs it after that",
    )
