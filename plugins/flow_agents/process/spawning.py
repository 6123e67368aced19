"""How the processes of an agent come to be: from a command each, or all from one template."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

import attrs
import trio

from flowcore.interfaces import AgentPort
from flowcore.processes import Launcher, Process, Template, TemplateLost


@attrs.frozen(kw_only=True)
class Circumstances:
    """What every process of the agent is given; graces in seconds."""

    env: Mapping[str, str]
    cwd: Path
    close_grace: float
    term_grace: float


class Spawn(Protocol):
    """Opens a process; its stderr goes to the port. Raises flowcore.processes.ProcessError."""

    def __call__(self, port: AgentPort) -> AbstractAsyncContextManager[Process]: ...


def from_command(launcher: Launcher, command: Sequence[str], given: Circumstances) -> Spawn:
    """Each process runs the command anew."""

    def spawn(port: AgentPort) -> AbstractAsyncContextManager[Process]:
        return launcher.open_process(
            command,
            env=given.env,
            cwd=given.cwd,
            on_stderr=port.stderr,
            close_grace=given.close_grace,
            term_grace=given.term_grace,
        )

    return spawn


class _Templates:
    """The template of an agent: opened when first needed, and anew when it is needed after its end."""

    def __init__(
        self,
        launcher: Launcher,
        target: str,
        python: Sequence[str],
        given: Circumstances,
        nursery: trio.Nursery,
    ) -> None:
        self._launcher = launcher
        self._target = target
        self._python = python
        self._given = given
        self._nursery = nursery
        self._template: Template | None = None
        self._turn = trio.Lock()
        self._port: AgentPort | None = None

    @asynccontextmanager
    async def spawn(self, port: AgentPort) -> AsyncGenerator[Process]:
        """A fork of the template. One that turns out to have ended is replaced, once."""
        fork = partial(self._fork, port)
        async with contextlib.AsyncExitStack() as stack:
            try:
                process = await stack.enter_async_context(fork(await self._current(port)))
            except TemplateLost:
                process = await stack.enter_async_context(fork(await self._current(port)))
            yield process

    def _fork(self, port: AgentPort, template: Template) -> AbstractAsyncContextManager[Process]:
        return template.open_process(
            on_stderr=port.stderr,
            close_grace=self._given.close_grace,
            term_grace=self._given.term_grace,
        )

    async def _current(self, port: AgentPort) -> Template:
        """The template that lives; its stderr goes to whoever needed it last."""
        self._port = port
        async with self._turn:
            if self._template is None or self._template.ended:
                self._template = await self._nursery.start(self._keep)
            return self._template

    async def _keep(self, *, task_status: trio.TaskStatus[Template]) -> None:
        async with self._launcher.open_template(
            self._target,
            python=self._python,
            env=self._given.env,
            cwd=self._given.cwd,
            on_stderr=self._stderr,
        ) as template:
            task_status.started(template)
            await template.wait()

    def _stderr(self, line: str) -> None:
        if self._port is not None:
            self._port.stderr(line)


@asynccontextmanager
async def open_templates(
    launcher: Launcher, target: str, python: Sequence[str], given: Circumstances
) -> AsyncGenerator[Spawn]:
    """Each process is forked from a template, which is kept until the block ends."""
    async with trio.open_nursery() as nursery:
        yield _Templates(launcher, target, python, given, nursery).spawn
        nursery.cancel_scope.cancel()
