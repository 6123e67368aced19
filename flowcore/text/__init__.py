"""Texts as hashed features: words, pairs of words, runs of characters."""

from flowcore.text.hashing import BUCKETS, Counting, Features, Weights, features
from flowcore.text.letters import COMMON, FREQUENT, well_formed, words

__all__ = [
    "BUCKETS",
    "COMMON",
    "FREQUENT",
    "Counting",
    "Features",
    "Weights",
    "features",
    "well_formed",
    "words",
]
