"""Embed flowcore in a trio program: agents from a dict, a call, and a watch on what happens."""

from __future__ import annotations

import trio

import flowcore
from flowcore.agents import StateChanged
from flowcore.native import tool


@tool(read_only=True)
async def greet(name: str, times: int = 1) -> str:
    """Greet somebody."""
    return " ".join([f"Hello, {name}!"] * times)


CONFIG = {
    "node": {"name": "embedded"},
    "agent": {"greeter": {"type": "python", "target": greet}},
}


def watch(change: StateChanged) -> None:
    """Say what an agent's state became."""
    print(f"{change.agent}: {change.old.value} -> {change.new.value}")


async def main() -> None:
    """Open a flow, call a tool, look at the figures."""
    async with flowcore.open_flow(CONFIG) as flow:
        flow.on_state_change(watch)
        await flow.wait_settled()
        result = await flow.call("greeter.greet", {"name": "Ada", "times": 2})
        print(result.text)
        print(f"{flow.requests.statistics().results} result")


if __name__ == "__main__":
    trio.run(main)
