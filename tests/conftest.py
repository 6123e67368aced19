"""What holds for every test: in CI, where FLOW_NO_SKIPS is set, a skip is a failure."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from hypothesis import settings

settings.register_profile("default", deadline=None)
settings.load_profile("default")


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
    return report
