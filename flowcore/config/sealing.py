"""Which keys open the sealed values of a configuration: those that it names, or the environment."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from flowcore.config.lines import Key, dotted
from flowcore.config.values import Secret, read_secret
from flowcore.secrets import SealKeys, read_seal_keys

SETTING = ("node", "seal_key")
VARIABLE = "FLOW_SEAL_KEY"


def opened(text: str, path: Key, root: Mapping[str, Any], folder: pathlib.Path) -> str:
    """The secret that is sealed for the setting at `path`. Raises ValueError."""
    if path == SETTING:
        raise ValueError("the key that opens sealed values cannot be sealed itself")
    return seal_keys(root, folder).open(text, dotted(path))


def seal_keys(root: Mapping[str, Any], folder: pathlib.Path) -> SealKeys:
    """The keys of `[node] seal_key`, or of the environment. Raises ValueError if there are none."""
    node = root.get(SETTING[0])
    named = node.get(SETTING[1]) if isinstance(node, Mapping) else None
    if named is None:
        text = os.environ.get(VARIABLE, "")
        if not text:
            raise ValueError(
                f"the value is sealed, and nothing opens it: set [node] seal_key, or {VARIABLE}"
            )
        try:
            return read_seal_keys(text)
        except ValueError as error:
            raise ValueError(f"the environment variable {VARIABLE!r}: {error}") from None
    try:
        secret = named if isinstance(named, Secret) else read_secret(named, folder)
        return read_seal_keys(secret.reveal())
    except ValueError:
        raise ValueError(
            "the value is sealed, and the key that opens it cannot be used: see node.seal_key"
        ) from None
