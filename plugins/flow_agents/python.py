"""The `python` agent: a function, class, object or module of your own, by import path or file."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import pathlib
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from flowcore.config import setting
from flowcore.config import validators as v
from flowcore.errors import AssemblyError
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.interfaces import AgentPort, PoolDefaults, Worker, WorkerSource


@attrs.frozen(kw_only=True)
class PythonConfig:
    """A Python callable, class or module: async functions run in the node's loop, others in threads."""

    target: str = setting(
        validator=v.matches(
            r"[^:]+(:[A-Za-z_][\w.]*)?",
            'an import path such as "package.module:function" or a file such as "./agent.py:Agent"',
        ),
        help="what to call: package.module:name, or ./file.py:name; without a name the whole module",
    )
    threads: int = setting(
        40, validator=v.ge(1), help="most calls of functions that are not async at a time"
    )


class PythonSource:
    """Makes a worker of the target: an instance of a class each, or the same object for all."""

    heartbeat = False

    def __init__(self, target: Any, config: PythonConfig) -> None:
        from flowcore.native import Seal

        self._target = target
        self._config = config
        self._seal = Seal()
        self._threads = trio.CapacityLimiter(config.threads)
        shared = not inspect.isclass(target)
        self.pool_defaults = (
            PoolDefaults(min=1, max=1, concurrency=1000) if shared else PoolDefaults()
        )

    @asynccontextmanager
    async def open_worker(self, port: AgentPort) -> AsyncGenerator[Worker]:
        """A worker; an instance that is an async context manager is open as long as it."""
        from flowcore.native import NativeWorker, offering_of

        async with contextlib.AsyncExitStack() as stack:
            target: Any = self._target
            if inspect.isclass(target):
                target = self._target()
                if hasattr(target, "__aenter__"):
                    target = await stack.enter_async_context(target)
            offering = offering_of(target, where=self._config.target)
            bind = getattr(target, "bind_port", None)
            if callable(bind) and not inspect.ismodule(target):
                bind(port)
            port.announce(offering.catalog())
            yield NativeWorker(port.agent, offering, self._seal, self._threads)


def load_target(target: str, folder: pathlib.Path) -> Any:
    """The object that a target names. Raises AssemblyError saying what could not be found."""
    place, _, name = target.partition(":")
    module = _load_file(folder / place) if place.endswith(".py") else _load_module(place)
    found: Any = module
    for part in name.split(".") if name else ():
        try:
            found = getattr(found, part)
        except AttributeError:
            raise AssemblyError(f"target {target!r}: {place} has no {part!r}") from None
    return found


def _load_module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise AssemblyError(f"there is no module {error.name!r} to import for {name!r}") from error


def _load_file(path: pathlib.Path) -> Any:
    path = path.resolve()
    if not path.is_file():
        raise AssemblyError(f"there is no file {str(path)!r}")
    name = f"flowcore_agent_{path.stem}_{hashlib.sha256(bytes(path)).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise AssemblyError(f"{str(path)!r} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it is executed, or its annotations cannot be resolved
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@asynccontextmanager
async def open_python(config: PythonConfig, context: Context) -> AsyncGenerator[WorkerSource]:
    """Import the target, in a thread since imports may be slow, and make workers of it."""
    target = await trio.to_thread.run_sync(load_target, config.target, context.config_dir)
    yield PythonSource(target, config)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("agent", "python", PythonConfig, open_python, stability="beta"))
