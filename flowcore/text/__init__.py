"""Texts as hashed features: words, pairs of words, runs of characters."""

from flowcore.text.features import BUCKETS, Features, features

__all__ = ["BUCKETS", "Features", "features"]
