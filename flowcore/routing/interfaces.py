"""What routing is made of, as its plugins yield it: embedders, vector indexes, gates.

Texts become vectors (`Embedder`), vectors find what is near (`VectorIndex`), and a `Gate` weighs the experts.
Arrays are numpy's: vectors float32 of shape (n, dimensions), identifiers int64 of shape (n,).

What a single request makes dozens of are structs of msgspec, which are made in a fraction of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Literal, Protocol

import attrs
import msgspec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vectors = npt.NDArray[np.float32]
    """Shape (n, dimensions), or (dimensions,) for a single one."""
    Ids = npt.NDArray[np.int64]
    """Shape (n,); what they number is the caller's business. Never negative."""
    Mask = npt.NDArray[np.bool_]

Metric = Literal["cosine", "inner_product", "euclidean"]


@attrs.frozen(kw_only=True)
class Identity:
    """Which embedder made a vector. Vectors of two identities are never compared."""

    name: str
    """The type of embedder, such as `hashed`."""
    version: str
    """Changes whenever the same text gives another vector."""
    dimensions: int
    digest: str = ""
    """A hash of the model's file, where there is one."""

    def __str__(self) -> str:
        digest = f" {self.digest[:12]}" if self.digest else ""
        return f"{self.name} {self.version}{digest} ({self.dimensions} dimensions)"


class Embedder(Protocol):
    """Makes vectors from texts, so that texts that mean alike are near."""

    @property
    def identity(self) -> Identity:
        """Which embedder this is, stored with all that is made from its vectors."""
        ...

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One vector a text, of length one, or all zeros for a text that says nothing to it.

        Never holds the event loop: long work goes to a thread. Raises EmbeddingFailed.
        """
        ...

    def status(self) -> dict[str, Any]:
        """What it has done, measured, as plain data that JSON can carry."""
        ...


@attrs.frozen(kw_only=True)
class Space:
    """What all vectors of an index have in common."""

    identity: Identity
    metric: Metric = "cosine"


@attrs.frozen
class Hits:
    """What a search found, best first."""

    ids: Ids
    """Shape (found,), found at most the k that was asked for."""
    scores: npt.NDArray[np.float32]
    """Greater is nearer: the cosine, the inner product, or minus the squared Euclidean distance."""


class VectorIndex(Protocol):
    """Finds the vectors that are nearest to one. It is a copy: the truth is in the store it was filled from.

    `position` says how much of the store it has seen; after a crash the store brings it up to date from
    there. What cannot be trusted on disk counts as not there: the index opens empty, at position 0.
    """

    @property
    def count(self) -> int:
        """How many vectors it holds."""
        ...

    @property
    def memory(self) -> int:
        """Bytes of its own; mapped files are the system's and do not count."""
        ...

    @property
    def position(self) -> int:
        """What `save` was last told, as read from disk when it opened; 0 if it opened empty."""
        ...

    async def add(self, ids: Ids, vectors: Vectors) -> None:
        """Add vectors; one whose id is there takes the place of the other.

        Raises WrongVector, and adds nothing, for vectors of another dimension, not finite ones, all zeros
        under the metric `cosine`, and ids that are negative or given twice.
        """
        ...

    async def remove(self, ids: Ids) -> int:
        """Remove vectors; how many of them were there."""
        ...

    async def search(
        self, vector: Vectors, k: int, where: Callable[[Ids], Mask] | None = None
    ) -> Hits:
        """The k nearest of those for which `where` says True, or fewer if there are not so many.

        `where` may be called several times, from a thread. Raises WrongVector; ValueError for a k below 1.
        """
        ...

    async def save(self, position: int) -> None:
        """Keep everything, with this position. A crash at any moment leaves the last save or this one.

        Raises OSError; what was saved before is still there then.
        """
        ...

    async def clear(self) -> None:
        """Forget everything, on disk too; the position is 0 again."""
        ...

    async def settle(self) -> None:
        """Wait until nothing is being built in the background: searches are then as fast as they get."""
        ...

    def status(self) -> dict[str, Any]:
        """What there is and was, measured, as plain data that JSON can carry."""
        ...


class VectorIndexes(Protocol):
    """What a `vectors` plugin opens: the maker of indexes, one for each collection of vectors."""

    def open_index(self, name: str, space: Space) -> AbstractAsyncContextManager[VectorIndex]:
        """Open the index of this name, as it was last saved. `name`: letters, digits, `_`, `-`, 64 at most.

        Raises OtherSpace if what is saved is of another embedder or metric.
        """
        ...

    async def discard(self, name: str) -> None:
        """Forget what is saved under a name, whatever it is; it is not open. Fine if nothing is."""
        ...


@attrs.frozen(kw_only=True)
class Expert:
    """Somebody a request can be routed to: a tool, or an agent that takes text."""

    name: str
    """The public name, such as `time.get_current_time`."""
    texts: tuple[str, ...]
    """What it says of itself: name, title, description, words of its schema, examples; the name first."""
    vectors: Vectors
    """One row for each of `texts`."""
    side_effects: bool = True
    """Whether trying it out changes something: such an expert is never chosen for the sake of learning."""


class Near(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A pattern near to a query."""

    id: int
    expert: str
    similarity: float
    """The cosine, -1 to 1."""
    weight: float = 1.0
    """How much it counts: above 0 for what was right, below 0 for what was wrong."""


@attrs.frozen(kw_only=True)
class Query:
    """A request in words, as a gate sees it."""

    text: str
    vector: Vectors
    """Shape (dimensions,)."""
    near: Sequence[Near] = ()
    """The nearest patterns, best first."""
    load: Mapping[str, float] = attrs.field(factory=dict)
    """How busy experts are, 0 to 1; who is not in it is idle."""
    explore: bool = True
    """Whether the first choice may be one to learn about, where the gate explores."""
    allowed: Collection[str] | None = None
    """The experts that may be chosen, where not all may: no other is in the answer, or counts for it."""


class Choice(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One expert that a gate ranks, and why."""

    expert: str
    probability: float
    """Calibrated: of all that are given 0.8, four of five are right."""
    reasons: Mapping[str, float]
    """What spoke for it: `gate`, `nearest`, `words`, `load`, ... and how much."""


class Ranking(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a gate makes of a query."""

    choices: tuple[Choice, ...]
    """Best first; at most as many as were asked for."""
    known: float
    """How sure it is that any expert fits; greater is surer."""
    threshold: float
    """Below it, the answer is "don't know"."""
    explored: bool = False
    """Whether the first is there to learn about it rather than for being the best."""
    propensity: float = 1.0
    """The probability with which the first was to be the first, for the lesson that may come of it."""

    @property
    def in_scope(self) -> bool:
        """Whether an expert is there for it, as far as the gate knows."""
        return bool(self.choices) and self.known >= self.threshold


@attrs.frozen(kw_only=True)
class Lesson:
    """How a choice turned out: what a gate learns from."""

    text: str
    vector: Vectors
    expert: str
    reward: float
    """1 was right, 0 was wrong; between them for what was right but slow."""
    propensity: float = 1.0
    """The probability with which the expert was chosen; 1 if a person named it."""
    exclusive: bool = True
    """Whether a reward of 1 also says that all others were wrong."""
    weight: float = 1.0
    """How much it counts; bounded for each principal."""
    again: bool = False
    """Whether the gate had it before: it is practised, and nothing is measured by it or counted."""


class Gate(Protocol):
    """Weighs experts for a query, and learns from how it went.

    Sans-IO and deterministic: the same experts, lessons and seed in the same order give the same gate.
    """

    def set_experts(self, experts: Sequence[Expert]) -> None:
        """Those there are now. A new one can be chosen at once, one that is missing never is.

        What was learned of one that is missing is kept for a while, for it may come back. Called in a thread,
        and nothing else meanwhile. Raises WrongVector, and ValueError for a name that comes twice; then
        nothing is changed.
        """
        ...

    def rank(self, query: Query, k: int) -> Ranking:
        """The k experts that fit best. Raises WrongVector, and ValueError for a k below 1."""
        ...

    def learn(self, lesson: Lesson) -> None:
        """Take in one outcome, also of an expert that is not there now: after a start, lessons come first.

        Raises WrongVector and WrongLesson, and learns nothing then.
        """
        ...

    def consolidate(self) -> None:
        """From now on, hold on to what is known: a phase of learning is over."""
        ...

    def snapshot(self) -> bytes:
        """Everything it has learned.

        It only reads what neither `rank` nor `status` changes: a thread may make it while the gate ranks.
        While it is made nothing is learned, and nobody comes or goes.
        """
        ...

    def restore(self, data: bytes) -> None:
        """Be as when the snapshot was made. Raises DamagedState, and is unchanged, if it cannot."""
        ...

    def status(self) -> dict[str, Any]:
        """What it has learned, forgotten and found drifting, measured, as plain data that JSON can carry."""
        ...


class Gates(Protocol):
    """What a `gate` plugin opens: the maker of gates, for vectors of one embedder."""

    def make(self, identity: Identity, seed: int) -> Gate:
        """A gate that has learned nothing."""
        ...
