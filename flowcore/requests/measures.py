"""What requests have to tell as metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from flowcore.requests.pipeline import Requests
from flowcore.telemetry import Reading, counter, gauge

ACCEPTED = counter("flowcore.requests.accepted", "{request}", "Requests that were accepted.")
ENDED = counter(
    "flowcore.requests.ended", "{request}", "Requests that have their outcome.", "outcome"
)
RUNNING = gauge(
    "flowcore.requests.running", "{request}", "Accepted and without an outcome: they wait or run."
)
LIMIT = gauge("flowcore.requests.limit", "{request}", "How many may be accepted at a time.")
REFUSED = counter(
    "flowcore.requests.refused",
    "{request}",
    "Requests that were turned away before being accepted.",
)
ERRORS = counter(
    "flowcore.requests.errors",
    "{request}",
    "Accepted requests whose caller got an error, by its type.",
    "agent",
    "error",
)
LATE = counter(
    "flowcore.requests.late", "{outcome}", "Outcomes that came after the one that counted; dropped."
)
RETRIES = counter(
    "flowcore.requests.retries", "{retry}", "Further attempts at requests that failed."
)
DENIED = counter(
    "flowcore.requests.retries_denied",
    "{retry}",
    "Attempts that would have been safe, and that the budget of retries did not pay for.",
)
BUDGET = gauge(
    "flowcore.requests.retry_budget", "{retry}", "How many retries the budget pays for now."
)
REPLAYED = counter(
    "flowcore.requests.replayed",
    "{request}",
    "Requests answered with the outcome that their idempotency key had.",
)
KEPT = gauge("flowcore.requests.kept", "{outcome}", "Outcomes that are remembered.")
KEPT_BYTES = gauge("flowcore.requests.kept_size", "By", "What remembered outcomes take.")
KEYS = gauge(
    "flowcore.idempotency.keys", "{key}", "Idempotency keys that run, or are kept.", "state"
)
KEY_BYTES = gauge("flowcore.idempotency.kept_size", "By", "What kept outcomes of keys take.")
KEYS_REFUSED = counter(
    "flowcore.idempotency.refused", "{request}", "Requests refused for what their key was used for."
)
TASKS = counter("flowcore.tasks.begun", "{task}", "Tasks that were begun.")
TASKS_ENDED = counter("flowcore.tasks.ended", "{task}", "Tasks that have ended.", "state")
TASKS_RUNNING = gauge("flowcore.tasks.running", "{task}", "Tasks under way.")
TASKS_REFUSED = counter("flowcore.tasks.refused", "{task}", "Tasks that were turned away.")
TASKS_KEPT = gauge("flowcore.tasks.kept", "{task}", "Tasks that have ended and are kept.")


def measures(requests: Requests) -> Iterator[Callable[[], Iterable[Reading]]]:
    """The readings of a node's requests, part by part."""
    yield lambda: _read(requests)
    yield from requests.tracker.durations.parts()


def _read(requests: Requests) -> Iterator[Reading]:
    tracked = requests.tracker.statistics()
    yield ACCEPTED.of(tracked.accepted)
    yield ENDED.of(tracked.results, "result")
    yield ENDED.of(tracked.errors, "error")
    yield ENDED.of(tracked.cancelled, "cancelled")
    yield ENDED.of(tracked.expired, "expired")
    yield RUNNING.of(tracked.running)
    yield LIMIT.of(requests.settings.limit)
    yield REFUSED.of(tracked.refused)
    for (agent, error), count in requests.errors.items():
        yield ERRORS.of(count, agent, error)
    yield LATE.of(tracked.late)
    yield RETRIES.of(tracked.retries)
    yield DENIED.of(requests.retries.denied)
    yield BUDGET.of(requests.retries.tokens)
    yield REPLAYED.of(tracked.replayed)
    yield KEPT.of(tracked.kept)
    yield KEPT_BYTES.of(tracked.kept_bytes)
    keys = requests.keys.statistics()
    yield KEYS.of(keys.running, "running")
    yield KEYS.of(keys.kept, "kept")
    yield KEY_BYTES.of(keys.kept_bytes)
    yield KEYS_REFUSED.of(keys.refused)
    tasks = requests.tasks.statistics()
    yield TASKS.of(tasks.begun)
    yield TASKS_ENDED.of(tasks.completed, "completed")
    yield TASKS_ENDED.of(tasks.failed, "failed")
    yield TASKS_ENDED.of(tasks.cancelled, "cancelled")
    yield TASKS_RUNNING.of(tasks.running)
    yield TASKS_REFUSED.of(tasks.refused)
    yield TASKS_KEPT.of(tasks.kept)
