"""What holds for every test: in CI, where FLOW_NO_SKIPS is set, a skip is a failure, and a test that prints,
logs or leaves in a file the secret of this run (`support.canary`) has failed, whatever else it shows.

Lines are counted where tests go through the code piece by piece. Where the whole is run again (the pages, the
attacks, the simulations) they are not: that would take a third more time, and say nothing new. Nor are those
of processes that tests start, but where these are what is tested: each would take 0.3 s more."""

from __future__ import annotations

import os
import pathlib
import sys
from collections.abc import Generator

import pytest
from hypothesis import settings

from support import canary
from support.untraced import COUNTED

settings.register_profile("default", deadline=None)
settings.load_profile("default")

TESTS = pathlib.Path(__file__).parent
UNCOUNTED = (
    "browser",
    "conformance",
    "consensus/bft/test_simulation.py",
    "consensus/raft/test_simulation.py",
    "docs",
    "figures",
    "packaging",
    "plugins/flow_guards/test_breaker_simulation.py",
    "plugins/flow_membership/test_campaign.py",
    "plugins/flow_membership/test_simulated.py",
    "security",
    "swarm/test_clients.py",
    "swarm/test_hosts.py",
    "swarm/test_processes.py",
    "swarm/test_raft_processes.py",
    "testing",
)

COUNTED_CHILDREN = ("cli", "processes", "supervise")
"""Where the lines of processes that are started count as well."""
FIRST = (
    "browser",
    "cli",
    "swarm",
    "docs",
    "consensus",
    "packaging",
    "figures",
    "durable",
    "testing",
)
"""Where a file takes longest. Were they last, one processor would have nothing to do at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def turn(item: pytest.Item) -> int:
        folder = item.path.relative_to(TESTS).parts[0]
        return FIRST.index(folder) if folder in FIRST else len(FIRST)

    items.sort(key=turn)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    where = item.path.relative_to(TESTS).as_posix()
    running = sys.modules.get("coverage")
    counting = running and running.Coverage.current()
    if not counting or where.startswith(COUNTED_CHILDREN):
        return (yield)
    told = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(COUNTED)}
    uncounted = where.startswith(UNCOUNTED)
    if uncounted:
        counting.stop()
    try:
        return (yield)
    finally:
        if uncounted:
            counting.start()
        os.environ.update(told)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if (
        report.skipped
        and not hasattr(report, "wasxfail")
        and os.environ.get("FLOW_NO_SKIPS") == "1"
    ):
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid} was skipped, and FLOW_NO_SKIPS forbids it: {report.longrepr}"
        )
    if report.passed and (leak := _leak(item, report)):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: {leak}"
    return report


def _leak(item: pytest.Item, report: pytest.TestReport) -> str:
    """Where the secret of this run was left, if it was; empty if nowhere."""
    for name, text in report.sections:
        if canary.is_in(text):
            return f"the canary secret is in {name.lower()}"
    folder = (getattr(item, "funcargs", None) or {}).get("tmp_path")
    if report.when == "teardown" and isinstance(folder, pathlib.Path):
        try:
            canary.check_folder(folder)
        except AssertionError as error:
            return str(error)
    return ""
