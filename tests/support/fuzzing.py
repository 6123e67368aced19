"""Fuzz every target for a while: `python -m support.fuzzing [SECONDS [NAME ...]]`.

Right inputs are changed at random: pieces are cut out, doubled, moved, exchanged, put in from a list of words
or from another seed. What runs lines of flowcore's that none before it ran becomes a seed, too.
A finding is kept in a file, with the seed of chance that found it; the exit code is 1 if there was one.
"""

from __future__ import annotations

import hashlib
import pathlib
import random
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Any

import attrs

from support.fuzz_targets import TARGETS, Target

FOUND = pathlib.Path("fuzz-findings")
SLOW = 1.0
"""CPU seconds for one input that count as a finding."""
HANGS = 20.0
"""CPU seconds after which an input is not waited for any more."""
LONGEST = 20_000
_TRACED = ("/flowcore/", "/plugins/")
_EACH = 10
"""One input of so many is traced: that costs more than to run it."""
_MOST = 400
"""Seeds kept of a target."""


def mutated(
    data: bytes, others: Sequence[bytes], words: Sequence[bytes], chance: random.Random
) -> bytes:
    """Some bytes like these."""
    out = bytearray(data)
    for _ in range(1 + int(chance.expovariate(0.7))):
        at = chance.randrange(len(out) + 1)
        end = min(len(out), at + int(chance.expovariate(0.1)) + 1)
        kind = chance.randrange(8)
        if kind == 0:
            del out[at:end]
        elif kind == 1:
            out[at:at] = out[at:end] * chance.choice((1, 1, 2, 50))
        elif kind == 2 and at < len(out):
            out[at] ^= 1 << chance.randrange(8)
        elif kind == 3:
            out[at:at] = chance.randbytes(chance.randrange(4))
        elif kind == 4:
            other = chance.choice(others)
            begin = chance.randrange(len(other) + 1)
            out[at:end] = other[begin : begin + chance.randrange(64)]
        elif kind == 5:
            piece = out[at:end]
            del out[at:end]
            to = chance.randrange(len(out) + 1)
            out[to:to] = piece
        elif words:
            out[at : end if kind == 6 else at] = chance.choice(words)
    return bytes(out[:LONGEST])


@attrs.define
class Result:
    """What came of a target."""

    inputs: int = 0
    taken: int = 0
    """Inputs that were read to their end without an error."""
    seeds: int = 0
    lines: int = 0
    slowest: float = 0.0
    findings: list[str] = attrs.field(factory=list)


class Hangs(BaseException):
    """An input took too long to wait for its end."""


def _too_long(number: int, frame: FrameType | None) -> None:
    raise Hangs(f"it took {HANGS:g} s of CPU time and had not ended")


def try_one(target: Target, data: bytes) -> bool:
    """Whether the target took it; False if it raised its own error. Raises what is a finding, or Hangs."""
    earlier = signal.signal(signal.SIGVTALRM, _too_long)
    signal.setitimer(signal.ITIMER_VIRTUAL, HANGS)
    try:
        target.run(data)
    except target.raises:
        return False
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, earlier)
    return True


def fuzz(target: Target, seconds: float, seed: int) -> Result:
    """Look for findings in one target."""
    chance = random.Random(seed)
    corpus, covered, result = list(target.seeds), _Covered(), Result()
    for one in target.seeds:
        covered.more(target, one)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends and len(result.findings) < 5:
        data = mutated(chance.choice(corpus), corpus, target.words, chance)
        result.inputs += 1
        began = time.process_time()
        try:
            if chance.randrange(_EACH):
                result.taken += try_one(target, data)
            elif covered.more(target, data) and len(corpus) < _MOST:
                corpus.append(data)
        except (Exception, Hangs):
            result.findings.append(_kept(target, data, traceback.format_exc()))
            continue
        took = time.process_time() - began
        result.slowest = max(result.slowest, took)
        if took > SLOW:
            result.findings.append(_kept(target, data, f"it took {took:.1f} s"))
    result.seeds, result.lines = len(corpus), len(covered.lines)
    return result


@attrs.define
class _Covered:
    """The lines of flowcore's that were run."""

    lines: set[tuple[str, int]] = attrs.field(factory=set)

    def more(self, target: Target, data: bytes) -> bool:
        """Run a target; whether lines were run that had not been before."""
        before = len(self.lines)
        earlier = sys.gettrace()
        sys.settrace(self._call)
        try:
            try_one(target, data)
        finally:
            sys.settrace(earlier)
        return len(self.lines) > before

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        del event, argument
        return self._line if any(one in frame.f_code.co_filename for one in _TRACED) else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        del argument
        if event == "line":
            self.lines.add((frame.f_code.co_filename, frame.f_lineno))
        return self._line


def _kept(target: Target, data: bytes, why: str) -> str:
    FOUND.mkdir(exist_ok=True)
    path = FOUND / f"{target.name.replace(' ', '-')}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    path.with_suffix(".txt").write_text(why)
    return f"{path}: {why.strip().splitlines()[-1][:300]}"


def main(arguments: list[str]) -> int:
    """Fuzz for so many seconds in all (120); those targets that are named, or all."""
    seconds = float(arguments[0]) if arguments else 120.0
    names = arguments[1:] or [one.name for one in TARGETS]
    if unknown := set(names) - {one.name for one in TARGETS}:
        print(f"unknown targets {sorted(unknown)}", file=sys.stderr)
        return 2
    seed = time.time_ns()
    print(f"{len(names)} targets, {seconds / len(names):.1f} s each, seed {seed}", flush=True)
    wrong = 0
    for target in [one for one in TARGETS if one.name in names]:
        result = fuzz(target, seconds / len(names), seed)
        print(
            f"{target.name:28} {result.inputs:8} inputs, {result.taken:8} taken, {result.seeds:4} seeds,"
            f" {result.lines:5} lines, slowest {result.slowest * 1e3:.0f} ms",
            flush=True,
        )
        for one in result.findings:
            wrong = 1
            print(f"    FOUND {one}", flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
