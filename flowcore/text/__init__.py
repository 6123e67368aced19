"""Texts as hashed features: words, pairs of words, runs of characters."""

from flowcore.text.hashing import BUCKETS, Counting, Features, features
from flowcore.text.letters import COMMON, well_formed, words

__all__ = ["BUCKETS", "COMMON", "Counting", "Features", "features", "well_formed", "words"]
