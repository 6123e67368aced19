"""What flowctl reads of the api edge's answers; whatever else they hold is for `--json`."""

from __future__ import annotations

from typing import Any

import msgspec


class Durations(msgspec.Struct):
    """How long something took, in seconds; None where nothing was measured yet."""

    p50: float | None
    p99: float | None


class ComponentLine(msgspec.Struct, rename={"seconds": "for"}):
    """One component of `GET /status`."""

    component: str
    type: str
    status: str
    reason: str
    seconds: float


class RequestCounts(msgspec.Struct):
    """What has become of requests."""

    accepted: int
    running: int
    results: int
    errors: int
    cancelled: int
    expired: int
    refused: int
    durations: Durations


class OrderCounts(msgspec.Struct):
    """What is known of the voters under the state."""

    evidence: dict[str, str] = {}
    """Which voter has contradicted itself, and how."""


class TraceLine(msgspec.Struct):
    """A trace of `GET /traces`."""

    trace_id: str
    request: str
    name: str
    start: float
    seconds: float
    failed: bool
    error: str
    sampled: bool
    spans: int


class TracesAnswer(msgspec.Struct):
    """`GET /traces`."""

    traces: list[TraceLine]


class SpanLine(msgspec.Struct):
    """A span of `GET /traces/ID`."""

    span_id: str
    parent_id: str
    name: str
    kind: str
    node: str
    start: float
    seconds: float
    failed: bool
    error: str
    attributes: dict[str, Any]


class TraceAnswer(msgspec.Struct):
    """`GET /traces/ID`."""

    trace_id: str
    request: str
    spans: list[SpanLine]
    missing: list[str]


class LevelsAnswer(msgspec.Struct):
    """`GET /logs`."""

    levels: dict[str, str]


class StateCounts(msgspec.Struct):
    """The hard state."""

    position: int
    patterns: int
    bytes: int
    feedback: int
    durable: bool
    trouble: str
    consensus: OrderCounts | None = None


class MemberLine(msgspec.Struct):
    """One node of the swarm."""

    name: str
    state: str
    since: float
    address: str
    hops: int | None
    unreachable: float | None
    rtt: float | None


class SwarmCounts(msgspec.Struct):
    """The swarm that a node is part of."""

    cluster: str
    address: str
    topology: str
    members: list[MemberLine]


class DriftCounts(msgspec.Struct):
    """What is asked against what was learned from."""

    value: float | None
    threshold: float
    exceeded: bool


class LearningCounts(msgspec.Struct):
    """What a router has learned from."""

    lessons: int
    retrained: int


class RouterCounts(msgspec.Struct):
    """A router."""

    experts: int
    drift: DriftCounts
    learning: LearningCounts


class StatusAnswer(msgspec.Struct):
    """What flowctl shows of `GET /status`."""

    node: str
    version: str
    ready: bool
    draining: bool
    uptime: float
    endpoints: dict[str, list[str]]
    requests: RequestCounts
    components: list[ComponentLine]
    collisions: list[str]
    state: StateCounts | None = None
    swarm: SwarmCounts | None = None
    router: RouterCounts | None = None


class Offers(msgspec.Struct):
    """How much an agent offers."""

    tools: int


class PoolCounts(msgspec.Struct):
    """The workers of an agent."""

    workers: int = 0
    active: int = 0
    waiting: int = 0


class AgentLine(msgspec.Struct):
    """One agent of `GET /agents`."""

    name: str
    state: str
    reason: str
    offers: Offers
    pool: PoolCounts | None
    calls: int
    failed: int
    faulty: int
    expired: int
    lost: int
    durations: Durations
    lives: int = 1
    crashes: int = 0
    trouble: str | None = None
    breaker: str = ""


class PlaceLine(msgspec.Struct):
    """An agent at another node, of `GET /agents`; figures are there while that node answers."""

    name: str
    node: str
    state: str
    reason: str
    load: float
    hops: int
    under_way: int
    tools: int
    pool: PoolCounts | None = None
    calls: int | None = None
    failed: int = 0
    faulty: int = 0
    expired: int = 0
    lost: int = 0
    durations: Durations | None = None
    lives: int = 1
    crashes: int = 0
    trouble: str | None = None
    breaker: str = ""


class AgentsAnswer(msgspec.Struct):
    """What flowctl shows of `GET /agents`."""

    agents: list[AgentLine]
    elsewhere: list[PlaceLine] = []


class TopAnswer(StatusAnswer, kw_only=True):
    """What `flowctl top` shows of `GET /status`."""

    agents: list[AgentLine]
    elsewhere: list[PlaceLine] = []


class Steered(msgspec.Struct):
    """The answer to pause, resume and restart."""

    agent: str
    state: str


class ToolLine(msgspec.Struct):
    """One tool of `GET /tools`."""

    name: str


class ToolsAnswer(msgspec.Struct):
    """What flowctl shows of `GET /tools`."""

    tools: list[ToolLine]
    missing: list[str]


class RequestLine(msgspec.Struct):
    """One request of `GET /tasks`."""

    id: str
    agent: str
    name: str
    state: str
    seconds: float | None
    principal: str
    error: str


class TaskLine(msgspec.Struct):
    """One task of `GET /tasks`."""

    request: str
    agent: str
    name: str
    state: str
    seconds: float | None
    principal: str
    message: str


class TaskCounts(msgspec.Struct):
    """What has become of tasks."""

    begun: int
    running: int
    completed: int
    failed: int
    cancelled: int
    refused: int
    kept: int


class KeptTaskLine(msgspec.Struct):
    """A task that outlives its node, of `GET /tasks`."""

    number: int
    agent: str
    name: str
    state: str
    node: str
    attempt: int
    seconds: float | None
    principal: str
    message: str


class TasksAnswer(msgspec.Struct):
    """What flowctl shows of `GET /tasks`."""

    requests: list[RequestLine]
    tasks: list[TaskLine]
    statistics: TaskCounts
    kept: list[KeptTaskLine] = []


class Revoked(msgspec.Struct):
    """The answer to `POST /revocations/add`."""

    revoked: str


class Reinstated(msgspec.Struct):
    """The answer to `POST /revocations/remove`."""

    reinstated: str


class RevocationLine(msgspec.Struct):
    """One of `GET /revocations`."""

    id: str
    ago: float
    left: float | None


class RevocationsAnswer(msgspec.Struct):
    """What flowctl shows of `GET /revocations`."""

    revocations: list[RevocationLine]


class CallResult(msgspec.Struct, rename="camel"):
    """The result of a tool."""

    content: list[dict[str, Any]] = []
    structured_content: Any = None
    is_error: bool = False


class CallAnswer(msgspec.Struct):
    """The answer to `POST /call`."""

    id: str
    result: CallResult


class GuardsAnswer(msgspec.Struct):
    """What flowctl shows of `GET /guards`: by name, what each guard tells of itself."""

    guards: dict[str, dict[str, Any]]


class Acted(msgspec.Struct):
    """The answer to `POST /guards/NAME/ACTION`."""

    guard: str
    done: str
    result: dict[str, Any]


class Quarantined(msgspec.Struct):
    """A tool that waits for approval."""

    tool: str
    fingerprint: str
    new: bool
    definition: dict[str, Any] | None = None
    before: dict[str, Any] | None = None


class Quarantine(msgspec.Struct):
    """All that wait."""

    quarantined: list[Quarantined]


class QuarantineList(msgspec.Struct):
    """The answer to `POST /guards/NAME/list` of a guard of type `pinning`."""

    result: Quarantine
