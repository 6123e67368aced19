"""Where coverage is measured, it is measured in the launcher program and in templates too."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import coverage
import pytest

from flowcore.processes import connection, template

LAUNCHER = """
import runpy, sys
import coverage
coverage.process_startup()
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

TEMPLATE = """
import os, runpy, sys
sys.path.append({site!r})
import coverage
os.environ[{variable!r}] = {value!r}
coverage.process_startup()
del os.environ[{variable!r}]
sys.path.remove({site!r})
runpy.run_path({program!r}, run_name="__main__")
"""
VARIABLE = "COVERAGE_PROCESS_CONFIG"


@pytest.fixture(autouse=True)
def measured_programs(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """They run without site-packages, where nothing could measure them, or with a small environment."""
    if coverage.Coverage.current() is None:
        return
    monkeypatch.setattr(connection, "PYTHON", (sys.executable, "-c", LAUNCHER))
    program = tmp_path_factory.mktemp("measured") / "template_program.py"
    program.write_text(
        TEMPLATE.format(
            site=str(Path(coverage.__file__).parents[1]),
            variable=VARIABLE,
            value=os.environ.get(VARIABLE, ""),
            program=str(template.PROGRAM),
        )
    )
    monkeypatch.setattr(template, "PROGRAM", program)
