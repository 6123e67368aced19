"""What agents have to tell as metrics: their calls, workers and queues."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from flowcore.agents.agent import Agent
from flowcore.agents.state import State
from flowcore.agents.statistics import Came
from flowcore.telemetry import Reading, counter, gauge, histogram

CALLS = counter("flowcore.agent.calls", "{call}", "Calls that came to an agent.", "agent")
ENDED = counter(
    "flowcore.agent.calls_ended", "{call}", "What came of an agent's calls.", "agent", "outcome"
)
DURATION = histogram(
    "flowcore.agent.call.duration",
    "s",
    "Calls that ran to an end on a worker, from its being granted.",
    "agent",
)
STATE = gauge(
    "flowcore.agent.state", "{agent}", "1 for the state that an agent is in.", "agent", "state"
)
LIVES = counter("flowcore.agent.lives", "{life}", "How often an agent was opened.", "agent")
CRASHES = counter("flowcore.agent.crashes", "{worker}", "Workers that failed.", "agent")
LEFT_BEHIND = gauge(
    "flowcore.agent.left_behind",
    "{call}",
    "What calls began and still goes on, unwaited for.",
    "agent",
)
RETIRED = counter(
    "flowcore.agent.retired",
    "{worker}",
    "Workers that were replaced for what they left behind.",
    "agent",
)
LATE = counter(
    "flowcore.agent.late", "{answer}", "Answers to calls that were given up; dropped.", "agent"
)
WORKERS = gauge(
    "flowcore.pool.workers", "{worker}", "Workers of an agent, by state.", "agent", "state"
)
MOST = gauge("flowcore.pool.limit", "{worker}", "How many workers an agent may have.", "agent")
ACTIVE = gauge("flowcore.pool.active", "{call}", "Calls that workers are doing.", "agent")
WAITING = gauge("flowcore.pool.queue.length", "{call}", "Calls that wait for a worker.", "agent")
QUEUE = gauge("flowcore.pool.queue.limit", "{call}", "How many calls may wait.", "agent")
GRANTS = counter("flowcore.pool.grants", "{call}", "Calls that got a worker.", "agent")
WAITS = counter("flowcore.pool.waits", "{call}", "Calls that had to wait for one.", "agent")
REFUSED = counter("flowcore.pool.refused", "{call}", "Calls that the full queue refused.", "agent")
FAILED_STARTS = counter(
    "flowcore.pool.failed_starts", "{worker}", "Workers that could not start.", "agent"
)


def measures(agents: Iterable[Agent]) -> Iterator[Callable[[], Iterable[Reading]]]:
    """The readings of agents, one after the other."""
    for agent in list(agents):
        yield partial(_read, agent)


def _read(agent: Agent) -> Iterator[Reading]:
    name, tally = agent.name, agent.tally
    yield CALLS.of(tally.calls, name)
    for came in Came:
        yield ENDED.of(tally.came[came], name, came.label)
    if tally.durations.count:
        yield DURATION.of(tally.durations.distribution(), name)
    state = agent.state
    for one in State:
        yield STATE.of(int(one is state), name, one.value)
    yield LIVES.of(tally.lives, name)
    yield CRASHES.of(tally.crashes, name)
    yield LEFT_BEHIND.of(tally.left_behind, name)
    yield RETIRED.of(tally.retired, name)
    yield LATE.of(tally.late, name)
    pool = agent.statistics().pool
    if pool is None:
        return
    yield WORKERS.of(pool.starting, name, "starting")
    yield WORKERS.of(pool.free, name, "free")
    yield WORKERS.of(pool.workers - pool.free - pool.leaving, name, "busy")
    yield WORKERS.of(pool.leaving, name, "leaving")
    yield MOST.of(pool.most, name)
    yield QUEUE.of(pool.queue, name)
    yield ACTIVE.of(pool.active, name)
    yield WAITING.of(pool.waiting, name)
    yield GRANTS.of(pool.grants, name)
    yield WAITS.of(pool.waits, name)
    yield REFUSED.of(pool.refused, name)
    yield FAILED_STARTS.of(pool.failed_starts, name)
