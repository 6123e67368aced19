"""`audit`: one line for every call and every decision: who, what, with what outcome; never what was said.

Put it first among the guards, so that it sees what the others refuse. Arguments are kept as a digest only.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from flow_guards.audit.settings import AuditConfig
from flowcore.hookspecs import Context, Factory, Registry, hookimpl

if TYPE_CHECKING:
    from flow_guards.audit.guard import Audit


@asynccontextmanager
async def open_audit(config: AuditConfig, context: Context) -> AsyncGenerator[Audit]:
    """Go on with the log where it ends; what waits is written before the block is left."""
    from flow_guards.audit.guard import open_guard

    async with open_guard(config, context) as guard:
        yield guard


def _claims(config: AuditConfig) -> tuple[str, ...]:
    return () if config.file is None else (f"file {config.file}",)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(
        Factory("guard", "audit", AuditConfig, open_audit, stability="beta", claims=_claims)
    )
