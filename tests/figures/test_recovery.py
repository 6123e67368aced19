"""The benchmark of recovery runs, small."""

from __future__ import annotations

import pytest

from benchmarks import recovery


def test_the_family_measures_a_start_over_a_log_and_what_is_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FLOW_RECOVERY_MB", "20")
    monkeypatch.setenv("FLOW_RECOVERY_COMMANDS", "300")
    figures = {one.name: one for one in recovery.run()}
    cold = next(one for name, one in figures.items() if name.startswith("a log of 20 MB"))
    anew = next(one for name, one in figures.items() if name.startswith("the same with no"))
    for back in (cold, anew):
        assert back.value
        assert back.bar == 10.0
    for what in ("memory", "disk"):
        assert figures[f"{what} after 300 commands over after a tenth"].value
    assert {"node", "a log", "memory", "disk"} <= recovery.setup().keys()
