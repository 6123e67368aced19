"""Which flowcore this is."""

from __future__ import annotations

import functools


@functools.cache
def version() -> str:
    """flowcore's version, as installed."""
    from importlib import metadata

    return metadata.version("flowcore")
