"""What is run: the argument vector, and the environment it is given."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

INHERITED = (
    "HOME",
    "LANG",
    "LANGUAGE",
    "LOGNAME",
    "PATH",
    "SHELL",
    "TERM",
    "TMPDIR",
    "TZ",
    "USER",
)
"""The variables (and all `LC_*`) that a child gets from our environment. Everything else, secrets above all,
is given to it by name or not at all."""


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The whole environment of a child: INHERITED from ours, and `extra` over it.

    Raises ValueError for what no environment can hold.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in INHERITED or name.startswith("LC_")
    }
    environment.setdefault("PATH", os.defpath)
    for name, value in (extra or {}).items():
        if not name or "=" in name or "\0" in name:
            raise ValueError(f"expected the name of an environment variable, not {name!r}")
        if "\0" in value:
            raise ValueError(
                f"the value of the environment variable {name!r} holds a NUL character"
            )
        environment[name] = value
    return environment


def argument_vector(command: Sequence[str]) -> list[str]:
    """The arguments to run. A first one that is exactly "python" means this interpreter.

    Raises ValueError for a vector that is none.
    """
    if isinstance(command, str) or not command or not command[0]:
        raise ValueError(
            f"expected a program and its arguments as a list of texts, not {command!r}"
        )
    arguments = list(command)
    if any("\0" in one for one in arguments):
        raise ValueError(f"an argument of {arguments[0]!r} holds a NUL character")
    if arguments[0] == "python" and sys.executable:
        arguments[0] = sys.executable
    return arguments
