"""How much the evidence that needs no learning counts, and what of it an embedder already knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from flowcore.config import setting
from flowcore.config import validators as v

if TYPE_CHECKING:
    from flowcore.routing import Identity

WORDS_ONLY = ("hashed",)
"""Embedders whose vectors say what words say: there the words themselves say it better."""


@attrs.frozen(kw_only=True)
class DescribedSettings:
    """How much counts what experts say of themselves, in logits."""

    vectors: float | None = setting(
        None,
        validator=v.in_range(0, 100),
        help="the cosine of a request's vector with an expert's; left out, 10, or 1.5 where vectors"
        " know only words",
    )
    words: float | None = setting(
        None,
        validator=v.in_range(0, 100),
        help="words that both have; left out, 5, or 10 where vectors know only words",
    )
    length: float | None = setting(
        None,
        validator=v.in_range(0, 1),
        help="how far words count for more where experts say more, 0 to 1; left out, 0.8, or 0 where"
        " vectors know only words",
    )

    def for_embedder(self, identity: Identity) -> tuple[float, float, float]:
        """Vectors, words and length, for an embedder."""
        usual = (1.5, 10.0, 0.0) if identity.name in WORDS_ONLY else (10.0, 5.0, 0.8)
        given = (self.vectors, self.words, self.length)
        vectors, words, length = (
            default if one is None else one for one, default in zip(given, usual, strict=True)
        )
        return vectors, words, length


@attrs.frozen(kw_only=True)
class NearestSettings:
    """How patterns near to a query vote."""

    weight: float = setting(
        2.5, validator=v.ge(0), help="what a vote of all of them counts, in logits; 0 for nothing"
    )
    width: float = setting(
        0.05,
        validator=v.in_range(0.001, 10),
        help="how much less similar a pattern is that counts 63 % less",
    )
    far: float = setting(
        0.5, validator=v.in_range(-1, 1), help="the similarity from which on patterns say little"
    )


@attrs.frozen(kw_only=True)
class SimilarityConfig:
    """What counts how much, and from when on a request is one that nobody is there for."""

    described: DescribedSettings = setting(
        factory=DescribedSettings, help="what experts say of themselves"
    )
    nearest: NearestSettings = setting(
        factory=NearestSettings, help="patterns that are near to a request"
    )
    sharpness: float = setting(
        2.0, validator=v.in_range(0.01, 100), help="how sure it is of differences; 2 is usual"
    )
    threshold: float = setting(
        0.25,
        validator=v.in_range(0, 1),
        help="how alike a request and an expert must be at least, 0 to 1; below, the answer is"
        ' "don\'t know"',
    )
