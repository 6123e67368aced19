"""What a benchmark writes: results with their bars, the machine and its load, and the commit."""

from __future__ import annotations

import json
import os
import pathlib
import platform
import subprocess
from typing import Any

import attrs

RESULTS = pathlib.Path(__file__).parent / "results"


@attrs.frozen(kw_only=True)
class Figure:
    """One measured figure. `bar` is what it should be at most (or at least, where `least`)."""

    name: str
    value: float
    unit: str
    bar: float | None = None
    least: bool = False
    peers: dict[str, dict[str, float]] = attrs.field(factory=dict)
    """By name, each `{"value": ..., "ratio": theirs / ours}`."""

    @property
    def met(self) -> bool | None:
        """Whether the bar is met; None without one."""
        if self.bar is None:
            return None
        return self.value >= self.bar if self.least else self.value <= self.bar

    def as_json(self) -> dict[str, Any]:
        """As kept in the results."""
        return {
            "name": self.name,
            "value": round(self.value, 6),
            "unit": self.unit,
            "bar": self.bar,
            "met": self.met,
            "peers": self.peers,
        }


def commit() -> str:
    """The commit that was measured, with a plus sign if the tree differs from it."""
    root = pathlib.Path(__file__).parents[1]

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    return (git("rev-parse", "--short", "HEAD") or "unknown") + (
        "+" if git("status", "--porcelain") else ""
    )


def machine() -> dict[str, Any]:
    """What it was measured on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version()}


def write(family: str, figures: list[Figure], load: float) -> pathlib.Path:
    """Keep a family's figures as JSON; where."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{family}.json"
    report = {
        "commit": commit(),
        "machine": machine(),
        "load": round(load, 2),
        "results": [one.as_json() for one in figures],
    }
    path.write_text(json.dumps(report, indent=2) + "\n")
    return path


def as_table(figures: list[Figure]) -> str:
    """The figures for a person."""
    from flowcore.cli.tables import table

    rows = []
    for one in figures:
        sign = "≥" if one.least else "≤"
        bar = "" if one.bar is None else f"{sign} {one.bar:g}"
        met = {True: "met", False: "MISSED", None: ""}[one.met]
        peers = ", ".join(
            f"{name} {peer['value']:.4g} ({peer['ratio']:.3g} x)"
            for name, peer in one.peers.items()
        )
        rows.append([one.name, f"{one.value:.4g} {one.unit}", bar, met, peers])
    return table(["figure", "value", "bar", "", "peers"], rows)
