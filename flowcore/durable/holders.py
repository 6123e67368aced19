"""Who holds what in the state: a node, in one of its lives.

A node that was lost and came back is another holder: what its earlier life had claimed can be declared lost
without touching what it has claimed since.
"""

from __future__ import annotations

import secrets


def holder_of(node: str) -> str:
    """A name for a node in a new life, such as `alpha/9c07f2a1`."""
    return f"{node}/{secrets.token_hex(4)}"


def node_of(holder: str) -> str:
    """The node whose life a holder is."""
    return holder.partition("/")[0]
