"""`python -m support.raft_world SEEDS [FIRST]`: so many runs, on all processors; what fails tells its seed.

`--trace SEED` runs one, and prints what happened at last. `--mutants` sees by which of so many seeds each
planted fault is found; `--quick` looks for those alone that are found soon.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor

from support.raft_world.mutants import MUTANTS, Mutant
from support.raft_world.play import Outcome, Run, play

BATCH = 50


def some(first: int, count: int) -> tuple[list[Outcome], list[tuple[int, str]]]:
    """Runs of some seeds, and what failed."""
    outcomes, failed = [], []
    for seed in range(first, first + count):
        try:
            outcomes.append(play(seed))
        except Exception as error:
            failed.append((seed, "".join(traceback.format_exception(error))))
    return outcomes, failed


def simulate(seeds: int, first: int) -> int:
    """All of them; how many failed."""
    began = time.monotonic()
    faults: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    bad = 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        starts = range(first, first + seeds, BATCH)
        counts = [min(BATCH, first + seeds - start) for start in starts]
        for outcomes, failed in pool.map(some, starts, counts):
            for one in outcomes:
                faults.update(one.faults)
                totals.update(
                    runs=1,
                    steps=one.steps,
                    seconds=round(one.seconds),
                    elections=one.elections,
                    committed=one.committed,
                    operations=one.operations,
                )
            for seed, said in failed:
                bad += 1
                print(f"--- seed {seed}\n{said}", flush=True)
            if sys.stderr.isatty():
                print(f"\r{totals['runs']} of {seeds}, {bad} failed", end="", file=sys.stderr)
    took = time.monotonic() - began
    said = ", ".join(f"{count:,} {name}" for name, count in totals.items() if name != "seconds")
    print(f"{said}; {totals['seconds'] / 3600:,.1f} hours of a cluster in {took:.0f} s")
    print("faults: " + ", ".join(f"{count:,} {name}" for name, count in sorted(faults.items())))
    print(f"{bad} of {seeds} seeds failed")
    return bad


def trace(seed: int, lines: int) -> int:
    """One run, with the end of what happened."""
    run = Run(seed, trace=lines)
    try:
        print(run.play())
    except Exception:
        print("\n".join(run.world.lines()))
        traceback.print_exc()
        return 1
    return 0


def killed(mutant: Mutant, most: int) -> tuple[int, str] | None:
    """The first seed that finds a mutant, and what it says; None if none of them does."""
    build = mutant.build()
    for seed in range(most):
        try:
            play(seed, build)
        except Exception as error:
            return seed, f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def hunt(mutants: Sequence[Mutant], most: int) -> int:
    """How many of them live."""
    lives = 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        found: Iterable[tuple[int, str] | None] = pool.map(killed, mutants, [most] * len(mutants))
        for mutant, end in zip(mutants, found, strict=True):
            lives += end is None
            said = f"LIVES after {most} seeds" if end is None else f"seed {end[0]}: {end[1]:.110}"
            print(f"{mutant.name:<34} {said}", flush=True)
    print(f"{len(mutants) - lives} of {len(mutants)} mutants are found")
    return lives


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m support.raft_world")
    parser.add_argument("seeds", nargs="?", type=int, default=1000)
    parser.add_argument("first", nargs="?", type=int, default=0)
    parser.add_argument("--trace", type=int, metavar="SEED")
    parser.add_argument("--lines", type=int, default=200)
    parser.add_argument("--mutants", action="store_true")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    if given.trace is not None:
        return trace(given.trace, given.lines)
    if given.mutants:
        mutants = [one for one in MUTANTS if one.quick or not given.quick]
        return min(1, hunt(mutants, given.seeds))
    return min(1, simulate(given.seeds, given.first))


if __name__ == "__main__":
    sys.exit(main())
