"""From plugins and a configuration to a plan, and from a plan to open components."""

from flowcore.assembly.build import open_components
from flowcore.assembly.discovery import Found, Plugins, discover
from flowcore.assembly.plan import Component, Plan, make_plan
from flowcore.assembly.read import Reading, Source, discover_for, listing, read, read_config
from flowcore.assembly.registry import Broken, FactoryRegistry, Registered
from flowcore.assembly.settings import FlowConfig
from flowcore.assembly.status import ComponentStatus, Status, StatusBoard

__all__ = [
    "Broken",
    "Component",
    "ComponentStatus",
    "FactoryRegistry",
    "FlowConfig",
    "Found",
    "Plan",
    "Plugins",
    "Reading",
    "Registered",
    "Source",
    "Status",
    "StatusBoard",
    "discover",
    "discover_for",
    "listing",
    "make_plan",
    "open_components",
    "read",
    "read_config",
]
