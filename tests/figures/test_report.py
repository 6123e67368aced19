"""What benchmarks write: one schema, and bars that cannot be missed in silence."""

from __future__ import annotations

import importlib
import json
import pathlib

import msgspec
import pytest

from benchmarks.__main__ import FAMILIES
from benchmarks.report import (
    RESULTS,
    Figure,
    Peer,
    Report,
    absent,
    as_table,
    beside,
    main,
    read,
    write,
)


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_the_kept_results_are_of_the_schema(path: pathlib.Path) -> None:
    report = read(path)
    assert report.results
    names = [one.name for one in report.results]
    assert len(names) == len(set(names))
    assert path.stem in FAMILIES
    for one in report.results:
        assert (one.met is None) == (one.bar is None)
        for peer in one.peers.values():
            assert (peer.value is None) == bool(peer.why)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_can_be_run(family: str) -> None:
    assert callable(importlib.import_module(f"benchmarks.{family}").run)


def test_results_are_those_of_families() -> None:
    assert {path.stem for path in RESULTS.glob("*.json")} <= set(FAMILIES)


def test_a_bar_is_met_missed_or_not_there() -> None:
    assert Figure(name="a", value=1, unit="s").met is None
    assert Figure(name="a", value=2, unit="s", bar=2).met is True
    assert Figure(name="a", value=3, unit="s", bar=2).met is False
    assert Figure(name="a", value=1, unit="/s", bar=2, least=True).met is False


def test_what_could_not_be_measured_counts_as_missed_and_says_why() -> None:
    figure = Figure(
        name="their CPU over ours",
        value=None,
        unit="x",
        bar=5,
        least=True,
        peers={"them": absent("is not installed")},
    )
    assert figure.met is False
    table = as_table([figure])
    assert "MISSED" in table
    assert "is not installed" in table


def test_a_ratio_is_theirs_over_ours_round_by_round() -> None:
    assert beside([2.0, 2.0, 8.0], [5.0, 4.0, 8.0]) == Peer(5.0, 2.0)


def test_a_report_is_written_as_it_is_read(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.report.RESULTS", tmp_path)
    figure = Figure(name="a", value=1.5, unit="µs", bar=2, peers={"b": beside([1.5], [3.0])})
    path = write("family", [figure], 0.25, {"how": "so"})
    plain = json.loads(path.read_text())
    assert plain["results"] == [
        {
            "name": "a",
            "value": 1.5,
            "unit": "µs",
            "bar": 2,
            "met": True,
            "peers": {"b": {"value": 3.0, "ratio": 2.0}},
        }
    ]
    assert set(plain) == {"commit", "machine", "load", "results", "setup"}
    assert read(path).setup == {"how": "so"}
    assert main([path]) == 0
    del plain["load"]
    path.write_text(json.dumps(plain))
    with pytest.raises(msgspec.ValidationError, match="load"):
        msgspec.json.decode(path.read_bytes(), type=Report)
    assert main([path]) == 1
    assert "load" in capsys.readouterr().err
