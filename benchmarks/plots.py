"""The plots of the routing benchmarks, as SVG in docs/figures."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FOLDER = pathlib.Path(__file__).parents[1] / "docs" / "figures"


def sequence(kind: str, curves: Mapping[str, Sequence[float]], joint: float) -> pathlib.Path:
    """Accuracy on all phases so far, after each phase, for each way to learn."""
    axes, save = _new(f"learning-{kind}")
    for name, values in curves.items():
        axes.plot(range(1, len(values) + 1), values, label=name, marker="o", markersize=3)
    axes.axhline(joint, color="grey", linestyle="--", linewidth=1, label="all at once")
    axes.set_xlabel("phases learned")
    axes.set_ylabel("right of all phases so far, %")
    axes.set_title(kind)
    return save()


def regret(learned: np.ndarray, fixed: np.ndarray, cold: np.ndarray) -> pathlib.Path:
    """How many requests more the best fixed policy has right, over the stream."""
    axes, save = _new("learning-regret")
    along = np.arange(1, len(learned) + 1)
    step = max(1, len(along) // 500)
    for name, values in (("the gate as it learns", learned), ("descriptions alone", cold)):
        axes.plot(along[::step], np.cumsum(fixed - values)[::step], label=name)
    axes.set_xlabel("requests")
    axes.set_ylabel("regret against the best fixed policy, requests")
    axes.set_ylim(0, 1.6 * max(1.0, float(np.cumsum(fixed - learned).max())))
    return save()


def _new(name: str) -> tuple[Axes, Callable[[], pathlib.Path]]:
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = name  # the same plot gives the same file
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4))
    axes.grid(alpha=0.3)

    def save() -> pathlib.Path:
        axes.legend(fontsize=8)
        figure.tight_layout()
        FOLDER.mkdir(parents=True, exist_ok=True)
        path = FOLDER / f"{name}.svg"
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
        return path

    return axes, save
