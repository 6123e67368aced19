"""The `process` agent: a child process, in any language, that speaks JSON-RPC 2.0 on stdin and stdout.

The protocol, version 1. A message is one JSON object in one line of UTF-8, ended by a newline; requests
carry an integer `id`, and each is answered exactly once, in any order. flowcore asks:

- `describe {"protocol": 1, "agent", "worker"}` → `{"tools": [{"name", "description", "inputSchema", ...}]}`,
  the tools as in MCP, with any further fields; also `"concurrent": true` if the process takes further calls
  while it works on one (otherwise they are sent one at a time), and `"instructions": "..."`.
- `call {"tool", "arguments", "meta", "request", "deadline"}` → the result: an MCP tool result (an object with
  a `content` array) is passed on as it is; a string becomes text; null nothing; any other value structured
  content. `request` is the request's UUID, `deadline` the seconds left for it, `meta` the caller's `_meta`.
- `ping {}` → anything. Asked while no call is under way.

and notifies `cancel {"id"}`: the answer to that call is not wanted any more. It must come nevertheless (an
error will do) within `cancel_grace`, or the process is taken to hang, is killed, and started again.

The process may notify `progress {"id", "progress", "total"?, "message"?}` and
`log {"data", "level"?, "logger"?, "id"?}`, `id` being a call's, and `changed {}` when it wants to be asked
to describe itself again. A JSON-RPC error it answers with reaches the caller as it is. stderr is free: its
last lines are shown in the status. The end of stdin means: finish and exit.

A process that breaks the protocol (a line that is no such message or longer than `max_message`, an answer
to what was not asked or was answered before, more than `chatter` notifications a second) is killed and
started again; the calls it had get an `UpstreamFailure`. If it exits, they get an `OutcomeUnknown`.
"""

from __future__ import annotations

import pathlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import trio

from flowcore.config import Duration, Secret, Size, setting
from flowcore.config import validators as v
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.interfaces import AgentPort, PoolDefaults, Worker, WorkerSource

if TYPE_CHECKING:
    from flow_agents.process.spawning import Spawn


@attrs.frozen(kw_only=True)
class ProcessConfig:
    """A program of your own that speaks JSON-RPC on stdin and stdout, in any language."""

    command: tuple[str, ...] = setting(
        (),
        help='the program and its arguments; "python" as the program is the interpreter of flowcore; with a'
        ' template only the interpreter and its options, ["python"] if unset',
    )
    template: str | None = setting(
        None,
        validator=v.matches(
            r"[^:]+:[A-Za-z_][\w.]*",
            'a function such as "package.module:main" or "./agent.py:main"',
        ),
        help="a Python function that is the program, as package.module:name or ./file.py:name: imported once"
        " and forked for each process, which takes milliseconds instead of a start",
    )
    env: dict[str, str | Secret] = setting(
        factory=dict,
        help="environment variables of the process, besides PATH, HOME, LANG and the like",
    )
    cwd: pathlib.Path | None = setting(
        None, help="its working directory; unset: the folder of the configuration file"
    )
    max_message: Size = setting(16 << 20, validator=v.ge(1024), help="most bytes of a message")
    chatter: int = setting(
        1000, validator=v.ge(1), help="most notifications a second, averaged over ten"
    )
    cancel_grace: Duration = setting(
        5.0, validator=v.gt(0), help="how long a cancelled call may go on before it is killed"
    )
    close_grace: Duration = setting(
        0.5, validator=v.ge(0), help="time to exit by itself once its stdin is closed"
    )
    term_grace: Duration = setting(
        2.0, validator=v.ge(0), help="time to exit after SIGTERM, before SIGKILL"
    )

    def __attrs_post_init__(self) -> None:
        if not self.command and self.template is None:
            raise ValueError("expected a command, or a template")


class ProcessSource:
    """Makes workers, a process each."""

    heartbeat = True
    pool_defaults = PoolDefaults(min=0, max=100, concurrency=1)

    def __init__(self, config: ProcessConfig, spawn: Spawn) -> None:
        self._config = config
        self._spawn = spawn

    @asynccontextmanager
    async def open_worker(self, port: AgentPort) -> AsyncGenerator[Worker]:
        """Start a process and ask what it offers."""
        from flow_agents.process.worker import ProcessWorker

        config = self._config
        async with self._spawn(port) as process:
            async with trio.open_nursery() as nursery:
                worker = ProcessWorker(
                    port,
                    process,
                    nursery,
                    max_message=config.max_message,
                    chatter=config.chatter,
                    cancel_grace=config.cancel_grace,
                )
                nursery.start_soon(worker.run)
                await worker.describe()
                yield worker
                nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_process_agent(
    config: ProcessConfig, context: Context
) -> AsyncGenerator[WorkerSource]:
    """The maker of the agent's processes."""
    from flow_agents.process.spawning import Circumstances, from_command, open_templates

    given = Circumstances(
        env={
            name: value.reveal() if isinstance(value, Secret) else value
            for name, value in config.env.items()
        },
        cwd=context.config_dir if config.cwd is None else config.cwd,
        close_grace=config.close_grace,
        term_grace=config.term_grace,
    )
    launcher = await context.launcher()
    if config.template is None:
        yield ProcessSource(config, from_command(launcher, config.command, given))
        return
    python = config.command or ("python",)
    async with open_templates(launcher, config.template, python, given) as spawn:
        yield ProcessSource(config, spawn)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("agent", "process", ProcessConfig, open_process_agent, stability="beta"))
