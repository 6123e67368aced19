"""Many runs of a simulation, on all processors: what fails tells its seed. And are planted faults found?"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Protocol

import attrs

from flowcore.testing import World


class Outcome(Protocol):
    """What a run came to, for those who count."""

    @property
    def seconds(self) -> float:
        """Of the world's time."""
        ...

    @property
    def faults(self) -> dict[str, int]:
        """What was done to it, and how often."""
        ...

    def counts(self) -> dict[str, int]:
        """What else is added up over all runs, in the order in which it is told."""
        ...


class Run(Protocol):
    """The world of one seed."""

    world: World

    def play(self) -> Outcome:
        """All of it. Raises what is wrong."""
        ...


class Mutant(Protocol):
    """A fault in the engine."""

    @property
    def name(self) -> str:
        """In words."""
        ...

    @property
    def quick(self) -> bool:
        """Whether it is found soon."""
        ...

    def build(self) -> Any:
        """The engine with it. Raises ValueError if the engine has changed so that it cannot be planted."""
        ...


@attrs.frozen(kw_only=True)
class Campaign:
    """A simulation that can be run many times."""

    program: str
    """How it is called: `python -m` this."""
    run: Callable[..., Run]
    """Makes the world of a seed; the second argument is an engine, the shipped one if there is none."""
    mutants: Sequence[Mutant]
    batch: int = 50
    """Seeds that a process does in one go."""

    def play(self, seed: int, build: Any = None) -> Outcome:
        """One run. Raises what is wrong."""
        return self.run(seed, build).play()

    def killed(self, mutant: Mutant, most: int) -> tuple[int, str] | None:
        """The first seed that finds a mutant, and what it says; None if none of them does."""
        build = mutant.build()
        for seed in range(most):
            try:
                self.play(seed, build)
            except Exception as error:
                return seed, f"{type(error).__name__}: {error}".splitlines()[0]
        return None

    def some(self, first: int, count: int) -> tuple[list[Outcome], list[tuple[int, str]]]:
        """Runs of some seeds, and what failed."""
        outcomes, failed = [], []
        for seed in range(first, first + count):
            try:
                outcomes.append(self.play(seed))
            except Exception as error:
                failed.append((seed, "".join(traceback.format_exception(error))))
        return outcomes, failed

    def simulate(self, seeds: int, first: int) -> int:
        """All of them; how many failed."""
        began = time.monotonic()
        faults: Counter[str] = Counter()
        totals: Counter[str] = Counter()
        seconds = 0.0
        bad = 0
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            starts = range(first, first + seeds, self.batch)
            counts = [min(self.batch, first + seeds - start) for start in starts]
            for outcomes, failed in pool.map(self.some, starts, counts):
                for one in outcomes:
                    faults.update(one.faults)
                    totals.update(runs=1, **one.counts())
                    seconds += one.seconds
                for seed, said in failed:
                    bad += 1
                    print(f"--- seed {seed}\n{said}", flush=True)
                if sys.stderr.isatty():
                    print(f"\r{totals['runs']} of {seeds}, {bad} failed", end="", file=sys.stderr)
        took = time.monotonic() - began
        said = ", ".join(f"{count:,} {name}" for name, count in totals.items())
        print(f"{said}; {seconds / 3600:,.1f} hours of a cluster in {took:.0f} s")
        print("faults: " + ", ".join(f"{count:,} {name}" for name, count in sorted(faults.items())))
        print(f"{bad} of {seeds} seeds failed")
        return bad

    def trace(self, seed: int, lines: int) -> int:
        """One run, with the end of what happened."""
        run = self.run(seed, trace=lines)
        try:
            print(run.play())
        except Exception:
            print("\n".join(run.world.lines()))
            traceback.print_exc()
            return 1
        return 0

    def hunt(self, mutants: Sequence[Mutant], most: int) -> int:
        """How many of them live."""
        lives = 0
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            found: Iterable[tuple[int, str] | None] = pool.map(
                self.killed, mutants, [most] * len(mutants)
            )
            for mutant, end in zip(mutants, found, strict=True):
                lives += end is None
                said = (
                    f"LIVES after {most} seeds" if end is None else f"seed {end[0]}: {end[1]:.110}"
                )
                print(f"{mutant.name:<34} {said}", flush=True)
        print(f"{len(mutants) - lives} of {len(mutants)} mutants are found")
        return lives

    def main(self) -> int:
        """The program's exit code."""
        parser = argparse.ArgumentParser(prog=f"python -m {self.program}")
        parser.add_argument("seeds", nargs="?", type=int, default=1000)
        parser.add_argument("first", nargs="?", type=int, default=0)
        parser.add_argument("--trace", type=int, metavar="SEED")
        parser.add_argument("--lines", type=int, default=200)
        parser.add_argument("--mutants", action="store_true")
        parser.add_argument("--quick", action="store_true")
        given = parser.parse_args()
        if given.trace is not None:
            return self.trace(given.trace, given.lines)
        if given.mutants:
            mutants = [one for one in self.mutants if one.quick or not given.quick]
            return min(1, self.hunt(mutants, given.seeds))
        return min(1, self.simulate(given.seeds, given.first))
