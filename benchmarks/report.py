"""What a benchmark writes: results with their bars, the machine and its load, and the commit."""

from __future__ import annotations

import json
import os
import pathlib
import platform
import subprocess
import sys
from collections.abc import Sequence
from statistics import median

import attrs
import msgspec

RESULTS = pathlib.Path(__file__).parent / "results"
MEASURED = ("flowcore", "plugins")


class Peer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What another program came to, in the same run."""

    value: float | None
    ratio: float | None
    """Theirs over ours."""
    why: str = ""
    """Why there is no value."""


def beside(ours: Sequence[float], theirs: Sequence[float]) -> Peer:
    """A peer's median, and the median of its ratios to ours, round by round."""
    ratios = [their / our for our, their in zip(ours, theirs, strict=True)]
    return Peer(round(median(theirs), 6), round(median(ratios), 3))


def absent(why: str) -> Peer:
    """A peer that could not be measured."""
    return Peer(None, None, why)


@attrs.frozen(kw_only=True)
class Figure:
    """One measured figure. `bar` is what it should be at most (or at least, where `least`)."""

    name: str
    value: float | None
    """None where it could not be measured; then its peers say why, and its bar counts as missed."""
    unit: str
    bar: float | None = None
    least: bool = False
    peers: dict[str, Peer] = attrs.field(factory=dict)
    """By name."""

    @property
    def met(self) -> bool | None:
        """Whether the bar is met; None without one."""
        if self.bar is None:
            return None
        if self.value is None:
            return False
        return self.value >= self.bar if self.least else self.value <= self.bar

    def as_result(self) -> Result:
        """As kept in the results."""
        value = None if self.value is None else round(self.value, 6)
        return Result(self.name, value, self.unit, self.bar, self.met, self.peers)


class Result(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One figure as it is kept."""

    name: str
    value: float | None
    unit: str
    bar: float | None
    met: bool | None
    peers: dict[str, Peer]

    @property
    def sign(self) -> str:
        """Which side of the bar is the good one."""
        above = self.value is not None and self.bar is not None and self.value > self.bar
        return "≥" if self.met is above and self.value != self.bar else "≤"


class Machine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was measured on."""

    cpu: str
    cores: int
    python: str


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The results of one family, as kept in `results/FAMILY.json`."""

    commit: str
    """The last that changed what is measured; with a plus sign if the tree differed from it."""
    machine: Machine
    load: float
    """The machine's one-minute load when the family began."""
    results: list[Result]
    setup: dict[str, str] = {}
    """How it was measured, in words: configurations, versions."""


def read(path: pathlib.Path) -> Report:
    """A family's report; raises msgspec.ValidationError if it is none."""
    return msgspec.json.decode(path.read_bytes(), type=Report)


def write(family: str, figures: list[Figure], load: float, setup: dict[str, str]) -> pathlib.Path:
    """Keep a family's figures as JSON; where."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{family}.json"
    results = [one.as_result() for one in figures]
    report = Report(commit(), machine(), round(load, 2), results, setup)
    text = json.dumps(msgspec.to_builtins(report), indent=2, ensure_ascii=False)
    path.write_text(text + "\n")
    return path


def commit() -> str:
    """The last commit that changed what is measured, with a plus sign if the tree differs from it."""
    root = pathlib.Path(__file__).parents[1]

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments, "--", *MEASURED],
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip()

    changed = git("status", "--porcelain")
    return (git("log", "-1", "--format=%h") or "unknown") + ("+" if changed else "")


def machine() -> Machine:
    """What is measured on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return Machine(cpu=model, cores=os.cpu_count() or 1, python=platform.python_version())


def as_table(figures: list[Figure]) -> str:
    """The figures for a person."""
    from flowcore.cli.tables import table

    rows = []
    for one in figures:
        bar = "" if one.bar is None else f"{'≥' if one.least else '≤'} {one.bar:g}"
        met = {True: "met", False: "MISSED", None: ""}[one.met]
        value = "not measured" if one.value is None else f"{one.value:.4g} {one.unit}"
        rows.append([one.name, value, bar, met, ""])
        for name, peer in one.peers.items():
            theirs = peer.why if peer.value is None else f"{peer.value:.4g} {one.unit}"
            ratio = "" if peer.ratio is None else f"{peer.ratio:.3g} x"
            rows.append([f"  {name}", theirs, "", "", ratio])
    return table(["figure", "value", "bar", "", "theirs over ours"], rows)


def main(paths: list[pathlib.Path]) -> int:
    """Check reports; 1 if one is none."""
    wrong = 0
    for path in paths or sorted(RESULTS.glob("*.json")):
        try:
            print(f"{path.name}: {len(read(path).results)} results")
        except msgspec.ValidationError as failure:
            wrong = 1
            print(f"{path.name}: {failure}", file=sys.stderr)
    return wrong


if __name__ == "__main__":
    sys.exit(main([pathlib.Path(name) for name in sys.argv[1:]]))
