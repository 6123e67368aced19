"""Byzantine agreement among liars, in a world that fails: what must hold holds, and what is planted is found.

What it has found in the engine is planted again, as mutants. A seed that fails is looked at with
`PYTHONPATH=tests python -m support.bft_world --trace SEED`.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from support.bft_world import timed
from support.bft_world.build import shipped
from support.bft_world.campaign import CAMPAIGN
from support.bft_world.keys import RealRing
from support.bft_world.mutants import MUTANTS, Mutant
from support.bft_world.play import BftRun, Broken
from support.bft_world.strategies import STRATEGIES
from support.bft_world.timed import TimedRun
from support.untraced import TESTS, UNTRACED

SEEDS = 200
TIMED = 8
"""Seeds of the world in which commands have times."""
ONCE_FAILED = (
    1098,  # a state was taken in while a block was written: the certificate had moved
    1219,  # a torn record on a full disk: to cut it off was to write
    3000505,  # a leader told one of three another block: what the others were locked on cost another view
    3000582,  # a write that found no room had the certificate of what was handed out
    3002210,  # a state that was asked for was gone, and a later one was not taken in its place
)
QUICK = 20
"""Seeds within which some mutants are found, which are looked for here; the rest are found in long runs."""


def bft_world(*words: object) -> str:
    """What the program of `make simulate-bft` says, run as there: on all processors, and not traced."""
    done = subprocess.run(
        [sys.executable, "-m", "support.bft_world", *map(str, words)],
        env=UNTRACED | {"PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_holds_and_the_world_is_as_bad_as_it_is_meant_to_be() -> None:
    """Lies and faults of all kinds, and things get done."""
    said = bft_world(SEEDS)
    assert f"0 of {SEEDS} seeds failed" in said
    for strategy in STRATEGIES:
        assert f" lies of a {strategy}" in said, f"nobody was a {strategy}"
        assert f" 0 lies of a {strategy}" not in said
    for fault in (
        "crash",
        "cut",
        "full",
        "isolate",
        "outage",
        "partition",
        "pause",
        "skew",
        "slow",
        "sync",
    ):
        assert f" {fault}" in said
    counts = {name: int(count.replace(",", "")) for count, name in _counted(said)}
    assert counts["heights"] > 10 * SEEDS
    assert counts["operations"] > 10 * SEEDS
    assert counts["views"] > SEEDS
    assert counts["contradictions heard"] > SEEDS
    assert counts["liars accused"] > SEEDS // 10
    assert counts["states taken in"] > 0


def _counted(said: str) -> list[tuple[str, str]]:
    line = next(one for one in said.splitlines() if " runs, " in one)
    pairs = [one.split(" ", 1) for one in line.partition(";")[0].split(", ")]
    return [(count, name) for count, name in pairs]


def test_no_liar_draws_the_time_ahead_or_has_decided_what_is_no_command() -> None:
    """It asks for both, and proposes both where it leads: time and again, and nothing waits for it."""
    told = sum(TimedRun(seed).play().told["stamper"] for seed in range(TIMED))
    assert told > 10 * TIMED


@pytest.mark.parametrize(
    "mutant", [one for one in timed.MUTANTS if one.quick], ids=lambda one: one.name
)
def test_where_nobody_looks_at_what_is_asked_for_a_liar_does(mutant: Mutant) -> None:
    with pytest.raises(Broken, match=r"^(time|validity): "):
        for seed in range(TIMED):
            TimedRun(seed, mutant.build()).play()


def test_one_seed_is_one_run() -> None:
    runs = [BftRun(7, trace=10**6) for _ in range(2)]
    outcomes = [run.play() for run in runs]
    assert outcomes[0] == outcomes[1]
    assert list(runs[0].world.lines()) == list(runs[1].world.lines())


def test_some_runs_are_signed_for_real() -> None:
    run = next(one for one in map(BftRun, range(400)) if isinstance(one.oracle.ring, RealRing))
    assert run.play().heights > 0


def test_more_liars_than_may_lie_break_it_and_so_the_check_can_fail() -> None:
    """A leader that tells each half another block, and one that votes as each half does: f + 1 of four."""
    lies = ("equivocating leader", "yes-sayer")
    broken: list[int] = []
    for seed in range(60):
        if not broken and BftRun(seed).count == 4:
            try:
                BftRun(seed, liars=2, lies=lies).play()
            except Broken as error:
                if str(error).startswith("agreement"):
                    broken.append(seed)
    assert broken, "two liars of four never break agreement"
    BftRun(broken[0], liars=1, lies=lies).play()


@pytest.mark.parametrize("name", ["no lock", "any proof opens the lock"])
def test_with_the_network_in_league_with_the_liars_locks_matter(name: str) -> None:
    """One decides alone, others are locked on that or blind, and a liar leads next: of locks all depends."""
    build = next(one for one in MUTANTS if one.name == name).build()
    for seed in range(100):
        try:
            BftRun(seed, build, league=True, lies=("yes-sayer", "view liar")).play()
        except Broken as error:
            if str(error).startswith("agreement"):
                return
    pytest.fail("engines whose locks do not hold agree all the same")


@pytest.mark.parametrize("seed", ONCE_FAILED)
def test_a_seed_that_failed_once_holds(seed: int) -> None:
    assert BftRun(seed).play().operations > 0


def test_a_leader_that_censors_is_replaced() -> None:
    """It leads first, and nobody else fails: requests that it leaves out are decided all the same."""
    censored = told = 0
    for seed in range(5):
        run = BftRun(seed, lies=("censor",), calm=True)
        outcome = run.play()
        told += outcome.told["censor"]
        censored += outcome.censored
        assert all(client.done for client in run.clients)
    assert told > 0
    assert censored > 0


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.name.replace(" ", "-"))
def test_a_mutant_can_be_built(mutant: Mutant) -> None:
    """The text that is replaced is there once: when the engine changes, so must its mutants."""
    assert mutant.build() != shipped()


def test_faults_that_are_planted_are_found() -> None:
    quick = sum(one.quick for one in MUTANTS)
    assert quick >= 10
    assert f"{quick} of {quick} mutants are found" in bft_world("--mutants", "--quick", QUICK)


@pytest.mark.long
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.name.replace(" ", "-"))
def test_every_fault_that_is_planted_is_found_within_2000_seeds(mutant: Mutant) -> None:
    assert CAMPAIGN.killed(mutant, 2000) is not None
