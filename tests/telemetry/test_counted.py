"""The numbers are the events: what a test causes is what each form says, and nothing goes back."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import attrs
import pytest
import trio
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from flow_exporters.otlp.messages import Messages
from flowcore import Flow, open_flow
from flowcore.errors import CallError, DeadlineExceeded, UnknownTarget
from flowcore.flow import version
from flowcore.http import open_client
from flowcore.requests import Envelope, tool_params
from flowcore.telemetry import (
    Distribution,
    Family,
    Kind,
    Number,
    Snapshot,
    open_metrics_text,
    prometheus_text,
)
from support.node import ROOT

AGENTS = f"{ROOT}/tests/support/agents.py"
CONFIG: dict[str, Any] = {
    "node": {"name": "counted"},
    "requests": {"guards": ["rates", "breaker"], "retry": {"base": "1ms", "cap": "1ms"}},
    "guard": {
        "rates": {"type": "rate_limit", "agents": {"limited": {"rate": 0.001, "burst": 2}}},
        "breaker": {"type": "breaker"},
    },
    "agent": {
        "tools": {
            "type": "python",
            "target": AGENTS,
            "pool": {"min": 1, "max": 1, "concurrency": 1, "queue": 2},
            "deadline": "30s",
        },
        "limited": {"type": "python", "target": AGENTS, "pool": {"min": 1, "max": 1}},
    },
    "exporter": {"scraped": {"type": "prometheus"}},
    "edge": {"api": {"type": "api", "bind": "127.0.0.1:0"}},
}

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parsed(text: str) -> Series:
    """A text of either form as numbers by name and labels."""
    found: Series = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        match = re.fullmatch(r'(\w+)(?:\{((?:\w+="(?:[^"\\]|\\.)*",?)*)\})? (\S+)', line)
        assert match, line
        labels = {
            name: re.sub(r"\\(.)", lambda one: {"n": "\n"}.get(one[1], one[1]), value)
            for name, value in re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or "")
        }
        key = match[1], frozenset(labels.items())
        assert key not in found, line
        found[key] = float(match[3])
    return found


def sent(data: bytes, snapshot: Snapshot) -> Series:
    """What is sent as OTLP as the same, read by OpenTelemetry's own classes."""
    metrics = {family.metric.name: family.metric for family in snapshot.families}
    made = ExportMetricsServiceRequest.FromString(data)
    found = []
    for one in made.resource_metrics[0].scope_metrics[0].metrics:
        metric = metrics[one.name]
        names = dict(zip(metric.attributes, metric.labels, strict=True))
        values: list[tuple[tuple[str, ...], Number]] = []
        for point in getattr(one, one.WhichOneof("data")).data_points:
            told = {names[each.key]: each.value.string_value for each in point.attributes}
            number: Number
            if metric.kind is Kind.HISTOGRAM:
                number = Distribution(
                    tuple(point.explicit_bounds),
                    tuple(point.bucket_counts),
                    point.sum,
                    point.count,
                )
            else:
                number = getattr(point, point.WhichOneof("value"))
            values.append((tuple(told[each] for each in metric.labels), number))
        found.append(Family(metric, tuple(values)))
        assert one.unit == metric.unit
        if metric.kind is Kind.COUNTER:
            assert one.sum.is_monotonic
    return flattened(attrs.evolve(snapshot, families=tuple(found)))


def flattened(snapshot: Snapshot) -> Series:
    """A snapshot as the same, without the help of the texts."""
    found: Series = {}
    for family in snapshot.families:
        name, names = family.metric.prometheus, family.metric.labels
        for values, number in family.points:
            labels = dict(zip(names, values, strict=True))
            if not isinstance(number, Distribution):
                found[name, frozenset(labels.items())] = number
                continue
            bounds = [*(repr(bound) for bound in number.bounds), "+Inf"]
            for place, bound in enumerate(bounds):
                key = f"{name}_bucket", frozenset({**labels, "le": bound}.items())
                found[key] = sum(number.counts[: place + 1])
            found[f"{name}_sum", frozenset(labels.items())] = number.sum
            found[f"{name}_count", frozenset(labels.items())] = number.count
    return found


async def call(flow: Flow, tool: str, **arguments: Any) -> str:
    """A call; what came of it."""
    try:
        result = await flow.call(tool, arguments)
    except CallError as error:
        return type(error).__name__
    return "failed" if result.is_error else "done"


async def full(flow: Flow) -> None:
    """One call runs, two wait, and one more finds no room."""
    agent = flow.agents["tools"]
    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(partial(call, flow, "tools.wait", seconds=60))
            while agent.statistics().running + agent.statistics().waiting <= number:
                await trio.lowlevel.checkpoint()
        assert await call(flow, "tools.add", a=1, b=2) == "Overloaded"
        nursery.cancel_scope.cancel()


EXPECTED = {
    ("flowcore.requests.accepted",): 27,
    ("flowcore.requests.ended", "result"): 7,
    ("flowcore.requests.ended", "error"): 15,
    ("flowcore.requests.ended", "expired"): 1,
    ("flowcore.requests.ended", "cancelled"): 4,
    ("flowcore.requests.running",): 0,
    ("flowcore.requests.refused",): 1,
    ("flowcore.requests.retries",): 2,
    ("flowcore.requests.errors", "tools", "SchemaViolation"): 2,
    ("flowcore.requests.errors", "tools", "DeadlineExceeded"): 1,
    ("flowcore.requests.errors", "tools", "Overloaded"): 1,
    ("flowcore.requests.errors", "limited", "Overloaded"): 4,
    ("flowcore.requests.errors", "tools", "UnknownTarget"): 5,
    ("flowcore.requests.errors", "flaky", "UpstreamFailure"): 1,
    ("flowcore.requests.errors", "flaky", "AgentUnavailable"): 2,
    ("flowcore.request.duration", "tools", "tools/call", "add", "result"): 3,
    ("flowcore.request.duration", "tools", "tools/call", "add", "error"): 3,
    ("flowcore.request.duration", "tools", "tools/call", "fail", "result"): 1,
    ("flowcore.request.duration", "tools", "tools/call", "wait", "expired"): 1,
    ("flowcore.request.duration", "tools", "tools/call", "wait", "cancelled"): 4,
    ("flowcore.request.duration", "tools", "tools/call", "_other", "error"): 5,
    ("flowcore.request.duration", "limited", "tools/call", "echo", "result"): 2,
    ("flowcore.request.duration", "limited", "tools/call", "echo", "error"): 4,
    ("flowcore.request.duration", "flaky", "tools/call", "down", "error"): 3,
    ("flowcore.request.duration", "flaky", "tools/call", "up", "result"): 1,
    ("flowcore.agent.calls", "tools"): 10,
    ("flowcore.agent.calls", "flaky"): 4,
    ("flowcore.agent.calls_ended", "tools", "succeeded"): 4,
    ("flowcore.agent.calls_ended", "tools", "expired"): 1,
    ("flowcore.agent.calls_ended", "tools", "cancelled"): 4,
    ("flowcore.agent.calls_ended", "tools", "refused"): 1,
    ("flowcore.agent.calls_ended", "flaky", "succeeded"): 1,
    ("flowcore.pool.refused", "tools"): 1,
    ("flowcore.pool.waits", "tools"): 2,
    ("flowcore.pool.queue.length", "tools"): 0,
    ("flowcore.pool.queue.limit", "tools"): 2,
    ("flowcore.pool.workers", "tools", "free"): 1,
    ("flowcore.agent.state", "tools", "idle"): 1,
    ("flowcore.agent.state", "tools", "failed"): 0,
    ("flowcore.guard.refused", "rates", "agent"): 4,
    ("flowcore.guard.refused", "breaker", "breaker"): 2,
    ("flowcore.breaker.state", "breaker", "flaky", "forced open"): 1,
    ("flowcore.breaker.state", "breaker", "flaky", "closed"): 0,
    ("flowcore.breaker.state", "breaker", "tools", "closed"): 1,
    ("flowcore.breaker.refused", "breaker", "flaky"): 2,
    ("flowcore.node.info", "counted", version()): 1,
    ("flowcore.node.ready",): 1,
    ("flowcore.metrics.failures",): None,
    ("flowcore.edge.requests", "api"): 0,
}


@pytest.fixture
def flaky(tmp_path: pathlib.Path) -> dict[str, Any]:
    """The configuration, with an agent that fails as if something behind it did."""
    (tmp_path / "flaky.py").write_text(
        "from flowcore.errors import UpstreamFailure\n"
        "from flowcore.native import tool\n"
        "@tool(read_only=True)\n"
        "async def down() -> str:\n"
        "    raise UpstreamFailure('it is down')\n"
        "@tool()\n"
        "async def up() -> str:\n"
        "    return 'up'\n"
    )
    agent = {"type": "python", "target": str(tmp_path / "flaky.py")}
    return {**CONFIG, "agent": {**CONFIG["agent"], "flaky": agent}}


async def work(flow: Flow) -> None:
    """What is counted above."""
    for _ in range(3):
        assert await call(flow, "tools.add", a=1, b=2) == "done"
    assert await call(flow, "tools.fail", how="tool") == "failed"  # which is a result
    for _ in range(2):
        assert await call(flow, "tools.add", a="one", b=2) == "SchemaViolation"
    with pytest.raises(DeadlineExceeded):
        await flow.call("tools.wait", {"seconds": 60}, deadline=0.2)
    with trio.move_on_after(0.2):
        await flow.call("tools.wait", {"seconds": 60})
    for came in ("done", "done", *["Overloaded"] * 4):
        assert await call(flow, "limited.echo", text="a") == came
    await full(flow)
    for number in range(5):
        with pytest.raises(UnknownTarget):
            await flow.submit(request("tools", f"none-{number}"))
    with pytest.raises(UnknownTarget):
        await flow.submit(request("nobody", "none"))
    assert await call(flow, "flaky.up") == "done"
    assert await call(flow, "flaky.down") == "UpstreamFailure"
    flow.guard("breaker").act("open", {"agent": "flaky"})
    for _ in range(2):
        assert await call(flow, "flaky.down") == "AgentUnavailable"


def request(agent: str, tool: str) -> Envelope:
    return Envelope(
        agent=agent, name=tool, params=tool_params(tool, {}), deadline=trio.current_time() + 10
    )


async def test_every_form_says_what_happened(flaky: dict[str, Any]) -> None:
    async with open_flow(flaky) as flow, open_client() as client:
        await flow.wait_settled()
        await work(flow)
        snapshot = await flow.metrics.snapshot()
        told = {
            (name, *labels): number.count if isinstance(number, Distribution) else number
            for name, labels, number in points(snapshot)
        }
        for key, wanted in EXPECTED.items():
            assert told.get(key) == wanted, key
        assert parsed(prometheus_text(snapshot)) == flattened(snapshot)
        assert parsed(open_metrics_text(snapshot)) == flattened(snapshot)
        assert sent(Messages(flow.telemetry.resource).metrics(snapshot), snapshot) == flattened(
            snapshot
        )

        url = f"{flow.endpoints['api'][0]}/metrics"
        for accept in (b"", b"application/openmetrics-text; version=1.0.0, text/plain;q=0.5"):
            before = await flow.metrics.snapshot()
            answer = await client.request("GET", url, headers=[(b"accept", accept)])
            after = await flow.metrics.snapshot()
            assert (b"openmetrics" in answer.headers[b"content-type"]) is bool(accept)
            fetched = parsed(answer.body.decode())
            assert fetched.keys() >= flattened(before).keys()
            for series, least in counters(before).items():
                assert least <= fetched[series] <= counters(after)[series], series


def points(snapshot: Snapshot) -> Iterator[tuple[str, tuple[str, ...], Number]]:
    for family in snapshot.families:
        for labels, number in family.points:
            yield family.metric.name, labels, number


def counters(snapshot: Snapshot) -> Series:
    """What never goes back."""
    growing = [one for one in snapshot.families if one.metric.kind is not Kind.GAUGE]
    return flattened(attrs.evolve(snapshot, families=tuple(growing)))


async def test_who_asks_for_what_there_is_not_makes_no_series() -> None:
    async with open_flow(CONFIG) as flow:
        await flow.wait_settled()

        async def series() -> set[Any]:
            return {(name, labels) for name, labels, _ in points(await flow.metrics.snapshot())}

        async def ask(numbers: range, method: str) -> None:
            for number in numbers:
                envelope = request("tools", f"none-{number}")
                envelope.method = method
                with pytest.raises(CallError):
                    await flow.submit(envelope)

        for method in ("tools/call", "resources/read", "prompts/get", "nothing/known"):
            await ask(range(1), method)
        before = await series()
        for method in ("tools/call", "resources/read", "prompts/get", "nothing/known"):
            await ask(range(1, 150), method)
        await ask(range(1000, 1150), "nothing/else")
        assert await series() == before
        snapshot = await flow.metrics.snapshot()
        for method, name in (
            ("tools/call", "_other"),
            ("resources/read", ""),
            ("prompts/get", "_other"),
            ("_other", ""),
        ):
            found = snapshot.value("flowcore.request.duration", "tools", method, name, "error")
            assert isinstance(found, Distribution)
            assert found.count == (300 if method == "_other" else 150)


def test_only_so_many_tools_have_series_of_their_own() -> None:
    from flowcore.requests.durations import MOST, RequestDurations

    durations = RequestDurations(lambda agent, method, name: True)
    for number in range(MOST + 500):
        durations.record("one", "tools/call", f"tool-{number}", 0, 0.001)
    found = [reading for part in durations.parts() for reading in part()]
    assert len(found) == MOST + 1
    others = [one.value for one in found if one.labels[2] == "_other"]
    assert [one.count for one in others if isinstance(one, Distribution)] == [500]


async def test_an_agent_that_comes_and_goes_counts_on(tmp_path: pathlib.Path) -> None:
    """An agent that is replaced by a reload counts from zero; what is told does not go back."""
    path = tmp_path / "flow.toml"
    text = f"""
[agent.tools]
type = "python"
target = "{AGENTS}"
pool = {{ min = 1, max = 1 }}
"""
    path.write_text(text)
    async with open_flow(path) as flow:
        await flow.wait_settled()
        for times in (2, 3):
            for _ in range(times):
                assert await call(flow, "tools.add", a=1, b=2) == "done"
            before = counters(await flow.metrics.snapshot())
            path.write_text(text.replace("max = 1", f"max = {times}"))
            reloaded = await flow.reload(path)
            assert reloaded.applied
            after = counters(await flow.metrics.snapshot())
            assert not [key for key, number in before.items() if after.get(key, number) < number]
        snapshot = await flow.metrics.snapshot()
        assert snapshot.value("flowcore.agent.calls", "tools") == 5
