"""The data sets of the routing benchmarks, and the vectors of their texts.

They lie in `../shared/data`, beside the checkout: see its README for where each comes from. Vectors are made
by flowcore's own embedders, each once, and kept in `.models/vectors`, a file for each embedder: a run that is
cut short goes on from there.
"""

from __future__ import annotations

import csv
import json
import pathlib
import random
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import trio

from benchmarks.minilm import MINILM, open_minilm
from flow_embedders.projection import Hashed
from flowcore.routing import Embedder, Expert, Identity
from flowcore.routing.experts import embedded, texts_said, vectors_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from flowcore.routing import Vectors

ROOT = pathlib.Path(__file__).parents[1]
KEPT = ROOT / ".models" / "vectors"
EMBEDDERS = ("hashed", "MiniLM")
TOGETHER = 4096
"""Texts after whose vectors all are kept."""


@attrs.frozen(kw_only=True)
class Labelled:
    """Texts, and the expert that is right for each."""

    texts: list[str]
    right: list[str]

    def part(self, most: int | None, seed: int = 0) -> Labelled:
        """So many of them, drawn by chance; all without a number."""
        chosen = list(range(len(self.texts)))
        random.Random(seed).shuffle(chosen)
        return self.at(chosen[:most])

    def at(self, rows: Sequence[int]) -> Labelled:
        """Those of some rows."""
        return Labelled(
            texts=[self.texts[row] for row in rows], right=[self.right[row] for row in rows]
        )


@attrs.frozen(kw_only=True)
class Dataset:
    """Experts with what they say of themselves, texts to learn from, and texts to be judged by."""

    experts: dict[str, tuple[str, ...]]
    train: Labelled
    test: Labelled
    outside: list[str] = attrs.field(factory=list)
    """Texts that no expert is right for."""


def folder() -> pathlib.Path:
    """Where the data lies. Raises FileNotFoundError, saying where it should be."""
    for parent in ROOT.parents:
        if (parent / "shared" / "data" / "clinc150").is_dir():
            return parent / "shared" / "data"
    where = ROOT.parent / "shared" / "data"
    raise FileNotFoundError(f"{where} is missing: the data of routing benchmarks lies there")


def missing() -> str:
    """Why the data cannot be used; nothing if it can."""
    try:
        folder()
    except FileNotFoundError as error:
        return str(error)
    return ""


def clinc(shots: int | None = None) -> Dataset:
    """CLINC150 (Larson et al. 2019): 150 intents; all examples, or the set of 5 or 10 for each.

    An intent says of itself no more than its name as words.
    """
    data = json.loads((folder() / "clinc150" / "data_full.json").read_text())
    if shots is None:
        train = _labelled(data["train"])
    else:
        few = folder() / "clinc150" / f"fewshot_train_{shots}"
        texts = pathlib.Path(f"{few}.seq.in").read_text().splitlines()
        labels = pathlib.Path(f"{few}.label").read_text().splitlines()
        train = Labelled(
            texts=[one.strip() for one in texts], right=[one.strip() for one in labels]
        )
    return Dataset(
        experts={name: texts_said(name, {}) for names in domains().values() for name in names},
        train=train,
        test=_labelled(data["test"]),
        outside=[text for text, _ in data["oos_test"]],
    )


def domains() -> dict[str, list[str]]:
    """CLINC150's ten domains, and the intents of each."""
    found: dict[str, list[str]] = json.loads((folder() / "clinc150" / "domains.json").read_text())
    return found


def toole(seed: int = 0) -> Dataset:
    """ToolE (Huang et al. 2023): 199 tools; of the queries with one right tool four of five to learn from.

    The split is drawn with this seed. A tool has a name and a description.
    """
    said = json.loads((folder() / "toole" / "plugin_des.json").read_text())
    with (folder() / "toole" / "all_clean_data.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    whole = _labelled(rows).part(None, seed)
    cut = len(rows) * 4 // 5
    return Dataset(
        experts={
            name: texts_said(name, {"description": text}) for name, text in sorted(said.items())
        },
        train=whole.at(range(cut)),
        test=whole.at(range(cut, len(rows))),
    )


def _labelled(pairs: list[Any]) -> Labelled:
    return Labelled(texts=[text for text, _ in pairs], right=[right for _, right in pairs])


class Vectorised:
    """Vectors of one embedder, made when they are first asked for and kept on disk."""

    def __init__(self, name: str) -> None:
        """`name` is one of EMBEDDERS. Raises FileNotFoundError for MiniLM without its model."""
        if name == "MiniLM" and not (MINILM / "model.onnx").is_file():
            raise FileNotFoundError("all-MiniLM-L6-v2 is missing: `make models` brings it")
        self.name = name
        self.identity: Identity = trio.run(self._ask)
        digest = blake2b(str(self.identity).encode(), digest_size=12).hexdigest()
        self._path = KEPT / f"{name}-{digest}.npz"
        self._rows: dict[bytes, int] = {}
        self._vectors: Vectors = np.zeros((0, self.identity.dimensions), np.float32)
        if self._path.is_file():
            with np.load(self._path) as kept:
                self._rows = {key: row for row, key in enumerate(kept["keys"].tolist())}
                self._vectors = kept["vectors"]

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Shape (n, 384)."""
        keys = [_key(text) for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._rows}
        ordered = sorted(new, key=lambda key: len(new[key]))  # those of one length make one batch
        for at in range(0, len(ordered), TOGETHER):
            some = ordered[at : at + TOGETHER]
            made = trio.run(self._embed, [new[key] for key in some])
            for key in some:
                self._rows[key] = len(self._rows)
            self._vectors = np.concatenate([self._vectors, made])
            self._keep()
        return self._vectors[[self._rows[key] for key in keys]]

    def _keep(self) -> None:
        KEPT.mkdir(parents=True, exist_ok=True)
        unfinished = self._path.with_suffix(".new.npz")
        np.savez(unfinished, keys=np.array([*self._rows]), vectors=self._vectors)
        unfinished.replace(self._path)

    def experts(self, said: dict[str, tuple[str, ...]], side_effects: bool = True) -> list[Expert]:
        """Experts with the vectors of what they say."""
        if not said:
            return []
        vectors = self([text for texts in said.values() for text in embedded(texts)])
        made, at = [], 0
        for name, texts in said.items():
            end = at + len(embedded(texts))
            own = vectors_of(texts, vectors[at:end])
            made.append(Expert(name=name, texts=texts, vectors=own, side_effects=side_effects))
            at = end
        return made

    def _opened(self) -> AbstractAsyncContextManager[Embedder]:
        return open_minilm(batch=32, cache=0) if self.name == "MiniLM" else _open_hashed()

    async def _ask(self) -> Identity:
        async with self._opened() as embedder:
            return embedder.identity

    async def _embed(self, texts: list[str]) -> Vectors:
        async with self._opened() as embedder:
            return np.concatenate(
                [await embedder.embed(texts[at : at + 1024]) for at in range(0, len(texts), 1024)]
            )


def _key(text: str) -> bytes:
    """In hexadecimal, for numpy cuts zeros off the end of bytes."""
    return (
        blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest().encode("ascii")
    )


@asynccontextmanager
async def _open_hashed() -> AsyncGenerator[Embedder]:
    yield Hashed(384, 20_000, 0)
