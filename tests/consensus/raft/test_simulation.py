"""Raft in a world that fails: whatever happens, what must hold holds, and what is planted is found.

What it has found in the engine is planted again, as mutants. A seed that fails is looked at with
`PYTHONPATH=tests python -m support.raft_world --trace SEED`.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence

import pytest

from flowcore.state import ClockTold, StateClock, agreed
from support.raft_world.build import shipped
from support.raft_world.campaign import CAMPAIGN
from support.raft_world.mutants import MUTANTS, Mutant
from support.raft_world.play import RaftRun, play
from support.raft_world.state import StateMachine
from support.raft_world.timed import TimedRun
from support.simulation.ends import Broken
from support.untraced import TESTS, UNTRACED

SEEDS = 500
QUICK = 60
"""Seeds that most mutants need at most, which are looked at here; the rest are found in long runs."""


def raft_world(*words: object) -> str:
    """What the program of `make simulate` says, run as there: on all processors, and not traced."""
    done = subprocess.run(
        [sys.executable, "-m", "support.raft_world", *map(str, words)],
        env=UNTRACED | {"PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_holds() -> None:
    assert f"0 of {SEEDS} seeds failed" in raft_world(SEEDS)


def test_one_seed_is_one_run() -> None:
    runs = [RaftRun(7, trace=10**6) for _ in range(2)]
    outcomes = [run.play() for run in runs]
    assert outcomes[0] == outcomes[1]
    assert list(runs[0].world.lines()) == list(runs[1].world.lines())


def test_some_runs_have_the_state_that_is_shipped() -> None:
    runs = [RaftRun(seed) for seed in range(100)]
    real = [run for run in runs if run.policy.machine is StateMachine]
    assert len(real) >= 3
    for run in real[:3]:
        assert run.play().committed > 0


@pytest.mark.parametrize("seed", [0, 3, 23, 170, 1257])
def test_nobody_holds_a_lease_while_another_does_though_some_clocks_are_set_wrong(
    seed: int,
) -> None:
    run = TimedRun(seed)
    run.play()
    assert sum(holder.held for holder in run.holders) > 1


def test_a_clock_that_is_followed_when_it_is_set_ends_leases_early(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    believe = StateClock.believe

    def followed(
        clock: StateClock,
        offset: float,
        others: Sequence[float] = (),
        reckoned: Sequence[float] = (),
        *,
        compared: bool = False,
    ) -> None:
        del compared
        believe(clock, offset, others, reckoned)

    monkeypatch.setattr("support.raft_world.timed.PAUSE", 30.0)
    TimedRun(130).play()
    monkeypatch.setattr(StateClock, "believe", followed)
    with pytest.raises(Broken, match="holds the lease"):
        TimedRun(130).play()


def test_each_going_on_alone_after_all_were_down_ends_leases_early(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two that hear each other alone take the wall clock that is behind, and each its own time."""

    def alone(
        clock: StateClock, others: Sequence[ClockTold], voters: int, *, patient: bool
    ) -> None:
        del patient
        if clock.settled.is_set() or 2 * (1 + len(others)) > voters:
            mine = clock.wall()
            times = [one.time for one in others if one.time is not None]
            offset = agreed([one.wall - mine for one in others])
            clock.believe(offset, times, compared=True)

    monkeypatch.setattr(StateClock, "hear", alone)
    with pytest.raises(Broken, match="holds the lease"):
        TimedRun(1257).play()


def test_the_world_is_as_bad_as_it_is_meant_to_be() -> None:
    """Faults of all kinds, many leaders, and things get done."""
    faults: Counter[str] = Counter()
    elections = operations = committed = 0
    for seed in range(40):
        outcome = play(seed)
        faults.update(outcome.faults)
        elections += outcome.elections
        operations += outcome.operations
        committed += outcome.committed
    assert set(faults) == {
        "crash", "outage", "pause", "partition", "isolate", "cut", "slow", "sync", "full", "skew"
    }  # fmt: skip
    assert elections > 4 * 40
    assert operations > 20 * 40
    assert committed > 20 * 40


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.name.replace(" ", "-"))
def test_a_mutant_can_be_built(mutant: Mutant) -> None:
    """The text that is replaced is there once: when the engine changes, so must its mutants."""
    assert mutant.build() != shipped()


def test_faults_that_are_planted_are_found() -> None:
    quick = sum(one.quick for one in MUTANTS)
    assert f"{quick} of {quick} mutants are found" in raft_world("--mutants", "--quick", QUICK)


@pytest.mark.long
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.name.replace(" ", "-"))
def test_every_fault_that_is_planted_is_found_within_2000_seeds(mutant: Mutant) -> None:
    assert CAMPAIGN.killed(mutant, 2000) is not None
