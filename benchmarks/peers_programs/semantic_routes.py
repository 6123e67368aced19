"""semantic-router's IndexedRouter on given vectors: `python semantic_routes.py FOLDER`.

FOLDER has train.json, test.json (texts and right routes) and their vectors; printed is one line of JSON. It
runs in an environment of its own, where flowcore is not.
"""

from __future__ import annotations

import json
import pathlib
import sys
import time
from statistics import median
from typing import Any

import numpy as np
from semantic_router import IndexedRouter, Route
from semantic_router.encoders import DenseEncoder


class Given(DenseEncoder):  # type: ignore[misc]
    """Vectors that were made before."""

    name: str = "given"
    score_threshold: float = 0.0
    vectors: dict[str, Any] = {}  # noqa: RUF012 - a field of pydantic

    def __call__(self, docs: list[Any]) -> list[list[float]]:
        return [self.vectors[text].tolist() for text in docs]

    async def acall(self, docs: list[Any]) -> list[list[float]]:
        return self(docs)


def read(folder: pathlib.Path, part: str) -> tuple[list[str], list[str], Any]:
    told = json.loads((folder / f"{part}.json").read_text())
    return told["texts"], told["right"], np.load(folder / f"{part}.npy")


def main(folder: pathlib.Path) -> None:
    texts, right, vectors = read(folder, "train")
    asked, answers, queries = read(folder, "test")
    known = dict(zip([*texts, *asked], [*vectors, *queries], strict=True))
    said: dict[str, list[str]] = {}
    for text, name in zip(texts, right, strict=True):
        said.setdefault(name, []).append(text)
    routes = [Route(name=name, utterances=utterances) for name, utterances in said.items()]
    router = IndexedRouter(encoder=Given(vectors=known), routes=routes)
    found, took = 0, []
    for text, answer in zip(asked, answers, strict=True):
        began = time.perf_counter()
        choice = router(text)
        took.append(time.perf_counter() - began)
        found += getattr(choice, "name", None) == answer
    print(json.dumps({"right": 100 * found / len(asked), "milliseconds": 1e3 * median(took)}))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
