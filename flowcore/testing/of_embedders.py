"""What holds for every embedder: one vector a text, the same each time, whatever the text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import trio

from flowcore.routing import Identity
from flowcore.testing.bench import Bench
from flowcore.testing.findings import Wrong

if TYPE_CHECKING:
    from flowcore.routing import Vectors

_TEXTS = (
    "what is the weather like in Paris today",
    "weather in Paris, please",
    "transfer money to my savings account",
    "Ärger mit dem Drucker",
    "列出所有文件",
    "x",
)
_ODD = {
    "no text": "",
    "white space": " \t\n\r\u2003",
    "signs": "!?.,;:-()[]{}",
    "control characters": "\x00\x01\x1b\x7f\x80\x9f" * 50,
    "lone surrogates": "\ud800 a \udfff\udc00 b",
    "all bytes": bytes(range(256)).decode("latin-1") * 20,
    "emoji": "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "marks upon marks": "a" + "\u0301\u0323" * 2000,
    "one long word": "abcdefghij" * 2000,
    "one word again and again": "spam " * 20_000,
    "16 MiB": "never ending " * (16 * 1024 * 1024 // 13),
}
_NEAR = 1e-3
"""How far two vectors of one text may be apart, by rounding: as the cosine's distance from 1."""


async def _vectors(embedder: Any, texts: list[str]) -> Vectors:
    """What it gives for texts, of the right form."""
    vectors: object = await embedder.embed(texts)
    shape = (len(texts), embedder.identity.dimensions)
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32:
        raise Wrong(f"embed gives {type(vectors).__name__}, not an array of float32")
    if vectors.shape != shape:
        raise Wrong(f"for {len(texts)} texts it gives the shape {vectors.shape}, not {shape}")
    if not np.isfinite(vectors).all():
        raise Wrong("it gives values that are not finite")
    for text, length in zip(texts, np.linalg.norm(vectors, axis=1), strict=True):
        if length and abs(length - 1) > _NEAR:
            raise Wrong(f"the vector of {text!r:.60} has the length {length:g}, neither 1 nor 0")
    return vectors


def _same(one: Vectors, other: Vectors) -> bool:
    """Whether vectors agree but for rounding."""
    return bool(
        (np.abs(one - other).max(initial=0) == 0) or ((1 - _cosines(one, other)) < _NEAR).all()
    )


def _cosines(one: Vectors, other: Vectors) -> Any:
    both_silent = ~one.any(axis=1) & ~other.any(axis=1)
    return np.where(both_silent, 1.0, (one * other).sum(axis=1))


async def says_who_it_is(bench: Bench) -> None:
    """its identity is the same each time it is opened, and says how many dimensions its vectors have"""
    identities = []
    for _ in range(2):
        async with bench.opened() as embedder:
            identities.append(embedder.identity)
    first = identities[0]
    if not isinstance(first, Identity) or not first.name or not first.version:
        raise Wrong(f"its identity is {first!r:.200}")
    if first != identities[1]:
        raise Wrong(f"it was {first}, and then {identities[1]}")
    if first.dimensions < 1:
        raise Wrong(f"it has {first.dimensions} dimensions")


async def gives_a_vector_a_text(bench: Bench) -> None:
    """it gives one finite float32 vector a text, in order, of length one or all zeros; none for no texts"""
    async with bench.opened() as embedder:
        await _vectors(embedder, [])
        vectors = await _vectors(embedder, list(_TEXTS))
        if not vectors[: len(_TEXTS) - 1].any(axis=1).all():
            raise Wrong("it gives zeros for a text with words")


async def repeats_itself(bench: Bench) -> None:
    """a text has the same vector alone, among others, twice in one call, and when it is opened again"""
    texts = list(_TEXTS)
    async with bench.opened() as embedder:
        together = await _vectors(embedder, texts)
        again = await _vectors(embedder, [*reversed(texts), *texts])
        backwards = again[: len(texts)][::-1]
        if not (_same(together, backwards) and _same(together, again[len(texts) :])):
            raise Wrong("a text's vector is another one the second time")
    async with bench.opened() as embedder:
        alone = np.concatenate([await _vectors(embedder, [text]) for text in texts])
        if not _same(together, alone):
            raise Wrong("a text's vector is another one when it stands alone")


async def knows_what_is_alike(bench: Bench) -> None:
    """texts that say the same in the same words are nearer than ones that have nothing in common"""
    async with bench.opened() as embedder:
        one, alike, other = await _vectors(embedder, list(_TEXTS[:3]))
        if not float(one @ alike) > float(one @ other):
            raise Wrong(
                f"{_TEXTS[0]!r} is as near to {_TEXTS[2]!r} ({one @ other:.3f})"
                f" as to {_TEXTS[1]!r} ({one @ alike:.3f})"
            )


async def takes_any_text(bench: Bench) -> None:
    """texts that are empty, huge, binary, not well formed or endlessly repeated have vectors too"""
    async with bench.opened() as embedder:
        for name, text in _ODD.items():
            try:
                await _vectors(embedder, [text])
            except Exception as error:
                raise Wrong(f"{name}: {type(error).__name__}: {error}") from error
        await _vectors(embedder, [*_ODD.values(), *_TEXTS])


async def leaves_what_it_is_given(bench: Bench) -> None:
    """what a caller does to the vectors it got changes nobody else's"""
    async with bench.opened() as embedder:
        first = await _vectors(embedder, [_TEXTS[0]])
        before = first.copy()
        if first.flags.writeable:
            first[:] = 0
        if not _same(await _vectors(embedder, [_TEXTS[0]]), before):
            raise Wrong("it gives out its own memory")


async def serves_many_at_once(bench: Bench) -> None:
    """callers at the same time get their own vectors, others get their turn meanwhile, one may go away"""
    async with bench.opened() as embedder:
        texts = [f"{text} {number}" for number in range(50) for text in _TEXTS]
        together = await _vectors(embedder, texts)
    async with bench.opened() as embedder:
        wrong: list[str] = []
        turns = 0

        async def ask(row: int) -> None:
            if not _same(await _vectors(embedder, [texts[row]]), together[row : row + 1]):
                wrong.append(texts[row])

        async def count() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        async with trio.open_nursery() as counting:
            counting.start_soon(count)
            async with trio.open_nursery() as nursery:
                for row in range(0, len(texts), 3):
                    nursery.start_soon(ask, row)
            before = turns
            await _vectors(embedder, [f"{text} again" for text in texts])
            counting.cancel_scope.cancel()
        if wrong:
            raise Wrong(f"of {len(texts)} callers {len(wrong)} got others' vectors")
        if turns - before < 2:
            raise Wrong(f"nobody else had a turn while it worked on {len(texts)} texts")
        with trio.CancelScope() as scope:
            scope.cancel()
            await embedder.embed(["one whose caller goes away"])
        if not _same(await _vectors(embedder, texts[:3]), together[:3]):
            raise Wrong("after a caller went away the vectors are others")


async def says_what_it_did(bench: Bench) -> None:
    """its status is plain data for JSON, and changes with what it did"""
    async with bench.opened() as embedder:
        before = msgspec.json.encode(embedder.status())
        await _vectors(embedder, list(_TEXTS))
        if msgspec.json.encode(embedder.status()) == before:
            raise Wrong("its status is the same before and after")
