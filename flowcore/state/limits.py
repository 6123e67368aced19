"""How much the state holds, and how large one thing in it may be.

Limits are part of the state: every node must draw the line at the same entry. `SetLimits` changes them.
"""

from __future__ import annotations

from msgspec import Struct

KIB, MIB, GIB = 2**10, 2**20, 2**30


class Limits(Struct, frozen=True, kw_only=True, array_like=True):
    """Counts, and sizes in bytes."""

    patterns: int = 1_000_000
    """In all; beyond it, those of the largest namespace that were not used for longest go."""
    namespace_patterns: int = 1_000_000
    """In each namespace; beyond it, those that were not used for longest go."""
    namespaces: int = 10_000
    bytes: int = 8 * GIB
    """Of all patterns together; what would exceed it is refused."""
    namespace_bytes: int = 8 * GIB
    """Of the patterns of each namespace; what would exceed it is refused."""
    weight: float = 100.0
    """What the weight of a pattern adds up to at most."""
    feedback: int = 100_000
    """Lessons kept; the oldest go."""
    removed: int = 100_000
    """Removed patterns that `pattern_changes` can still tell of; the oldest are forgotten."""
    sessions: int = 10_000
    """Of clients; those that were not used for longest are forgotten."""
    answers: int = 100_000
    """Results kept for clients that ask again; the oldest are forgotten."""


NAMESPACE_SIZE = 128
KEY_SIZE = 512
NAME_SIZE = 512
"""Of an expert, an owner, an embedder, a client, a request."""
TEXT_SIZE = 1 * MIB
VALUE_SIZE = 4 * MIB
VECTOR_SIZE = 64 * KIB
FINGERPRINT_SIZE = 64
COMMAND_SIZE = 16 * MIB
"""Of a whole command as it stands in the log."""
COMMAND_ITEMS = 10_000
"""Patterns, ids or lessons in one command."""
OVERHEAD = 200
"""What a pattern is taken to need besides its texts, value and vector: rows, indexes."""
ONCE = 1000
"""Patterns that one command removes at most because they expired, or are too many; tasks, keys and
leases likewise."""
