"""An agent with a thousand tools."""

from __future__ import annotations

from flowcore.native import tool

COUNT = 1000


def _make(number: int) -> None:
    async def numbered(text: str, times: int = 1) -> str:
        return text * times

    name = f"tool_{number:04}"
    globals()[name] = tool(name, description=f"Say a text again, as tool number {number}.")(
        numbered
    )


for _number in range(COUNT):
    _make(_number)
