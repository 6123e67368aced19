"""A folder of wrong configurations, each with the exact report that a person gets.

FLOW_UPDATE_REPORTS=1 writes the reports anew; read the difference before you commit it.
"""

from __future__ import annotations

import os
import pathlib

import pytest

from flowcore.assembly import read
from flowcore.config import ConfigError

FOLDER = pathlib.Path(__file__).parent / "wrong"
CASES = sorted(FOLDER.glob("*.toml"))


def report_of(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is wrong with a file, as flowserve says it."""
    monkeypatch.chdir(path.parent)
    monkeypatch.delenv("FLOWCORE_TEST_UNSET", raising=False)
    name = pathlib.Path(path.name)
    try:
        read(name)
    except ConfigError as error:
        return f"{error}\n".replace(f"{path.parent}/", "")
    return "nothing is wrong\n"


def test_there_are_many_cases() -> None:
    assert len(CASES) >= 60


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_wrong_configuration_gets_exactly_its_report(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = path.with_suffix(".report")
    report = report_of(path, monkeypatch)
    if os.environ.get("FLOW_UPDATE_REPORTS") == "1":
        expected.write_text(report)
    assert report == expected.read_text()
    assert report != "nothing is wrong\n"
