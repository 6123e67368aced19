"""The `python` agent: a function, class, object or module of your own, by import path or file."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import pathlib
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import trio

from flowcore.config import Given, Secret, setting
from flowcore.config import validators as v
from flowcore.errors import AssemblyError
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.interfaces import AgentPort, PoolDefaults, Worker, WorkerSource
from flowcore.secrets import refuse_weak_key

if TYPE_CHECKING:
    from flowcore.native import NativeAgent


@attrs.frozen(kw_only=True)
class PythonConfig:
    """A Python callable, class or module: async functions run in the node's loop, others in threads."""

    target: str | Given = setting(
        validator=v.matches(
            r"[^:]+(:[A-Za-z_][\w.]*)?",
            'an import path such as "package.module:function" or a file such as "./agent.py:Agent"',
        ),
        help="what to call: package.module:name, or ./file.py:name; without a name the whole module",
    )
    options: dict[str, Any] = setting(
        factory=dict, help="arguments for the constructor, where the target is a class"
    )
    tool: str | None = setting(
        None, help="the tool's name, where the target is a single function; unset: the function's"
    )
    threads: int = setting(
        40,
        validator=v.ge(1),
        help="most functions that are not async at work at a time, with those whose callers have gone",
    )
    state_key: Secret | None = setting(
        None,
        help="what seals the states that callers keep between two calls; the same on every node that"
        " shares the work, 32 bytes or more; unset: a new random one at each start",
    )

    def __attrs_post_init__(self) -> None:
        if self.state_key is not None and len(self.state_key.reveal().encode()) < 32:
            raise ValueError("expected a state_key of 32 bytes or more")
        if self.state_key is not None:
            refuse_weak_key(self.state_key.reveal().encode(), "the state_key")

    @property
    def called(self) -> str:
        """The target's name, for messages."""
        return str(self.target)


class PythonSource:
    """Makes a worker of the target: an instance of a class each, or the same object for all.

    Raises AssemblyError if the target cannot be an agent.
    """

    heartbeat = False

    def __init__(self, target: Any, config: PythonConfig) -> None:
        from flowcore.native import Offering, Seal, Threads, offering_of

        self._target = target
        self._config = config
        self._offering = offering_of(target, where=config.called, tool=config.tool)
        self._added = Offering()
        key = config.state_key
        self._seal = Seal(key.reveal().encode() if key is not None else None)
        self._threads = Threads(config.threads)
        self._constructing = Threads(config.threads)
        self._is_class = inspect.isclass(target)
        if config.options and not self._is_class:
            raise AssemblyError(f"{config.called}: it is no class that could take options")
        self._wants_agent = _agent_parameter(target) if self._is_class else None
        self.pool_defaults = (
            PoolDefaults() if self._is_class else PoolDefaults(min=1, max=1, concurrency=1000)
        )

    @asynccontextmanager
    async def open_worker(self, port: AgentPort) -> AsyncGenerator[Worker]:
        """A worker; an instance that is an async context manager is open as long as it."""
        from flowcore.native import NativeAgent, NativeWorker, Offers

        offers = Offers(self._offering, self._added, self._config.called)
        agent = NativeAgent(port, offers)
        async with contextlib.AsyncExitStack() as stack:
            if self._is_class:
                offers.own = self._offering.bound_to(await self._instance(port, agent, stack))
            port.announce(offers.catalog())
            # another instance takes the place of one whose thread goes on; what all share needs none
            left_behind = partial(_left_behind, port, retire=self._is_class)
            yield NativeWorker(agent, offers, self._seal, self._threads, left_behind)

    async def _instance(
        self, port: AgentPort, agent: NativeAgent, stack: contextlib.AsyncExitStack
    ) -> Any:
        """An instance: constructed in a thread, since that may take its time, or for ever."""
        given = dict(self._config.options)
        if self._wants_agent is not None:
            given[self._wants_agent] = agent
        with _not_ending_us(self._config.called):
            instance = await self._constructing.run(
                partial(self._target, **given),
                partial(port.left_behind, "its constructor still runs in its thread", retire=False),
            )
            if hasattr(instance, "__aenter__"):
                instance = await stack.enter_async_context(instance)
        return instance


def _left_behind(port: AgentPort, what: str, *, retire: bool) -> Callable[[], None]:
    """A function goes on in its thread, its caller gone; what it will give comes late."""
    over = port.left_behind(what, retire=retire)

    def ended() -> None:
        port.late()
        over()

    return ended


def _agent_parameter(cls: type) -> str | None:
    """The constructor's parameter that is to be given the NativeAgent."""
    try:
        parameters = inspect.signature(cls).parameters
    except (ValueError, TypeError):
        return None
    for name, parameter in parameters.items():
        annotation = parameter.annotation
        text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
        if text.rpartition(".")[2] == "NativeAgent":
            return name
    return None


@contextlib.contextmanager
def _not_ending_us(what: str) -> Generator[None]:
    """`sys.exit()` in somebody's code is a failure of that code, and does not end the node."""
    try:
        yield
    except SystemExit as error:
        raise AssemblyError(f"{what} called sys.exit({error.code!r})") from error


def load_target(target: str, folder: pathlib.Path) -> Any:
    """The object that a target names. Raises AssemblyError saying what could not be found, or whatever the
    module raises when it is executed.

    A file is executed anew each time, as a module of its own; its folder is not on the import path.
    """
    place, _, name = target.partition(":")
    with _not_ending_us(place):
        found: Any = _load_file(folder / place) if place.endswith(".py") else _load_module(place)
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
    """Import the target, in a thread since imports may be slow, and make workers of it.

    An import that takes longer than the agent may take to open is left behind in its thread: nothing waits
    for it, and another life begins another one.
    """
    if isinstance(config.target, Given):
        target = config.target.what
    else:
        target = await trio.to_thread.run_sync(
            load_target,
            config.target,
            context.config_dir,
            abandon_on_cancel=True,
            limiter=trio.CapacityLimiter(
                1
            ),  # its own, so that none that hangs takes another's place
        )
    yield PythonSource(target, config)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("agent", "python", PythonConfig, open_python, stability="beta"))
