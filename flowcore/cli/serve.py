"""Running a node in the foreground: signals, the start-up report, drain and reload."""

from __future__ import annotations

import gc
import logging
import os
import pathlib
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from typing import TextIO

import attrs
import trio

from flowcore.assembly import LogSettings, read
from flowcore.cli.logs import set_up_logs
from flowcore.cli.pipes import pipe_of
from flowcore.cli.report import agents_report, endpoints_report
from flowcore.cli.systemd import notify
from flowcore.errors import FlowError
from flowcore.flow import Flow, open_reading

logger = logging.getLogger("flowcore.serve")

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
REPORT_WAIT = 5.0
"""Seconds the report waits for agents that are still starting."""


@attrs.define(eq=False)
class Node:
    """One flow in the foreground of a process."""

    config: pathlib.Path
    overrides: Sequence[str]
    log_level: str | None
    log_format: str | None
    _flow: Flow | None = attrs.field(default=None, init=False)
    _serving: trio.Nursery | None = attrs.field(default=None, init=False)
    """While it serves: what is in it ends when that does."""
    _stop: trio.Event = attrs.field(factory=trio.Event, init=False)
    """Set by the first TERM: drain."""
    _now: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    """Cancelled by the second one: everything ends, in order."""

    async def run(self) -> None:
        """Serve until TERM or INT; raises what keeps the node from starting or running."""
        calculate_alone()
        with trio.open_signal_receiver(*SIGNALS) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, signals)
                with self._now:
                    made = read(self.config, self.overrides)
                    self.apply_logs(made.config.log)
                    async with open_reading(made) as flow:
                        self._flow = flow
                        await self._serve(flow)
                notify("STATUS=stopped")
                logger.info("stopped")
                nursery.cancel_scope.cancel()

    async def _serve(self, flow: Flow) -> None:
        settle_garbage()
        out = sys.stderr if any("stdio" in urls for urls in flow.endpoints.values()) else sys.stdout
        say(endpoints_report(flow.status(), seconds_since_start()), out)
        notify("READY=1", f"STATUS=serving {len(flow.agents)} agents")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._report_agents, flow, out)
            nursery.start_soon(self._heed_retirement, flow)
            self._serving = nursery
            await self._stop.wait()
            self._serving = None
            nursery.cancel_scope.cancel()
        notify("STOPPING=1", "STATUS=draining")
        logger.info("draining: up to %g s", flow.config.node.drain)
        if not await flow.drain():
            logger.warning("%d requests were still running and were cut off", await flow.cut())

    async def _heed_retirement(self, flow: Flow) -> None:
        """An operator who retires the node by an edge wants what a TERM does."""
        await flow.retired.wait()
        self._stop.set()

    async def _report_agents(self, flow: Flow, out: TextIO | None) -> None:
        with trio.move_on_after(REPORT_WAIT):
            await flow.wait_settled()
        say(f"\n{agents_report(flow.status())}\n", out)

    def apply_logs(self, log: LogSettings) -> None:
        """Level and form of log lines as configured, unless the command line says otherwise."""
        set_up_logs(self.log_level or log.level, self.log_format or log.format, log.levels)

    async def _listen(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            if number == signal.SIGUSR1:
                print_tasks(sys.stderr)
            elif number == signal.SIGHUP:
                if self._flow is None or self._serving is None:
                    logger.warning("not reloaded: the node is starting or stopping")
                else:
                    self._serving.start_soon(self.reload, self._flow)
            else:
                self._end(self._flow)

    def _end(self, flow: Flow | None) -> None:
        """TERM or INT: drain; the second time end at once, in order; the third time leave everything."""
        if self._now.cancel_called:
            logger.error("something does not end when it is cancelled: leaving without it")
            logging.shutdown()
            os._exit(1)  # child processes see that the node is gone, and end
        if flow is not None and not self._stop.is_set():
            self._stop.set()
            return
        logger.warning("stopping at once")
        self._now.cancel()
        if flow is not None:
            flow.hurry()

    async def reload(self, flow: Flow) -> None:
        """Read the configuration again; on any problem keep running with the old one."""
        notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            done = await flow.reload(self.config, self.overrides)
        except FlowError as error:
            logger.error("not reloaded, running on with the old configuration:\n%s", error)
        except Exception:
            # whatever went wrong with a reload, it does not end a node that serves
            logger.exception("the reload failed before it was done")
        else:
            self.apply_logs(flow.config.log)
            said = ", ".join(done.applied) or "nothing changed that is reloadable"
            logger.info("reloaded: %s", said)
            for one in done.restart:
                logger.warning("needs a restart: %s", one)
            for one in done.failed:
                logger.error("not replaced, the old one goes on: %s", one)
        notify("READY=1")


def say(text: str, out: TextIO | None) -> None:
    """Print to an output that may be closed, full, or gone: nothing said is worth a wait, or an end."""
    if out is None:
        return
    try:
        pipe_of(out.fileno()).write(f"{text}\n")
    except OSError as error:
        logger.warning("nobody reads what flowserve prints: %s", error.strerror)


def calculate_alone() -> None:
    """Have numpy's linear algebra use one thread, unless the environment says how many.

    To be called before numpy is imported. A route multiplies small matrices: to share one takes longer than
    to do it, longest where the other thread waits for a processor, and of those who share only one has its
    turn at a time. How many there are can change the last bit of a product, too, and gates of all nodes are
    to be the same. Agents that are processes of their own do not get this variable.
    """
    if not any(name in os.environ for name in _BLAS_THREADS):
        os.environ[_BLAS_THREADS[0]] = "1"


_BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "GOTO_NUM_THREADS")


def settle_garbage() -> None:
    """Let the garbage collector look no more through what the start has made, and look less often.

    A request leaves no cycles behind; looking for some after every few of them costs a twentieth of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def seconds_since_start() -> float:
    """Seconds since this process was started, interpreter and imports included."""
    fields = pathlib.Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[19])  # starttime: proc(5), counted from the state field
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def print_tasks(out: TextIO | None) -> None:
    """The tree of trio tasks with where each is, as text."""
    import stackscope

    root = trio.lowlevel.current_root_task()
    tree = stackscope.extract(root, recurse_child_tasks=True)
    say(f"{tree}\nend of the task tree", out)
