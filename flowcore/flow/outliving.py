"""What a node tells of what outlives it: its tasks and revocations, as plain data."""

from __future__ import annotations

import time
from typing import Any

from flowcore.durable import node_of, told_of
from flowcore.state import State


async def kept_tasks(state: State, most: int) -> list[dict[str, Any]]:
    """The tasks that outlive nodes, latest first; by number, since a task's id is its owner's to know."""
    now = time.time()
    lines = []
    for row in await state.task_lines(most):
        name, message = told_of(row)
        over = row.state not in ("queued", "running")
        lines.append(
            {
                "number": row.number,
                "agent": row.queue,
                "name": name,
                "principal": row.owner[1],
                "scheme": row.owner[0],
                "state": row.state,
                "node": node_of(row.holder),
                "fence": row.fence,
                "attempt": row.attempt,
                "message": message,
                "seconds": round(max(0.0, (row.changed if over else now) - row.submitted), 3),
                "ago": round(max(0.0, now - row.submitted), 3),
            }
        )
    return lines


async def revocations(state: State, most: int = 10_000) -> list[dict[str, Any]]:
    """What is revoked, in the order of ids."""
    now = time.time()
    found: list[dict[str, Any]] = []
    after = ""
    while len(found) < most:
        page = await state.revocations(after)
        found += [
            {
                "id": one.id,
                "ago": round(max(0.0, now - one.since), 3),
                "left": None if one.expires is None else round(max(0.0, one.expires - now), 3),
            }
            for one in page
        ]
        if not page:
            break
        after = page[-1].id
    return found[:most]
