"""What a metric is, how it is called, and what becomes of readings."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import pytest
import trio

from flowcore.telemetry import (
    Distribution,
    Histogram,
    Kind,
    Metric,
    Metrics,
    Reading,
    Spread,
    counter,
    gauge,
    histogram,
    open_metrics_text,
    prometheus_text,
    total,
)

DONE = counter("mine.work.done", "{piece}", "Pieces that are done.", "who")
DEPTH = gauge("mine.depth", "By", 'How "deep"\nit \\ is.')
TOOK = histogram("mine.took", "s", "How long it took.", "who")


def metrics() -> Metrics:
    return Metrics("alpha", lambda: "1.2.3")


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        (counter("a.b", "{x}", "."), "a_b_total"),
        (counter("a.time", "s", "."), "a_time_seconds_total"),
        (counter("a.io", "By", "."), "a_io_bytes_total"),
        (counter("a.shares", "1", "."), "a_shares_total"),
        (gauge("a.share", "1", "."), "a_share_ratio"),
        (gauge("a.seconds", "s", "."), "a_seconds"),
        (gauge("a.b_c.d", "{x}", "."), "a_b_c_d"),
        (histogram("a.took", "s", "."), "a_took_seconds"),
    ],
)
def test_names_for_prometheus_follow_from_those_of_opentelemetry(metric: Metric, name: str) -> None:
    assert metric.prometheus == name


@pytest.mark.parametrize(
    ("name", "unit", "words", "labels"),
    [
        ("one", "s", "x", ()),
        ("A.b", "s", "x", ()),
        ("a.b-c", "s", "x", ()),
        ("a.b", "ms", "x", ()),
        ("a.b", "", "x", ()),
        ("a.b", "s", " ", ()),
        ("a.b", "s", "x", ("le",)),
        ("a.b", "s", "x", ("9",)),
        ("a.b", "s", "x", ("who", "who")),
    ],
)
def test_a_metric_that_is_none_is_refused(
    name: str, unit: str, words: str, labels: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match=r"expected|label"):
        Metric(name, Kind.GAUGE, unit, words, labels)


def test_attributes_are_those_of_the_conventions_or_flowcores_own() -> None:
    metric = gauge("a.b", "s", "x", "agent", "tool", "error", "method")
    assert metric.attributes == (
        "flowcore.agent",
        "gen_ai.tool.name",
        "error.type",
        "mcp.method.name",
    )


async def test_what_is_read_is_what_both_texts_say() -> None:
    one, took = metrics(), Histogram()
    for seconds in (0.0004, 0.0005, 0.0006, 3.0, 999.0):
        took.record(seconds)

    def read() -> Iterator[Reading]:
        yield DONE.of(3, 'a"b\\c\nd')
        yield DONE.of(0, "")
        yield DEPTH.of(1.5)
        yield DEPTH.of(None)
        yield TOOK.of(took.distribution(), "x")

    one.add("mine", lambda: (read,))
    snapshot = await one.snapshot()
    assert (snapshot.node, snapshot.version) == ("alpha", "1.2.3")
    assert snapshot.value("mine.work.done", 'a"b\\c\nd') == 3
    text = prometheus_text(snapshot)
    for line in (
        "# TYPE mine_work_done_total counter",
        'mine_work_done_total{who="a\\"b\\\\c\\nd"} 3',
        'mine_work_done_total{who=""} 0',
        '# HELP mine_depth_bytes How "deep"\\nit \\\\ is.',
        "mine_depth_bytes 1.5",
        'mine_took_seconds_bucket{who="x",le="0.0005"} 2',
        'mine_took_seconds_bucket{who="x",le="0.001"} 3',
        'mine_took_seconds_bucket{who="x",le="5.0"} 4',
        'mine_took_seconds_bucket{who="x",le="200.0"} 4',
        'mine_took_seconds_bucket{who="x",le="+Inf"} 5',
        f'mine_took_seconds_sum{{who="x"}} {took.distribution().sum!r}',
        'mine_took_seconds_count{who="x"} 5',
        'flowcore_node_info{node="alpha",service_version="1.2.3"} 1',
    ):
        assert line in text.splitlines(), line
    other = open_metrics_text(snapshot)
    assert other.endswith("# EOF\n")
    assert '# HELP mine_depth_bytes How \\"deep\\"\\nit \\\\ is.' in other
    assert "# UNIT mine_depth_bytes bytes" in other
    assert "# TYPE mine_work_done counter" in other
    assert 'mine_work_done_total{who=""} 0' in other


async def test_counters_never_go_back_when_who_counts_begins_anew() -> None:
    one, counted, took = metrics(), [0], [Histogram()]
    one.add(
        "mine", lambda: (lambda: [DONE.of(counted[0], "x"), TOOK.of(took[0].distribution(), "x")],)
    )
    told = []
    for value in (0, 5, 7, 2, 2, 0, 4):
        if value < counted[0]:
            took[0] = Histogram()
        counted[0] = value
        for _ in range(value - took[0].count):
            took[0].record(0.001)
        snapshot = await one.snapshot()
        spread = snapshot.value("mine.took", "x")
        assert isinstance(spread, Distribution)
        assert spread.count == sum(spread.counts) == snapshot.value("mine.work.done", "x")
        told.append(snapshot.value("mine.work.done", "x"))
    assert told == [0, 5, 7, 9, 9, 9, 13]


async def test_one_components_mistake_leaves_the_others_metrics_whole(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = metrics()
    wrong = [
        lambda: [DONE.of(1)],  # a label is missing
        lambda: [DONE.of(-1, "x")],
        lambda: [DONE.of(math.inf, "x")],
        lambda: [TOOK.of(3, "x")],
        lambda: [DEPTH.of(Spread().distribution())],
        lambda: 1 / 0,
    ]
    for number, read in enumerate(wrong):
        one.add(f"wrong{number}", lambda read=read: (read,))  # type: ignore[misc]
    stop = one.add("right", lambda: (lambda: [DONE.of(1, "right")],))
    one.add("also", lambda: (lambda: [DONE.of(2, "right"), DEPTH.of(math.nan)],))
    for times in (1, 2):
        snapshot = await one.snapshot()
        assert snapshot.value("mine.work.done", "right") == 3  # two of the same labels are added
        assert snapshot.family("mine.depth") is None
        family = snapshot.family("flowcore.metrics.failures")
        assert family is not None
        assert dict(family.points) == {(f"wrong{number}",): times for number in range(len(wrong))}
    assert len([1 for line in caplog.records if "cannot be read" in line.message]) == len(wrong)
    stop()
    assert (await one.snapshot()).value("mine.work.done", "right") == 5  # 3, and 2 counted anew


async def test_points_are_bounded_and_what_is_left_out_is_counted() -> None:
    one = metrics()
    one.add("mine", lambda: (lambda: [DONE.of(1, str(number)) for number in range(20_500)],))
    snapshot = await one.snapshot()
    family = snapshot.family("mine.work.done")
    assert family is not None
    assert len(family.points) == 20_000
    assert snapshot.value("flowcore.metrics.left_out") == 500


async def test_who_asks_while_one_is_taken_is_given_the_same() -> None:
    one = metrics()
    taken = []

    async def ask() -> None:
        taken.append(await one.snapshot())

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)
    assert len(taken) == 5
    assert len({id(snapshot) for snapshot in taken}) == 1
    assert taken[0].value("flowcore.metrics.snapshots") == 1


async def test_who_gives_up_while_one_is_taken_leaves_it_to_the_others() -> None:
    one = metrics()
    scopes = [trio.CancelScope() for _ in range(3)]
    taken: list[int] = []

    async def ask(number: int) -> None:
        with scopes[number]:
            await one.snapshot()
            taken.append(number)

    def cancel() -> list[Reading]:
        scopes[0].cancel()
        time.sleep(
            0.003
        )  # longer than a slice: the next part waits for a turn, and is cancelled there
        return []

    one.add("mine", lambda: (cancel, cancel))
    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(ask, number)
    assert set(range(3)) - {scopes.index(one) for one in scopes if one.cancelled_caught} == set(
        taken
    )
    assert len(taken) >= 2


def test_buckets_are_exact_and_several_add_up() -> None:
    histograms = [Histogram() for _ in range(3)]
    for number, one in enumerate(histograms, 1):
        for step in range(100 * number):
            one.record(step / 1000)
    all_ = total(histograms).distribution()
    assert all_.count == sum(all_.counts) == 600
    assert all_.bounds[0] == 0.0005
    within = all_.counts[: all_.bounds.index(0.1) + 1]
    assert sum(within) == sum(min(101, 100 * number) for number in (1, 2, 3))


def test_half_a_surrogate_pair_does_not_stop_a_scrape() -> None:
    from flowcore.telemetry import Family, Snapshot

    snapshot = Snapshot(
        node="a",
        version="1",
        started=0.0,
        time=1.0,
        families=(Family(DONE, ((("\ud800é",), 1),)),),
    )
    assert 'mine_work_done_total{who="?é"} 1' in prometheus_text(snapshot).encode().decode()
