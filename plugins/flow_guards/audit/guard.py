"""The guard: turns requests, refusals and operators' actions into lines, and a task writes them out."""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
import msgspec
import trio

from flow_guards.audit.file import LogFile
from flow_guards.audit.settings import AuditConfig
from flowcore.agents import AccessDenied, ConsensusNoted, Event, FaultInjected, LinkChanged
from flowcore.assembly import Status
from flowcore.audit import Chain
from flowcore.envelope import Envelope, Principal
from flowcore.errors import AgentUnavailable, CallError, InvalidArguments, UnknownTarget
from flowcore.hookspecs import Context
from flowcore.requests import Guard
from flowcore.telemetry import Reading, counter, gauge

logger = logging.getLogger(__name__)

_BATCH = 1000
_KEPT = 500
"""Lines that are at hand without reading the file, the last that were written."""
_TEXT = 256


@attrs.frozen
class _Batch:
    lines: list[bytes]
    first: int
    count: int


class Audit(Guard):
    """Made by `open_guard`."""

    sees_all = True

    def __init__(self, config: AuditConfig, file: LogFile, chain: Chain, context: Context) -> None:
        self._config = config
        self._file = file
        self._chain = chain
        self._context = context
        self._waiting: deque[dict[str, Any]] = deque()
        self._began: dict[str, float] = {}
        self._batch: _Batch | None = None  # made, and not written yet
        self._more = trio.Event()
        self._failure = ""
        self._lost = self._lost_ever = 0
        self.written = 0
        self._tail = bytearray()
        """The last lines, one after the other: of them all no object is kept."""
        self._in_tail = 0

    # ---- what is written down

    def enter(self, envelope: Envelope, now: float) -> None:
        """Let it pass as long as it can be written down; else as configured."""
        if (self._failure or len(self._waiting) >= self._config.queue) and (
            self._config.on_failure == "refuse"
        ):
            raise AgentUnavailable(
                "the audit log cannot be written now", retry_after=self._config.retry
            )
        self._began[envelope.id] = now

    def leave(self, envelope: Envelope, now: float, error: CallError | None) -> None:
        """Write down what came of it."""
        began = self._began.pop(envelope.id, now)
        record = self._of("call", envelope.principal)
        record |= {
            "id": envelope.id,
            "edge": envelope.edge,
            "address": envelope.client,
            "method": envelope.method,
            "agent": envelope.agent,
            "name": envelope.name[:_TEXT],
            "arguments": digest_of(envelope),
            "outcome": outcome_of(error),
            "seconds": round(now - began, 6),
        }
        if (trace := envelope.trace_id) is not None:
            record["trace"] = trace
        if error is not None:
            record["error"] = type(error).__name__
        self._put(record)

    def _now(self) -> str:
        moment = self._context.host.wall.moment()
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def stray(self, envelope: Envelope, error: CallError) -> None:
        """Write down what somebody wanted that is not there: whoever tries names leaves lines, too."""
        self.leave(envelope, trio.current_time(), error)

    def decided(
        self, principal: Principal, action: str, target: str, error: CallError | None
    ) -> None:
        """Write down an operator's action, or that it was refused."""
        record = self._of("operator", principal)
        record |= {"action": action, "target": target[:_TEXT], "outcome": outcome_of(error)}
        if error is not None:
            record["error"] = type(error).__name__
        self._put(record)

    def heed(self, event: Event) -> None:
        """Write down who was not let in, what happens to links, what a rehearsal does, which voter lies."""
        if isinstance(event, FaultInjected):
            self._put(
                {
                    "time": self._now(),
                    "what": "fault",
                    "experiment": event.experiment[:_TEXT],
                    "fault": event.fault,
                    "done": event.what,
                    "target": event.target[:_TEXT],
                    "dry_run": event.dry_run,
                    **{key: text[:_TEXT] for key, text in event.more.items()},
                }
            )
        elif isinstance(event, LinkChanged | ConsensusNoted):
            told = {key: str(text)[:_TEXT] for key, text in event.details.items()}
            self._put({"time": self._now(), "what": event.what, **told})
        elif isinstance(event, AccessDenied):
            self._put(
                {
                    "time": self._now(),
                    "what": "denied",
                    "edge": event.edge,
                    "address": event.address[:_TEXT],
                    "error": event.error,
                    "reason": event.reason[:_TEXT],
                }
            )

    def note(self, what: str, **more: Any) -> None:
        """Write down something of the log itself."""
        self._put({"time": self._now(), "what": what, **more})

    def _of(self, what: str, principal: Principal) -> dict[str, Any]:
        return {
            "time": self._now(),
            "what": what,
            "principal": principal.name[:_TEXT],
            "scheme": principal.scheme,
        }

    def _put(self, record: dict[str, Any]) -> None:
        # twice the queue: what was let in before it was full is written all the same
        if len(self._waiting) >= 2 * self._config.queue:
            self._lost += 1
            self._lost_ever += 1
            return
        self._waiting.append(record)
        self._more.set()

    # ---- writing

    async def write(self) -> None:
        """Write out what waits, batch after batch, until cancelled."""
        while True:
            await self._more.wait()
            self._more = trio.Event()
            await self.flush()

    async def flush(self) -> None:
        """Write out all that waits. A batch that cannot be written is kept, and tried again."""
        while True:
            if self._batch is None:
                self._batch = self._next_batch()
            if self._batch is None:
                return
            if await self._append(self._batch):
                self.written += self._batch.count
                self._keep(self._batch.lines)
                self._batch = None
            else:
                await trio.sleep(self._config.retry)

    def _keep(self, lines: list[bytes]) -> None:
        """Have lines at hand that were written, and let go of old ones now and then."""
        self._tail += b"".join(lines)
        self._in_tail += len(lines)
        if self._in_tail > 4 * _KEPT:
            self._tail = bytearray(b"".join(self._tail.splitlines(keepends=True)[-_KEPT:]))
            self._in_tail = _KEPT

    def _next_batch(self) -> _Batch | None:
        waiting, chain = self._waiting, self._chain
        if self._lost:
            lost, self._lost = self._lost, 0
            waiting.append({"time": self._now(), "what": "lost", "lines": lost})
        count, first = min(_BATCH, len(waiting)), chain.seq + 1
        lines = [chain.line(waiting.popleft()) for _ in range(count)]
        return _Batch(lines, first, count) if count else None

    async def _append(self, batch: _Batch) -> bool:
        try:
            await trio.to_thread.run_sync(self._file.append, b"".join(batch.lines), batch.first)
        except OSError as error:
            if not self._failure:
                self._failure = error.strerror or str(error)
                logger.error("the audit log cannot be written: %s", self._failure)
                self._context.report(Status.DEGRADED, f"cannot be written: {self._failure}")
            return False
        if self._failure:
            self._failure = ""
            logger.warning("the audit log is written again")
            self._context.report(Status.OK)
        return True

    def measure(self, name: str) -> Iterator[Reading]:
        """Its metrics."""
        yield WRITTEN.of(self.written, name)
        yield WAITING.of(len(self._waiting), name)
        yield LOST.of(self._lost_ever, name)
        yield FAILING.of(int(bool(self._failure)), name)

    def act(self, action: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """`tail`: the last lines that were written, at most `most` (50), and only those `after` a number.

        Of those that this run has written, 500 are at hand. Raises UnknownTarget, InvalidArguments.
        """
        if action != "tail":
            raise UnknownTarget(f"audit can show its tail, not {action[:100]!r}")
        most, after = arguments.get("most", 50), arguments.get("after", 0)
        if not arguments.keys() <= {"most", "after"} or not _count(most) or not _count(after):
            raise InvalidArguments("expected the arguments most and after, as numbers from 0 on")
        kept = bytes(self._tail).splitlines()[-_KEPT:]
        lines = [msgspec.json.decode(one) for one in kept[max(0, len(kept) - most) :]]
        return {"lines": [one for one in lines if one["seq"] > after]}

    def status(self) -> dict[str, Any]:
        """How far it is; `seq` is the last line's number, to compare a copy of the log with."""
        return {
            "seq": self._chain.seq,
            "written": self.written,
            "waiting": len(self._waiting),
            "lost": self._lost_ever,
            "failure": self._failure,
        }


WRITTEN = counter(
    "flowcore.audit.written", "{line}", "Lines of the audit log that were written.", "guard"
)
WAITING = gauge("flowcore.audit.waiting", "{line}", "Lines that wait to be written.", "guard")
LOST = counter(
    "flowcore.audit.lost", "{line}", "Lines that there was no room for; the log says so.", "guard"
)
FAILING = gauge(
    "flowcore.audit.failing", "{log}", "1 while the log cannot be written, else 0.", "guard"
)


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def digest_of(envelope: Envelope) -> str:
    """The SHA-256 digest of a request's arguments, as they were sent; empty if it has none."""
    arguments = envelope.params.get("arguments")
    return "" if arguments is None else hashlib.sha256(arguments).hexdigest()


def outcome_of(error: CallError | None) -> str:
    """`result`, `error`, or `refused` for what never began."""
    if error is None:
        return "result"
    return "error" if error.began else "refused"


@asynccontextmanager
async def open_guard(config: AuditConfig, context: Context) -> AsyncGenerator[Audit]:
    """The guard, writing. Raises AssemblyError for a file that cannot be gone on with."""
    named = config.file
    path = context.data_dir / "audit.jsonl" if named is None else named
    key = None if config.key is None else config.key.reveal().encode()
    file = LogFile(path, config.rotate, config.keep, sync=config.sync)
    try:
        last, torn = await trio.to_thread.run_sync(file.last, key)
        guard = Audit(config, file, Chain(key, last), context)
        if torn:
            logger.warning("%s ended within a line, which was set aside", path)
            guard.note("torn", bytes=torn)
        guard.note("start", node=context.host.name)
        forget = context.host.watch(guard.heed, activity=False)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(guard.write)
                yield guard
                nursery.cancel_scope.cancel()
        finally:
            forget()
            guard.note("stop")
            with trio.move_on_after(2 * config.retry, shield=True):
                await guard.flush()
    finally:
        file.close()
