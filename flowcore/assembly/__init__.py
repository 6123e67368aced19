"""From plugins and a configuration to a plan of components."""

from flowcore.assembly.context import OpenContext
from flowcore.assembly.discovery import Found, Plugins, discover
from flowcore.assembly.kinds import lacks
from flowcore.assembly.plan import BUILTIN, DEFAULTS, MEMORY, Component, Plan, make_plan
from flowcore.assembly.read import (
    Reading,
    Source,
    discover_for,
    listing,
    read,
    read_config,
)
from flowcore.assembly.registry import Broken, FactoryRegistry, Registered
from flowcore.assembly.settings import FlowConfig, LogSettings
from flowcore.assembly.status import ComponentStatus, Status, StatusBoard

__all__ = [
    "BUILTIN",
    "DEFAULTS",
    "MEMORY",
    "Broken",
    "Component",
    "ComponentStatus",
    "FactoryRegistry",
    "FlowConfig",
    "Found",
    "LogSettings",
    "OpenContext",
    "Plan",
    "Plugins",
    "Reading",
    "Registered",
    "Source",
    "Status",
    "StatusBoard",
    "discover",
    "discover_for",
    "lacks",
    "listing",
    "make_plan",
    "read",
    "read_config",
]
