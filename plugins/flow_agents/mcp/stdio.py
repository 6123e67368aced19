"""The wire to a child process: a message a line, both ways, all on one channel.

Sources: 2026-07-28 basic/transports/stdio; 2025-11-25 basic/transports (stdio).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

import trio

from flow_agents.mcp.calls import Call, Calls
from flow_agents.mcp.errands import Errands
from flow_agents.mcp.phrasing import Phrasing
from flow_agents.mcp.settings import McpSettings
from flow_agents.mcp.wire import Hearing
from flowcore.errors import (
    AgentUnavailable,
    CallError,
    InvalidArguments,
    InvalidRequest,
    OutcomeUnknown,
    UpstreamFailure,
)
from flowcore.mcp import (
    Message,
    Response,
    decode,
    decode_batch,
    encode_notification,
    failed_id,
    is_batch,
)
from flowcore.processes import InputClosed, Launcher, LineTooLong, Process

logger = logging.getLogger(__name__)

_MOST_NOISE: Final = 1000
"""Lines in a row that are no messages, after which the process is taken for something else than a server."""
_TOLD_NOISE: Final = 20
_MOST_IN_BATCH: Final = 1000
_LAST_WORDS: Final = 1.0
"""Seconds to wait for the exit status of a process whose output has ended."""


class Stdio:
    """One child process. Made by `open_stdio`."""

    http = False
    session: str | None = None

    def __init__(
        self, process: Process, calls: Calls, limit: int, stderr: Callable[[str], None]
    ) -> None:
        self._process = process
        self._calls = calls
        self._limit = limit
        self._stderr = stderr
        self._phrasing: Phrasing
        self._hearing: Hearing
        self._errands: Errands
        self._noise = 0
        self._lost: CallError | None = None

    def attach(self, hearing: Hearing, errands: Errands) -> None:
        self._hearing = hearing
        self._errands = errands

    def speak(self, phrasing: Phrasing) -> None:
        self._phrasing = phrasing

    def agreed(self) -> None:
        """It speaks on the one channel there is, from the beginning."""

    async def settled(self) -> None:
        """It is heard from the beginning."""

    # ---- out

    async def exchange(self, call: Call) -> Response:
        if self._lost is not None:
            raise AgentUnavailable(str(self._lost))
        try:
            await self._process.send_line(self._phrasing.request(call))
            return await call.answer()
        except InputClosed:
            raise AgentUnavailable("the upstream's process reads no more") from None
        except trio.Cancelled:
            self._give_up(call)
            raise

    def _give_up(self, call: Call) -> None:
        """Tell that nobody waits any more. `initialize` must not be cancelled (2025-11-25, cancellation)."""
        if call.method != "initialize":
            params = {"requestId": call.number, "reason": "the caller is gone"}
            self._errands.run(self.tell, encode_notification("notifications/cancelled", params))

    async def tell(self, message: bytes) -> None:
        try:
            await self._process.send_line(message)
        except InputClosed:
            raise AgentUnavailable("the upstream's process reads no more") from None

    # ---- in

    async def run(self) -> None:
        try:
            try:
                async for line in self._process.lines(self._limit):
                    self._take(line)
            except LineTooLong:
                raise UpstreamFailure(
                    f"the upstream wrote a line of more than {self._limit:,} bytes"
                ) from None
            raise UpstreamFailure(await self._last_words())
        except CallError as error:
            self._lost = error
            raise
        finally:
            lost = self._lost or AgentUnavailable("the connection to the upstream was closed")
            self._lost = lost
            self._calls.fail(OutcomeUnknown(f"the upstream was lost before it answered: {lost}"))

    async def _last_words(self) -> str:
        with trio.move_on_after(_LAST_WORDS):
            return f"the upstream's process {await self._process.wait()}"
        return "the upstream's process closed its output"

    def _take(self, line: bytes) -> None:
        try:
            message = decode(line)
        except (InvalidRequest, InvalidArguments) as problem:
            self._no_message(line, problem)
        else:
            self._heard(message)

    def _heard(self, message: Message) -> None:
        self._noise = 0
        self._hearing.hear(message, None)

    def _no_message(self, line: bytes, problem: CallError) -> None:
        """A line that is no message: one that tries to be is answered for, anything else is noise.

        Many servers print a banner, or their log, where only messages should be: it is shown with stderr.
        """
        if is_batch(line) and b'"jsonrpc"' in line:
            self._take_batch(line)
            return
        if b'"jsonrpc"' in line[:1000]:
            call = self._calls.get(failed_id(line))
            if call is None or call.settled:
                raise UpstreamFailure(f"the upstream writes what is no message: {problem}")
            call.settle(UpstreamFailure(f"the upstream's answer is no response: {problem}"))
            return
        self._noise += 1
        if self._noise > _MOST_NOISE:
            raise UpstreamFailure("the upstream writes no messages, but something else")
        if line.strip() and self._noise <= _TOLD_NOISE:
            self._stderr(f"stdout: {line[:200].decode(errors='replace')}")

    def _take_batch(self, line: bytes) -> None:
        """Several messages on one line (2025-03-26)."""
        try:
            messages = decode_batch(line, limit=_MOST_IN_BATCH)
        except InvalidRequest as problem:
            raise UpstreamFailure(f"the upstream writes what is no message: {problem}") from None
        for message in messages:
            if isinstance(message, CallError):
                raise UpstreamFailure(f"the upstream writes what is no message: {message}")
            self._heard(message)


@asynccontextmanager
async def open_stdio(
    launcher: Launcher, settings: McpSettings, calls: Calls, stderr: Callable[[str], None]
) -> AsyncGenerator[Stdio]:
    """Start the upstream's process; it ends with the block. `stderr` is told its lines.

    Raises flowcore.processes.SpawnFailed.
    """
    async with launcher.open_process(
        settings.command, env=settings.environment(), cwd=settings.cwd, on_stderr=stderr
    ) as process:
        yield Stdio(process, calls, settings.message, stderr)
