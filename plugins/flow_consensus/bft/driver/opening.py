"""`[consensus]` with `type = "bft"`: this node of the cluster, over the links of the swarm."""

from __future__ import annotations

import logging
import pathlib
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs

from flow_consensus.bft.driver.settings import BftSettings
from flow_consensus.bft.driver.starting import open_node
from flow_consensus.bft.effects import Event
from flow_consensus.bft.engine import Engine
from flowcore.agents import ConsensusNoted
from flowcore.errors import AssemblyError, SwarmError
from flowcore.hookspecs import Context
from flowcore.state import Consensus, ahead_of
from flowcore.swarm import Swarm, open_channel

_logger = logging.getLogger(__name__)

_AUDITED = frozenset(
    ("evidence", "accused", "epoch", "diverged", "snapshot", "cluster", "censored")
)
"""Events that go into the audit log."""


class Keys:
    """The public keys of nodes, from the certificates in a folder."""

    def __init__(self, swarm: Swarm, folder: pathlib.Path) -> None:
        self._swarm = swarm
        self._folder = folder

    def __call__(self, name: str) -> bytes:
        """The key (32 bytes) in a node's certificate. Raises AssemblyError, with the reason."""
        from cryptography.hazmat.primitives.serialization import Encoding

        from flowcore.certs import CertsError, read_bundle

        path = self._folder / f"{name}.pem"
        try:
            certificate = read_bundle(path.read_bytes())[0]
            found, key = self._swarm.key_in(certificate.public_bytes(Encoding.DER))
        except OSError as error:
            raise AssemblyError(
                f"voter {name!r} is known by its certificate, and {str(path)!r} cannot be read:"
                f" {error.strerror}; copy it there, or set consensus.certificates"
            ) from None
        except (CertsError, SwarmError, IndexError) as error:
            raise AssemblyError(f"{str(path)!r} is no certificate of a node: {error}") from None
        if found != name:
            raise AssemblyError(f"{str(path)!r} is the certificate of {found!r}, not of {name!r}")
        return key


@asynccontextmanager
async def open_bft(
    config: BftSettings, context: Context, *, engine: Callable[..., Engine] = Engine
) -> AsyncGenerator[Consensus]:
    """This node of the cluster. `engine` makes its engine: a test may give one that lies."""
    host = context.host
    if not host.linked:
        raise AssemblyError("consensus type 'bft' needs a [swarm]: other voters than this node")
    swarm = host.swarm
    settings = attrs.evolve(config, cluster=config.cluster or swarm.cluster)
    keys = Keys(swarm, context.config_dir / config.certificates)

    def told(event: Event) -> None:
        if event.kind in _AUDITED:
            host.emit(
                ConsensusNoted(
                    f"consensus.{event.kind}", {"about": event.about, "reason": event.text}
                )
            )

    def checking(*given: Any, **more: Any) -> Engine:
        made = engine(*given, **more)
        # until the state is open, and knows better what time it is
        made.check_by(lambda command: ahead_of(command, time.time()))
        return made

    async with (
        open_channel(swarm.overlay, "bft") as transport,
        open_node(
            host.name,
            settings,
            context.component("storage"),
            transport,
            context.random,
            sign=swarm.sign,
            key_of=keys,
            told=told,
            engine=checking,
        ) as bft,
    ):
        yield bft


def mentions_swarm(config: BftSettings) -> tuple[tuple[str, str], ...]:
    """Voters need a way to talk to each other."""
    del config
    return (("swarm", "swarm"),)
