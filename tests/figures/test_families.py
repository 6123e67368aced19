"""What the families start: configurations that are right, and peers named where they are not here."""

from __future__ import annotations

import pathlib

import attrs
import pytest

from benchmarks.contenders import CASES, CONTENDERS, NODE, OURS, Task, flowserve_config, versions
from benchmarks.edge import setup
from benchmarks.load import ERAS
from benchmarks.start import MANY_TOOLS, quick_start_alone
from support.node import ROOT, run


def _task(case: str, era: str, folder: pathlib.Path) -> Task:
    return Task(case=case, era=era, port=7300, url="http://127.0.0.1:7400/mcp", folder=folder)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("era", ERAS)
def test_flowserve_is_measured_with_a_right_configuration(
    case: str, era: str, tmp_path: pathlib.Path
) -> None:
    assert _check(flowserve_config(_task(case, era, tmp_path)), tmp_path) == 0


def test_the_quick_start_without_upstreams_is_right(tmp_path: pathlib.Path) -> None:
    text = quick_start_alone()
    assert "[agent.notes]" in text
    assert 'type = "mcp"\ncommand' not in text
    assert _check(text, tmp_path) == 0
    assert _check(MANY_TOOLS.format(port=7300), tmp_path) == 0


def test_every_peer_has_a_command_for_what_it_does(tmp_path: pathlib.Path) -> None:
    for contender in CONTENDERS:
        for case in contender.cases:
            assert all(contender.command(_task(case, ERAS[0], tmp_path)))


def test_a_peer_that_is_not_here_or_not_of_the_era_is_named() -> None:
    gone = attrs.evolve(CONTENDERS[1], needs=NODE / "nowhere")
    assert gone.hindrance(ERAS[0]) == "is not installed: .node/node_modules/nowhere is missing"
    old = attrs.evolve(OURS, eras=ERAS[:1])
    assert old.hindrance(ERAS[1]) == "does not speak 2026-07-28"
    assert OURS.hindrance(ERAS[1]) is None


def test_the_setup_names_the_configuration_and_the_peers() -> None:
    said = setup()
    assert {f"flowserve, {case}" for case in CASES} <= set(said)
    assert said["peers"] == versions()
    assert not any(str(ROOT) in text for text in said.values())


def _check(text: str, folder: pathlib.Path) -> int:
    path = folder / "flow.toml"
    path.write_text(text)
    done = run("flowserve", "--check-config", "--config", str(path))
    assert done.returncode == 0, done.stderr
    return done.returncode
