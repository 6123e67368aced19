"""Answers to what a task asks, on their way to the node that does it."""

from __future__ import annotations

import logging

import msgspec
import trio
from msgspec import Raw, Struct

from flowcore.envelope import Owner
from flowcore.errors import AgentUnavailable, CallError, InvalidArguments, StreamBroken, SwarmError
from flowcore.federation.wire import Failed, WrongMessage, error_of, failed, pack, unpack
from flowcore.requests import Tasks
from flowcore.swarm import Lane, Overlay, Stream, receive_whole, send_whole

logger = logging.getLogger(__name__)

SERVICE = "task-answers"
MOST = 16 << 20
"""Bytes of the answers to a task's questions."""
WITHIN = 10.0
"""Seconds that another node has to take them."""


class Given(Struct, frozen=True):
    """Answers, by the keys of the questions; JSON."""

    id: str
    scheme: str
    name: str
    answers: dict[str, bytes]


class Taken(Struct, frozen=True, array_like=True, tag="taken"):
    """They are taken, as far as their questions are known."""


class Answering:
    """Gives answers to other nodes, and takes theirs in."""

    def __init__(self, overlay: Overlay, tasks: Tasks) -> None:
        self._overlay = overlay
        self._tasks = tasks

    async def give(self, node: str, id_: str, owner: Owner, answers: dict[str, Raw]) -> None:
        """Have a node take answers. Raises what it refuses with, AgentUnavailable if it cannot be asked."""
        given = Given(id_, *owner, {key: bytes(raw) for key, raw in answers.items()})
        try:
            with trio.fail_after(WITHIN):
                async with await self._overlay.open(node, SERVICE, b"", Lane.REQUESTS) as stream:
                    await send_whole(stream, pack(given))
                    told = await receive_whole(stream, MOST)
            came: Taken | Failed = unpack(told, Taken | Failed)  # type: ignore[arg-type]
        except (SwarmError, WrongMessage, trio.TooSlowError) as error:
            raise AgentUnavailable(
                f"node {node!r}, which does this task, cannot be asked: {error}",
                data={"taskId": id_, "node": node},
                retry_after=1.0,
            ) from error
        if isinstance(came, Failed):
            raise error_of(came)

    async def serve(self, node: str, head: bytes, stream: Stream) -> None:
        """Take answers of another node: the handler of a stream, whose head says nothing."""
        del head
        try:
            async with stream:
                given = unpack(await receive_whole(stream, MOST), Given)
                await send_whole(stream, pack(self._take(given)))
        except WrongMessage as error:
            logger.warning("node %s gives answers that cannot be read: %s", node, error)
        except StreamBroken as error:
            logger.debug("node %s gives no answers after all: %s", node, error)

    def _take(self, given: Given) -> Taken | Failed:
        try:
            answers = {key: _json(raw) for key, raw in given.answers.items()}
            self._tasks.answer(given.id, (given.scheme, given.name), answers)
        except CallError as error:
            return failed(error)
        return Taken()


def _json(raw: bytes) -> Raw:
    try:
        return msgspec.json.decode(raw, type=Raw).copy()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise InvalidArguments("an answer that is no JSON") from None
