"""Agents: who can do what, the pool of workers of each, and its life."""

from flowcore.agents.agent import FENCE, Agent, open_agent
from flowcore.agents.catalog import EMPTY, Catalog, Prompt, Resource, Template, Tool
from flowcore.agents.directory import Directory, Listed, Listing, Member, Offer, Target
from flowcore.agents.events import (
    AccessDenied,
    BreakerChanged,
    CatalogChanged,
    ConsensusNoted,
    Elsewhere,
    Event,
    FaultInjected,
    LinkChanged,
    Lost,
    Notification,
    StateChanged,
)
from flowcore.agents.pool import Pool, PoolLimits, PoolStatistics
from flowcore.agents.reasons import reason_of
from flowcore.agents.settings import AgentSettings, PoolSettings
from flowcore.agents.state import State
from flowcore.agents.statistics import AgentStatistics
from flowcore.agents.traced import Traced
from flowcore.agents.watch import Watchers

__all__ = [
    "EMPTY",
    "FENCE",
    "AccessDenied",
    "Agent",
    "AgentSettings",
    "AgentStatistics",
    "BreakerChanged",
    "Catalog",
    "CatalogChanged",
    "ConsensusNoted",
    "Directory",
    "Elsewhere",
    "Event",
    "FaultInjected",
    "LinkChanged",
    "Listed",
    "Listing",
    "Lost",
    "Member",
    "Notification",
    "Offer",
    "Pool",
    "PoolLimits",
    "PoolSettings",
    "PoolStatistics",
    "Prompt",
    "Resource",
    "State",
    "StateChanged",
    "Target",
    "Template",
    "Tool",
    "Traced",
    "Watchers",
    "open_agent",
    "reason_of",
]
