"""The guard: does to requests, links, agents and this machine what the rehearsal says, and undoes it."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import trio

from flow_guards.faults.load import burn, fill_disk, leftovers
from flow_guards.faults.rehearsal import Rehearsal, Running
from flow_guards.faults.settings import OF_LINKS, Experiment, FaultsConfig
from flowcore.agents import FaultInjected
from flowcore.config import ConfigError, settings_from
from flowcore.envelope import Envelope
from flowcore.errors import AgentUnavailable, CallError, InvalidArguments, UnknownTarget
from flowcore.hookspecs import Context
from flowcore.requests import Guard
from flowcore.swarm import Rule
from flowcore.telemetry import Reading, counter, gauge

logger = logging.getLogger(__name__)


class Faults(Guard):
    """Made by `open_guard`."""

    def __init__(self, config: FaultsConfig, context: Context, nursery: trio.Nursery) -> None:
        self._config = config
        self._context = context
        self._host = context.host
        self._nursery = nursery
        self._rehearsal = Rehearsal(config.stop, context.random, self._begin, self._end)
        self._scopes: dict[str, trio.CancelScope] = {}
        self._delays: dict[str, list[tuple[Running, float]]] = {}
        self._entered: dict[str, float] = {}
        self._changed = trio.Event()

    # ---- requests

    def enter(self, envelope: Envelope, now: float) -> None:
        """Let it pass, fail it, or note how long it is to be kept waiting."""
        self._entered[envelope.id] = now
        for running in self._rehearsal.meets(envelope.agent, now):
            experiment = running.experiment
            self._tell(running, "request", envelope.agent, request=envelope.id)
            if experiment.dry_run:
                continue
            if experiment.fault == "error":
                del self._entered[envelope.id]
                self._delays.pop(envelope.id, None)
                self._rehearsal.outcome(now, failed=True, seconds=0.0)
                raise AgentUnavailable(
                    f"rehearsed failure {running.name!r} of agent {envelope.agent!r}",
                    data={"fault": running.name},
                )
            later = self._rehearsal.delay(experiment)
            self._delays.setdefault(envelope.id, []).append((running, later))

    async def hold(self, envelope: Envelope) -> None:
        """Keep it waiting, where it was so noted; an experiment that is undone lets it go."""
        for running, later in self._delays.pop(envelope.id, ()):
            until = trio.current_time() + later
            while running.name in self._rehearsal.running and trio.current_time() < until:
                changed = self._changed
                with trio.move_on_at(until):
                    await changed.wait()

    def leave(self, envelope: Envelope, now: float, error: CallError | None) -> None:
        """See how it ended."""
        self._delays.pop(envelope.id, None)
        began = self._entered.pop(envelope.id, now)
        self._rehearsal.outcome(now, error is not None, now - began)

    # ---- experiments

    def _begin(self, running: Running) -> None:
        experiment, kind = running.experiment, running.experiment.fault
        self._tell(running, "begun")
        if experiment.dry_run:
            return
        if kind in OF_LINKS:
            self._host.weather.set(running.name, _rule(experiment))
        elif kind == "clock":
            offset = -experiment.offset if experiment.behind else experiment.offset
            self._host.wall.set(running.name, offset)
        elif kind == "crash_agent":
            for name in experiment.agents:
                self._crash(running, name)
        elif kind == "crash_node":
            logger.critical("rehearsal %r crashes this node", running.name)
            os.kill(os.getpid(), signal.SIGKILL)
        elif kind in ("processor", "memory", "disk"):
            self._nursery.start_soon(self._load, running)

    def _crash(self, running: Running, name: str) -> None:
        try:
            self._host.agent(name).crash(f"rehearsed crash {running.name!r}")
        except CallError as error:
            logger.warning("rehearsal %r: %s", running.name, error)

    async def _load(self, running: Running) -> None:
        """Keep processors, memory or the disk busy until it is undone."""
        experiment = running.experiment
        with trio.CancelScope() as scope:
            self._scopes[running.name] = scope
            try:
                if experiment.fault == "processor":
                    await burn(await self._context.launcher(), experiment.cores)
                elif experiment.fault == "memory":
                    taken = await trio.to_thread.run_sync(partial(bytearray, experiment.size))
                    await trio.to_thread.run_sync(_touch, taken)
                    await trio.sleep_forever()
                else:
                    async with fill_disk(self._context.data_dir, experiment.size, experiment.leave):
                        await trio.sleep_forever()
            except Exception as error:
                logger.warning("rehearsal %r could not be done: %s", running.name, error)
                self._tell(running, "failed", why=str(error))
            finally:
                self._scopes.pop(running.name, None)

    def _end(self, running: Running, why: str) -> None:
        self._tell(running, "undone", why=why)
        logger.info("rehearsal %r is undone: %s", running.name, why)
        if running.experiment.fault in OF_LINKS and not running.experiment.dry_run:
            self._host.weather.lift(running.name)
        self._host.wall.lift(running.name)
        scope = self._scopes.get(running.name)
        if scope is not None:
            scope.cancel()
        self._wake()

    def _tell(self, running: Running, what: str, target: str = "", **more: str) -> None:
        """Count it, and tell whoever audits."""
        if what in ("begun", "request"):
            self._rehearsal.did(running)
        self._host.emit(
            FaultInjected(
                running.name,
                running.experiment.fault,
                what,
                target or _targets(running.experiment),
                running.experiment.dry_run,
                more,
            )
        )

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def run(self) -> None:
        """Begin and end experiments when they are due, until cancelled."""
        for name in self._config.start:
            self._start(name, self._config.experiments[name])
        while True:
            again = self._rehearsal.tick(trio.current_time())
            changed = self._changed
            with trio.move_on_at(again if again is not None else trio.current_time() + 3600):
                await changed.wait()

    def _start(self, name: str, experiment: Experiment) -> None:
        if experiment.fault in OF_LINKS and not self._host.linked:
            raise InvalidArguments("a fault of links needs a [swarm], and there is none")
        self._rehearsal.start(name, experiment, trio.current_time())
        self._wake()

    # ---- operators

    def act(self, action: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """`list`; `start name=...`, with settings, those that are not given as configured; `stop`."""
        if action == "list":
            return self.status()
        if action == "start":
            return self._start_by_hand(dict(arguments))
        if action == "stop":
            name = arguments.get("name")
            if name is None:
                return {"stopped": self._rehearsal.end_all("by an operator")}
            if not self._rehearsal.end(str(name), "by an operator"):
                raise UnknownTarget(f"no experiment {str(name)[:100]!r} is under way")
            return {"stopped": [name]}
        raise UnknownTarget(f"this guard has no action {action[:100]!r} (known: list, start, stop)")

    def _start_by_hand(self, arguments: dict[str, Any]) -> dict[str, Any]:
        name = arguments.pop("name", None)
        if not isinstance(name, str) or not name:
            raise InvalidArguments("expected the name of an experiment")
        known = self._config.experiments.get(name)
        if known is None and "fault" not in arguments:
            raise UnknownTarget(
                f"no experiment {name[:100]!r} is configured, and no fault is given",
                data={"known": sorted(self._config.experiments)},
            )
        before = {} if known is None else _given(known)
        try:
            experiment = settings_from({**before, **arguments}, Experiment)
        except ConfigError as error:
            raise InvalidArguments("; ".join(str(one) for one in error.problems)) from None
        if experiment.fault == "crash_node" and not self._config.crash_node:
            raise InvalidArguments(
                "this node may not be crashed: its configuration does not allow it"
            )
        self._start(name, experiment)
        return {"started": name, "dry_run": experiment.dry_run, "seconds": experiment.duration}

    def measure(self, name: str) -> Iterator[Reading]:
        """Its metrics."""
        yield EXPERIMENTS.of(len(self._rehearsal.running), name)
        for fault, count in self._rehearsal.injected.items():
            yield INJECTED.of(count, name, fault)

    def status(self) -> dict[str, Any]:
        """What runs, and what was done."""
        now = trio.current_time()
        return {
            "running": [
                {
                    "name": one.name,
                    "fault": one.experiment.fault,
                    "targets": _targets(one.experiment),
                    "dry_run": one.experiment.dry_run,
                    "begun": one.begun,
                    "left": round(one.ends - now, 3),
                    "injected": one.injected,
                }
                for one in self._rehearsal.running.values()
            ],
            "configured": sorted(self._config.experiments),
            "injected": dict(self._rehearsal.injected),
            "stopped": self._rehearsal.stopped,
        }


EXPERIMENTS = gauge("flowcore.faults.running", "{experiment}", "Experiments that run.", "guard")
INJECTED = counter(
    "flowcore.faults.injected", "{fault}", "Faults that were injected.", "guard", "fault"
)


def _rule(experiment: Experiment) -> Rule:
    kind = experiment.fault
    return Rule(
        nodes=frozenset(experiment.nodes),
        way=experiment.way,
        delay=experiment.delay if kind == "link_latency" else 0.0,
        jitter=experiment.jitter if kind == "link_latency" else 0.0,
        loss=experiment.rate if kind == "link_loss" else 0.0,
        cut=kind == "partition",
    )


def _targets(experiment: Experiment) -> str:
    return ", ".join(experiment.agents or experiment.nodes) or "all"


def _given(experiment: Experiment) -> dict[str, Any]:
    """Its settings, as somebody might have written them."""
    given: dict[str, Any] = {}
    for key, value in attrs.asdict(experiment).items():
        if key in ("delay", "jitter", "offset", "after", "duration"):
            given[key] = f"{round(1e6 * value)}us"
        elif key in ("size", "leave"):
            given[key] = f"{value}B"
        else:
            given[key] = list(value) if isinstance(value, tuple) else value
    return given


def _touch(taken: bytearray) -> None:
    """Have every page of it."""
    for at in range(0, len(taken), 4096):
        taken[at] = 1


@asynccontextmanager
async def open_guard(config: FaultsConfig, context: Context) -> AsyncGenerator[Faults]:
    """Experiments that may be started; all are undone when the node ends."""
    await leftovers(context.data_dir)
    async with trio.open_nursery() as nursery:
        faults = Faults(config, context, nursery)
        nursery.start_soon(faults.run)
        try:
            yield faults
        finally:
            faults._rehearsal.end_all("the node ends")
            nursery.cancel_scope.cancel()
