"""Who we are to our peers: the `Implementation` object of either face."""

from __future__ import annotations

from importlib.metadata import version

import msgspec


def implementation(name: str, *, title: str | None = None) -> bytes:
    """The `Implementation` object as JSON: name, version of the installed flowcore, title."""
    document = {"name": name, "version": version("flowcore")}
    if title is not None:
        document["title"] = title
    return msgspec.json.encode(document)
