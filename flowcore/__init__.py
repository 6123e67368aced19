"""flowcore: one endpoint in front of many agents, supervised, pooled, balanced, served to any MCP client.

The public API. Everything is imported when it is first asked for, so that `import flowcore` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowcore.assembly import FlowConfig
    from flowcore.config import ConfigError, Selection
    from flowcore.envelope import Envelope, Principal, Priority, Reply
    from flowcore.errors import AssemblyError, CallError, FlowError
    from flowcore.flow import Flow, open_flow
    from flowcore.hookspecs import Context, Factory, Registry, hookimpl
    from flowcore.result import Result

_HOMES = {
    "AssemblyError": "flowcore.errors",
    "CallError": "flowcore.errors",
    "ConfigError": "flowcore.config",
    "Context": "flowcore.hookspecs",
    "Envelope": "flowcore.envelope",
    "Factory": "flowcore.hookspecs",
    "Flow": "flowcore.flow",
    "FlowConfig": "flowcore.assembly",
    "FlowError": "flowcore.errors",
    "Principal": "flowcore.envelope",
    "Priority": "flowcore.envelope",
    "Registry": "flowcore.hookspecs",
    "Reply": "flowcore.envelope",
    "Result": "flowcore.result",
    "Selection": "flowcore.config",
    "hookimpl": "flowcore.hookspecs",
    "open_flow": "flowcore.flow",
}

__all__ = [
    "AssemblyError",
    "CallError",
    "ConfigError",
    "Context",
    "Envelope",
    "Factory",
    "Flow",
    "FlowConfig",
    "FlowError",
    "Principal",
    "Priority",
    "Registry",
    "Reply",
    "Result",
    "Selection",
    "hookimpl",
    "open_flow",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'flowcore' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value
