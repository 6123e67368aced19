"""`jwt`: signed tokens of an issuer (RFC 7519), for instance an OAuth 2.1 authorization server's.

Read `verify` (what is checked of a token) and `keys` (where the keys come from, and how they rotate).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from flow_auth.jwt.settings import JwtConfig
from flowcore.hookspecs import Context, Factory, Registry, hookimpl

if TYPE_CHECKING:
    from flow_auth.jwt.scheme import JwtScheme


@asynccontextmanager
async def open_jwt(config: JwtConfig, context: Context) -> AsyncGenerator[JwtScheme]:
    """Read the keys; keep them fresh until the block is left."""
    from flow_auth.jwt.scheme import open_scheme

    async with open_scheme(config, context) as scheme:
        yield scheme


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("auth", "jwt", JwtConfig, open_jwt, stability="beta"))
