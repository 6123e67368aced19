"""The features of texts, the last ones kept: a request is ranked, and soon after learned from."""

from __future__ import annotations

from collections import OrderedDict

from flowcore.text import BUCKETS, Features, Weights, features

WEIGHTS = Weights(pairs=1 / 4, beginnings=3 / 2, short=0.0, long=1 / 2, ends=0.0, common=1 / 4)
"""Beginnings of words count most, for they are what other forms of a word have too; ends and short runs are
what all words have, and count for nothing."""
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
