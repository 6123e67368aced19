"""A request's way from acceptance to exactly one outcome."""

from flowcore.entry import MOST_TEXT, Entry, Outcome
from flowcore.envelope import (
    ANONYMOUS,
    DEAF,
    LOCAL,
    Envelope,
    Owner,
    Peer,
    Principal,
    Priority,
    Raw,
    Reply,
    new_request_id,
    tool_params,
)
from flowcore.requests.guards import Guard, Guards
from flowcore.requests.idempotency import META_KEY as IDEMPOTENCY_META
from flowcore.requests.idempotency import KeyStatistics
from flowcore.requests.outside import HeldKey, Keeper, SharedKeys
from flowcore.requests.pipeline import Doer, Requests, open_requests
from flowcore.requests.retry import repeatable
from flowcore.requests.rounds import asks_back, complete, key_of_round
from flowcore.requests.settings import DurableSettings, RequestSettings
from flowcore.requests.task import KeptTask, Question, Task, TaskState
from flowcore.requests.tasks import Tasks, TaskStatistics
from flowcore.requests.tracker import RequestStatistics, Tracker

__all__ = [
    "ANONYMOUS",
    "DEAF",
    "IDEMPOTENCY_META",
    "LOCAL",
    "MOST_TEXT",
    "Doer",
    "DurableSettings",
    "Entry",
    "Envelope",
    "Guard",
    "Guards",
    "HeldKey",
    "Keeper",
    "KeptTask",
    "KeyStatistics",
    "Outcome",
    "Owner",
    "Peer",
    "Principal",
    "Priority",
    "Question",
    "Raw",
    "Reply",
    "RequestSettings",
    "RequestStatistics",
    "Requests",
    "SharedKeys",
    "Task",
    "TaskState",
    "TaskStatistics",
    "Tasks",
    "Tracker",
    "asks_back",
    "complete",
    "key_of_round",
    "new_request_id",
    "open_requests",
    "repeatable",
    "tool_params",
]
