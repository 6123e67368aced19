"""`moe`: a softmax gate over experts that learns online from outcomes and holds on to what it knows."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from flow_gates.moe.settings import MoeConfig
from flowcore.hookspecs import Context, Factory, Registry, hookimpl

if TYPE_CHECKING:
    from flow_gates.moe.gate import MoeGates


@asynccontextmanager
async def open_moe(config: MoeConfig, context: Context) -> AsyncGenerator[MoeGates]:
    """The maker of gates; it holds nothing open."""
    from flow_gates.moe.gate import MoeGates

    del context
    yield MoeGates(config)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("gate", "moe", MoeConfig, open_moe, stability="beta"))
