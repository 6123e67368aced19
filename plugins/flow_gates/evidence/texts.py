"""The features of texts, the last ones kept: a request is ranked, and soon after learned from."""

from __future__ import annotations

from collections import OrderedDict

from flowcore.text import BUCKETS, Features, Weights, features

WEIGHTS = Weights(
    pairs=1.0, beginnings=3 / 2, short=1 / 2, long=1 / 4, ends=0.0, common=1 / 4, frequent=1 / 2
)
"""Beginnings of words count most, for they are what other forms of a word have too. Long runs within a word
are rare, so that inverse frequency alone makes much of them: they count less. What a
word ends with the others tell as well. Chosen with embedders of both kinds."""
LONGEST = 4_000
"""Characters of a text that count, its first: more make it no clearer, and cost time."""
_KEPT = 512


class Texts:
    """Features of texts by the text; bounded."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Features] = OrderedDict()

    def __getitem__(self, text: str) -> Features:
        """The features of a text's first 4,000 characters."""
        text = text[:LONGEST]
        found = self._kept.get(text)
        if found is None:
            found = self._kept[text] = features(text, BUCKETS, WEIGHTS)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found
