"""Answer what tools ask: a flow in a trio program whose tool needs a person's word before it goes on."""

from __future__ import annotations

from typing import Any

import msgspec
import trio
from msgspec import Raw

import flowcore
from flowcore.errors import CallError, UnknownMethod
from flowcore.native import CallContext, InputRequired, ask_form, tool

CONSENT = {"type": "object", "properties": {"sure": {"type": "boolean"}}}


@tool
async def erase(context: CallContext, name: str) -> str:
    """Erase a file, once its owner is sure."""
    answer = context.answers.get("consent")
    if answer is None:
        raise InputRequired({"consent": ask_form(f"Really erase {name}?", CONSENT)})
    sure = answer.get("action") == "accept" and answer.get("content", {}).get("sure")
    return f"{name} is erased" if sure else f"{name} is still there"


class Person:
    """A `flowcore.requests.Peer`: what tools may tell and ask the one who calls them."""

    capabilities = {"elicitation": Raw(b"{}")}  # noqa: RUF012 - never written

    def notify(self, method: str, params: Raw) -> None:
        """Progress and log messages of the tool."""
        print(f"told: {method} {bytes(params).decode()}")

    async def request(self, method: str, params: Raw) -> Raw:
        """A question; the answer is what the protocol has for it."""
        if method != "elicitation/create":
            raise UnknownMethod(f"this program does not answer {method!r}")
        asked: dict[str, Any] = msgspec.json.decode(params)
        print(f"asked: {asked['message']}")
        return Raw(msgspec.json.encode({"action": "accept", "content": {"sure": True}}))


async def main() -> None:
    """Call a tool that asks, with somebody to answer and without."""
    agent = {"type": "python", "target": erase}
    async with flowcore.open_flow({"agent": {"files": agent}}) as flow:
        await flow.wait_settled()
        done = await flow.call("files.erase", {"name": "old.txt"}, peer=Person())
        print(done.text)
        try:
            await flow.call("files.erase", {"name": "old.txt"})
        except CallError as error:
            print(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    trio.run(main)
