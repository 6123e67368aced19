"""What the router has to tell as metrics: what it chose, how sure it was, how right, and shared memory."""

from __future__ import annotations

from collections.abc import Iterator

from flowcore.routing.router import Router
from flowcore.telemetry import Measured, Reading, counter, gauge, histogram

ROUTES = counter(
    "flowcore.router.routes",
    "{route}",
    "Texts that were routed: known, or out of scope: no expert is there for it.",
    "scope",
)
DURATION = histogram(
    "flowcore.router.route.duration", "s", "Routing one text, its embedding included."
)
CHOICES = counter(
    "flowcore.router.choices",
    "{route}",
    "How often each agent had the first expert of a route.",
    "agent",
)
EXPLORED = counter(
    "flowcore.router.explored", "{route}", "Routes whose first expert was there to learn about it."
)
CONFIDENCE = histogram(
    "flowcore.router.confidence", "1", "The calibrated probability of the first expert of a route."
)
JUDGED = counter(
    "flowcore.router.judged", "{lesson}", "Lessons that tell whether the first expert was right."
)
REGRET = counter(
    "flowcore.router.regret",
    "{reward}",
    "Rewards that the first experts missed in these: divided by them, 0 is always right, 1 always wrong.",
)
FEEDBACK = counter(
    "flowcore.router.lessons",
    "{lesson}",
    "Lessons that came of routes, by whom they are from.",
    "source",
)
UNGIVEN = counter(
    "flowcore.router.lessons_dropped",
    "{lesson}",
    "Lessons that were not taken: beyond a principal's share, of no single route, or too many at once.",
    "reason",
)
EXPERTS = gauge("flowcore.router.experts", "{expert}", "Experts that can be chosen.")
WAITING = gauge("flowcore.router.waiting", "{route}", "Routes that may still be given feedback.")
LESSONS = gauge("flowcore.router.learned", "{lesson}", "Lessons that the gate has learned from.")
RETRAINED = counter(
    "flowcore.router.retrained", "{training}", "How often the gate was trained anew."
)
DRIFT = gauge(
    "flowcore.router.drift",
    "1",
    "How far what is asked is from what was learned, in what chance would make: about 1 is no drift.",
)
DRIFTING = gauge(
    "flowcore.router.drifting", "{router}", "1 while the drift is above its threshold, else 0."
)
MEMORY = counter(
    "flowcore.memory.operations", "{operation}", "What was done with shared memory.", "operation"
)
SEARCHES = histogram(
    "flowcore.memory.search.duration", "s", "Searches in shared memory, by meaning."
)
BEHIND = gauge(
    "flowcore.memory.behind",
    "{entry}",
    "Entries of the hard state's log that the indexes have not followed.",
)
FOREIGN = gauge(
    "flowcore.memory.foreign",
    "{pattern}",
    "Patterns of another embedder, which cannot be found by meaning.",
)


def measure(router: Router) -> Iterator[Reading]:
    """Its readings."""
    status = router.status()
    told = router.told
    yield ROUTES.of(status["routes"]["known"], "known")
    yield ROUTES.of(status["routes"]["unknown"], "out_of_scope")
    yield DURATION.of(told.took.distribution())
    for agent, count in told.chosen.items():
        yield CHOICES.of(count, agent)
    yield EXPLORED.of(status["routes"]["explored"])
    yield CONFIDENCE.of(told.confidence.distribution())
    yield JUDGED.of(told.judged)
    yield REGRET.of(told.regret)
    feedback = status["feedback"]
    for source in ("explicit", "implicit"):
        yield FEEDBACK.of(feedback[source], source)
    yield UNGIVEN.of(feedback["beyond share"], "beyond_share")
    yield UNGIVEN.of(feedback["ambiguous"], "ambiguous")
    learning = status["learning"]
    yield UNGIVEN.of(learning["dropped"], "too_many")
    yield EXPERTS.of(status["experts"])
    yield WAITING.of(status["routes"]["waiting"])
    yield LESSONS.of(learning["lessons"])
    yield RETRAINED.of(learning["retrained"])
    yield DRIFT.of(router.drift.value)
    yield DRIFTING.of(int(router.drift.exceeded))
    memory = status["memory"]
    for name in ("put", "got", "deleted", "searched", "cached"):
        yield MEMORY.of(memory[name], name)
    yield SEARCHES.of(router.memory.took.distribution())
    yield BEHIND.of(memory["following"]["behind"])
    yield FOREIGN.of(memory["following"]["foreign"])
    gate = router.learning.gate
    if isinstance(gate, Measured):
        yield from gate.measure("gate")
    for name, index in router.memory.indexes().items():
        if isinstance(index, Measured):
            yield from index.measure(name)
