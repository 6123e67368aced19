"""The page on simulation: each program on it runs as it stands, and prints what it should."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest

from support.node import ROOT

PAGE = (ROOT / "docs" / "simulation.md").read_text()
PROGRAMS = dict(re.findall(r"```python\n# (\w+\.py): .*\n((?:.*\n)*?)```", PAGE))
SAID = {
    "counting.py": r"\d+ steps, \d+ of \d+ messages lost",
    "judging.py": r"(?s)no order explains what was seen of 'x'; .*two read\(\) -> None",
    "linking.py": r"alpha says hello at \d\.\d s\nbeta is lost: the connection was closed",
    "talking.py": r"beta is gone",
}


def test_every_program_of_the_page_is_known() -> None:
    assert PROGRAMS.keys() == SAID.keys()


@pytest.mark.parametrize("name", SAID)
def test_it_runs(name: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / name).write_text(PROGRAMS[name])
    done = subprocess.run(
        [sys.executable, "-W", "error", name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(SAID[name], done.stdout.strip())
