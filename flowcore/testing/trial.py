"""What a plugin's author says of a component that is to be checked."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from flowcore.http import Request


@attrs.frozen(kw_only=True)
class Trial:
    """How a component is tried; what is left out is as in a table of TOML with nothing in it."""

    settings: Mapping[str, Any] = attrs.field(factory=dict)
    """The table of the smallest configuration it works with, without `type`."""
    own: Callable[[int], Mapping[str, Any]] | None = None
    """Settings that each new one has of its own, by its number: for what is kept elsewhere than in its
    folder, such as a name in a database. One that is opened again in the same folder has the same."""
    folder: pathlib.Path = attrs.field(factory=pathlib.Path)
    """What relative paths in the settings are relative to."""
    within: float = 30.0
    """Seconds that each check may take."""
    fair: bool = True
    """Balancers: whether workers that are all alike get about the same. False for one that prefers."""
    calls: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    """Agents: tools, as the agent calls them, with arguments that they answer to."""
    known: Sequence[Request] = ()
    """Authentication: requests whose sender it must know."""
    resource: str = "https://flow.example/mcp"
    """Authentication: the URI that the requests are meant for."""
