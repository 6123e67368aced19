"""What the `api` edge is told in the configuration."""

from __future__ import annotations

import attrs

from flow_edges.listening import ListeningConfig
from flowcore.config import Address, setting


@attrs.frozen(kw_only=True)
class ApiConfig(ListeningConfig):
    """Health, status and steering over HTTP, for flowctl and for machines that watch."""

    bind: Address = setting(Address("127.0.0.1", 7301), help="where to listen")
