"""What a node keeps, with the others or alone: its memory, the hard state, and what is revoked."""

from __future__ import annotations

from flow_edges.api import memory, revocations, state
from flow_edges.api.answers import FILE, Answer, NotThere, as_json
from flow_edges.api.door import Door
from flowcore.http import Request, Response, Send, Stream


class Kept:
    """Answers about what is kept."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._host = door.host

    @property
    def answers(self) -> dict[str, Answer]:
        """By the paths of `ROUTES`."""
        return {
            "/memory/ACTION": self._memory,
            "/state": self._state,
            "/members/ACTION": self._members,
            "/log": self._log,
            "/snapshot": self._snapshot,
            "/revocations": self._revocations,
            "/revocations/ACTION": self._revoke,
        }

    async def _memory(self, request: Request, parts: list[str]) -> Response:
        await self._door.admit(request, f"memory.{parts[1]}")
        action = memory.ACTIONS.get(parts[1])
        if action is None:
            known = ", ".join(memory.ACTIONS)
            raise NotThere(f"memory can be told {known}, not {parts[1][:100]!r}")
        return as_json(await action(self._host, request.body))

    async def _state(self, request: Request, parts: list[str]) -> Response:
        del parts
        await self._door.admit(request, "state")
        return as_json(await state.show(self._host))

    async def _members(self, request: Request, parts: list[str]) -> Response:
        principal = await self._door.admit(request, f"members.{parts[1]}")
        action = state.MEMBERS.get(parts[1])
        if action is None:
            known = ", ".join(state.MEMBERS)
            raise NotThere(f"members can be told {known}, not {parts[1][:100]!r}")
        body = state.checked(parts[1], request.body)
        await action(self._host, body)
        done = " ".join([*body.nodes, *(f"remove={name}" for name in body.remove)])
        self._door.done(principal, f"members.{parts[1]}", done)
        return as_json({"done": parts[1], **await state.show(self._host)})

    async def _log(self, request: Request, parts: list[str]) -> Response:
        del parts
        await self._door.admit(request, "log")
        return as_json(await state.log(self._host, request.body))

    async def _snapshot(self, request: Request, parts: list[str]) -> Stream:
        del parts
        await self._door.admit(request, "snapshot")
        state.state_of(self._host)  # or there is none, and that is the answer

        async def run(send: Send) -> None:
            async with state.saved(self._host) as pieces:
                async for piece in pieces:
                    await send(piece)

        return Stream(200, FILE, run)

    async def _revocations(self, request: Request, parts: list[str]) -> Response:
        del parts
        await self._door.admit(request, "revocations")
        return as_json({"revocations": await self._host.revocations()})

    async def _revoke(self, request: Request, parts: list[str]) -> Response:
        principal = await self._door.admit(request, f"revocations.{parts[1]}")
        action = revocations.REVOCATIONS.get(parts[1])
        if action is None:
            known = ", ".join(revocations.REVOCATIONS)
            raise NotThere(f"revocations can be told {known}, not {parts[1][:100]!r}")
        done, id_ = await action(self._host, request.body)
        self._door.done(principal, f"revocations.{parts[1]}", id_)
        return as_json(done)
