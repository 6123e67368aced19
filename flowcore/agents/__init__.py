"""Agents: who can do what, the pool of workers of each, and its life."""

from flowcore.agents.catalog import EMPTY, Catalog, Prompt, Resource, Template, Tool

__all__ = ["EMPTY", "Catalog", "Prompt", "Resource", "Template", "Tool"]
