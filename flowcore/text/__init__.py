"""Texts as hashed features: words, pairs of words, runs of characters."""

from flowcore.text.hashing import BUCKETS, Counting, Features, Weights, features
from flowcore.text.letters import COMMON, well_formed, words

__all__ = [
    "BUCKETS",
    "COMMON",
    "Counting",
    "Features",
    "Weights",
    "features",
    "well_formed",
    "words",
]
