"""What is traced, how much of it is kept, and how exporters are fed."""

from __future__ import annotations

import attrs

from flowcore.config import Duration, setting
from flowcore.config import validators as v


@attrs.frozen(kw_only=True)
class TelemetrySettings:
    """What the node tells of the requests it does."""

    enabled: bool = setting(True, help="whether requests are traced at all", reloadable=True)
    sampling: float = setting(
        0.1,
        validator=v.in_range(0.0, 1.0),
        help="which part of the traces that begin here is given to exporters; one that begins elsewhere is as"
        " its `traceparent` says. What fails is always given to them",
        reloadable=True,
    )
    recent: int = setting(
        1000,
        validator=v.in_range(0, 100_000),
        help="how many finished traces are kept in memory, sampled or not, for `flowctl trace`",
    )
    content: bool = setting(
        False,
        help="whether spans carry the arguments and results of calls, which may be secret",
        reloadable=True,
    )


@attrs.frozen(kw_only=True)
class ExporterSettings:
    """How an exporter is fed, whatever its type."""

    queue: int = setting(
        8192,
        validator=v.ge(1),
        help="how many spans, and log lines, may wait for it; more are dropped",
    )
    batch: int = setting(
        512, validator=v.in_range(1, 512), help="how many of them it is given at a time, at most"
    )
    delay: Duration = setting(1.0, help="how long they wait for a batch to fill, at most")
    timeout: Duration = setting(2.0, validator=v.gt(0.0), help="how long a batch may take it")
    interval: Duration = setting(
        15.0, validator=v.ge(0.1), help="how often it is given the metrics"
    )
