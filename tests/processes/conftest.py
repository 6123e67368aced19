"""Where coverage is measured, it is measured in the launcher program too."""

from __future__ import annotations

import sys

import coverage
import pytest

from flowcore.processes import connection

MEASURED = """
import runpy, sys
import coverage
coverage.process_startup()
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(autouse=True)
def measured_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """The launcher usually runs without site-packages, where nothing could measure it."""
    if coverage.Coverage.current() is not None:
        monkeypatch.setattr(connection, "PYTHON", (sys.executable, "-c", MEASURED))
