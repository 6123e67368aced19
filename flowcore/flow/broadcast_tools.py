"""The tool by which a client calls everybody who has a role, or listens to a topic."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from flowcore.flow.broadcasting import Broadcast, Broadcasting, Want
from flowcore.flow.node import Flow
from flowcore.native import CallContext, tool


class BroadcastTools:
    """What every node offers besides its agents and its status."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow

    @tool(title="Broadcast")
    async def broadcast(
        self,
        context: CallContext,
        tool: str,
        arguments: dict[str, Any] | None = None,
        role: str | None = None,
        topic: str | None = None,
        want: Want = "all",
        n: int = 1,
        seconds: float = 30.0,
    ) -> Raw:
        """Call one tool of every agent that has a role, or listens to a topic, on all nodes.

        Args:
            tool: The tool's own name, without its agent's.
            arguments: Its arguments.
            role: The role that agents must have; or else
            topic: the topic that they must listen to.
            want: The first answer, the first n, a quorum of n that say the same, or all.
            n: How many are wanted by first_n, or must say the same for quorum.
            seconds: How long it may take.
        """
        came = await broadcasting(self._flow).broadcast(
            context.envelope,
            tool,
            arguments or {},
            role=role,
            topic=topic,
            want=want,
            n=n,
            seconds=seconds,
        )
        return Raw(msgspec.json.encode(_result(came)))


def broadcasting(flow: Flow) -> Broadcasting:
    """What calls everybody, of a flow."""
    return Broadcasting(flow.name, flow.roster.doers.values, flow.submit)


def _result(came: Broadcast) -> dict[str, Any]:
    content: list[Any] = []
    for one in came.chosen:
        assert one.result is not None
        content.append({"type": "text", "text": f"{one.expert}:"})
        content += one.result.get("content", [])
    if not came.settled:
        told = (
            f"{len(came.answers)} answered, {len(came.refused)} refused, {len(came.missed)} missed"
        )
        content.insert(0, {"type": "text", "text": f"what is wanted is not there ({told})"})
    result = {"content": content, "structuredContent": came.told()}
    return result if came.settled else {**result, "isError": True}
