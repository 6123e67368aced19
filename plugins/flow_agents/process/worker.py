"""One process of a process agent: what is asked of it, what it answers, and what it does unasked."""

from __future__ import annotations

import itertools
import signal
from typing import Any

import attrs
import msgspec
import trio
from msgspec import UNSET, Raw

from flow_agents.process.protocol import (
    PROTOCOL,
    Allowance,
    Log,
    Progress,
    ProtocolViolation,
    parse,
    parse_description,
    tool_result,
)
from flowcore.agents import Traced
from flowcore.errors import (
    AgentUnavailable,
    CallError,
    FlowError,
    OutcomeUnknown,
    UnknownMethod,
    UpstreamError,
    UpstreamFailure,
)
from flowcore.interfaces import AgentPort
from flowcore.mcp import (
    EMPTY,
    Notification,
    Response,
    decode,
    encode_notification,
    encode_request,
    one_line,
    passed_on,
)
from flowcore.processes import InputClosed, LineTooLong, Outgoing, Process
from flowcore.requests import Envelope, Reply
from flowcore.telemetry import SpanKind

EXIT_PATIENCE = 1.0
"""Seconds that a process which closed its output has to exit, before we say that it only closed it."""


class ProcessEnded(FlowError):
    """The process ended while it was needed."""


@attrs.define(eq=False)
class _Open:
    """A request that the process has not answered yet."""

    envelope: Envelope | None
    turn: trio.Semaphore | None
    """Given back with the answer."""
    done: trio.Event = attrs.field(factory=trio.Event)
    response: Response | None = None
    unwanted: bool = False


class ProcessWorker:
    """A process that answers calls. Made by `ProcessSource.open_worker` only."""

    def __init__(
        self,
        port: AgentPort,
        process: Process,
        nursery: trio.Nursery,
        *,
        max_message: int,
        chatter: int,
        cancel_grace: float,
    ) -> None:
        self._port = port
        self._process = process
        self._nursery = nursery
        self._lines = process.lines(max_message)
        self._allowance = Allowance(chatter, trio.current_time())
        self._cancel_grace = cancel_grace
        self._numbers = itertools.count(1)
        self._open: dict[int, _Open] = {}
        self._turn: trio.Semaphore | None = trio.Semaphore(1)
        """Had by the call under way, where the process takes one at a time."""
        self.traced = Traced(SpanKind.CLIENT, beside=True, attributes={"network.transport": "pipe"})
        """How its calls are recorded."""
        self._lost: FlowError | None = None
        self._why = ""
        """Why we killed it, where that is how it ends."""

    # ---- what is asked of it

    async def describe(self) -> None:
        """Ask what it offers, and announce that."""
        params = {"protocol": PROTOCOL, "agent": self._port.agent, "worker": self._port.worker}
        try:
            description, catalog = parse_description(await self._ask("describe", params))
        except UpstreamError as error:
            raise ProtocolViolation(f"it does not describe itself: {error}") from error
        if description.concurrent:
            self._turn = None
        self._port.announce(catalog)

    async def call(self, envelope: Envelope) -> Reply:
        """Do one request."""
        if envelope.method != "tools/call":
            raise UnknownMethod(f"agent {self._port.agent!r} does not answer {envelope.method!r}")
        turn = self._turn
        if turn is not None:
            try:
                await turn.acquire()
            except trio.Cancelled:
                if self._lost is not None:
                    raise self._gone() from None
                raise
        if self._lost is not None:
            raise self._gone()
        params = {
            "tool": envelope.name,
            "arguments": envelope.params.get("arguments", EMPTY),
            "meta": Raw(b"{%b}" % passed_on(envelope.meta, envelope.context)),
            "request": envelope.id,
            "deadline": round(envelope.deadline - trio.current_time(), 3),
        }
        return Reply(tool_result(await self._ask("call", params, envelope, turn)))

    async def ping(self) -> None:
        """Ask whether it is well, unless it works: how long that may take is its call's deadline."""
        if all(one.envelope is None for one in self._open.values()):
            await self._ask("ping", {})

    async def _ask(
        self,
        method: str,
        params: dict[str, Any],
        envelope: Envelope | None = None,
        turn: trio.Semaphore | None = None,
    ) -> Raw:
        """The result of a request. Raises CallError."""
        number = next(self._numbers)
        asked = self._open[number] = _Open(envelope, turn)
        message = self._post(encode_request(number, method, params))
        if not message.settled:
            self._nursery.start_soon(self._see_written, message)
        try:
            await asked.done.wait()
        except trio.Cancelled:
            if self._lost is not None:  # that is why we are cancelled
                if envelope is None:
                    raise  # whoever reads what it says tells why
                raise self._failure(self._lost) from None
            self._give_up(number, asked, message)
            raise
        return _result_of(asked.response)

    def _post(self, message: bytes) -> Outgoing:
        return self._process.post(one_line(message) + b"\n")

    async def _see_written(self, message: Outgoing) -> None:
        try:
            await message.wait()
        except InputClosed:  # whether it has exited or not, it is of no more use
            self._why = "the process takes no more input"
            self._process.send_signal(signal.SIGKILL)

    def _give_up(self, number: int, asked: _Open, message: Outgoing) -> None:
        """Nobody waits for this answer any more."""
        if number not in self._open:
            return
        if message.withdraw():
            self._settle(number)
            return
        asked.unwanted = True
        if asked.envelope is not None:
            self._post(encode_notification("cancel", {"id": number}))
            self._nursery.start_soon(self._expect_end, number, asked)

    async def _expect_end(self, number: int, asked: _Open) -> None:
        with trio.move_on_after(self._cancel_grace):
            await asked.done.wait()
        if not asked.done.is_set():
            self._fail(
                ProcessEnded(
                    f"it did not answer the cancelled call {number} within {self._cancel_grace:g} s"
                )
            )

    # ---- what it says

    async def run(self) -> None:
        """Read what it says until it ends or breaks the protocol, and raise that."""
        try:
            async for line in self._lines:
                self._take(line)
        except (LineTooLong, ProtocolViolation) as error:
            self._fail(ProtocolViolation(f"it broke the protocol: {error}"))
        self._fail(ProcessEnded(await self._how_it_ended()))

    async def _how_it_ended(self) -> str:
        within = " within a message" if self._lines.remainder else ""
        with trio.move_on_after(EXIT_PATIENCE):
            status = await self._process.wait()
            if self._why and status.signal == signal.SIGKILL:
                return self._why
            return (
                f"the process {status}{within}"  # also where it had ended before we could kill it
            )
        return self._why or f"the process closed its output{within}"

    def _take(self, line: bytes) -> None:
        """Take in one message. Raises ProtocolViolation."""
        try:
            message = decode(line)
        except CallError as error:
            raise ProtocolViolation(str(error)) from None
        if isinstance(message, Response):
            self._answered(message)
            return
        self._allowance.spend(trio.current_time())
        if isinstance(message, Notification):
            self._notified(message)
        else:
            raise ProtocolViolation(f"it asks {message.method!r}, but nothing can be asked")

    def _answered(self, response: Response) -> None:
        number = response.id
        asked = self._open.get(number) if type(number) is int else None
        if asked is None or type(number) is not int:
            raise ProtocolViolation(
                f"it answered the request {number!r}, which was not asked or is answered already"
            )
        asked.response = response
        if asked.unwanted:
            self._port.late()
        self._settle(number)

    def _settle(self, number: int) -> None:
        """A request needs no answer any more."""
        asked = self._open.pop(number)
        asked.done.set()
        if asked.turn is not None:
            asked.turn.release()

    def _notified(self, message: Notification) -> None:
        if message.method == "progress":
            self._progress(parse(message.params, Progress, "progress"))
        elif message.method == "log":
            self._log(parse(message.params, Log, "log"))
        elif message.method == "changed":
            self._nursery.start_soon(self.describe)
        else:
            raise ProtocolViolation(f"it notifies {message.method!r}, which is unknown")

    def _progress(self, said: Progress) -> None:
        envelope = self._envelope(said.id)
        token = None if envelope is None else envelope.meta.get("progressToken")
        if envelope is None or token is None:
            return
        params: dict[str, Any] = {"progressToken": token, "progress": said.progress}
        if said.total is not None:
            params["total"] = said.total
        if said.message is not None:
            params["message"] = said.message
        envelope.peer.notify("notifications/progress", Raw(msgspec.json.encode(params)))

    def _log(self, said: Log) -> None:
        logger = said.logger or self._port.agent
        params = Raw(
            msgspec.json.encode({"level": said.level, "logger": logger, "data": said.data})
        )
        if said.id is None:
            self._port.notify("notifications/message", params)
        elif (envelope := self._envelope(said.id)) is not None:
            envelope.peer.notify("notifications/message", params)

    def _envelope(self, number: int) -> Envelope | None:
        """The request that a notification is about, if somebody still waits for it."""
        asked = self._open.get(number)
        return None if asked is None or asked.unwanted else asked.envelope

    # ---- its end

    def _fail(self, reason: FlowError) -> None:
        """It is of no more use: raise the reason.

        The core takes it out of the pool, and then cancels the calls it had, so that none of their callers
        comes back to it.
        """
        self._process.send_signal(signal.SIGKILL)
        if self._lost is None:
            self._lost = reason
        raise reason

    def _failure(self, reason: FlowError) -> CallError:
        agent = self._port.agent
        data = {"agent": agent}
        if isinstance(reason, ProtocolViolation):
            return UpstreamFailure(f"agent {agent!r}: {reason}", data=data)
        return OutcomeUnknown(f"agent {agent!r}: {reason}, while it did this request", data=data)

    def _gone(self) -> AgentUnavailable:
        agent = self._port.agent
        return AgentUnavailable(f"a process of agent {agent!r} is lost", data={"agent": agent})


def _result_of(response: Response | None) -> Raw:
    assert response is not None
    if response.error is not None:
        error = response.error
        data = None if error.data is UNSET else msgspec.json.decode(error.data)
        raise UpstreamError(error.message, code=error.code, data=data)
    assert response.result is not None
    return response.result
