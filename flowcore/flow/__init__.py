"""A flow: agents, requests and edges of one node, opened together and closed in order.

    async with flowcore.open_flow("flow.toml") as flow:
        result = await flow.call("time.get_current_time", {"timezone": "UTC"})

Nothing is global: any number of flows live in one process, each in the block that opened it.
"""

from flowcore.flow.node import Flow
from flowcore.flow.opening import open_flow, open_reading
from flowcore.flow.release import version
from flowcore.flow.reload import Reloaded
from flowcore.flow.restoring import restore

__all__ = ["Flow", "Reloaded", "open_flow", "open_reading", "restore", "version"]
