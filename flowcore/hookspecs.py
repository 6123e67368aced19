"""Every hook a plugin may implement."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import pluggy

if TYPE_CHECKING:
    import pathlib
    import random

    from flowcore.access import Access
    from flowcore.assembly.status import Status
    from flowcore.interfaces import Host
    from flowcore.processes import Launcher

PROJECT = "flowcore"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Context(Protocol):
    """What a component may use, given to its `open`."""

    @property
    def name(self) -> str:
        """The component's path in the configuration, such as `agent.time`."""
        ...

    @property
    def host(self) -> Host:
        """The flow this component is part of. Edges serve it; others rarely need it."""
        ...

    @property
    def data_dir(self) -> pathlib.Path:
        """A folder of the component's own, made when first asked for."""
        ...

    @property
    def config_dir(self) -> pathlib.Path:
        """The folder of the configuration file (or the working directory without one)."""
        ...

    @property
    def random(self) -> random.Random:
        """Chance, seeded from `[node] seed` where one is set, so that a run can be repeated."""
        ...

    async def launcher(self) -> Launcher:
        """The flow's launcher of child processes, started when first asked for; all it starts dies with us.

        Raises flowcore.processes.LauncherFailed.
        """
        ...

    @property
    def access(self) -> Access:
        """Who may come in, as the edge's `auth` says. Every edge asks it before it does anything else."""
        ...

    def component(self, kind: str, name: str = "") -> Any:
        """The opened handle of a component that this one's configuration refers to.

        Without a name: the only one of its kind, such as the `storage` of a consensus engine.
        """
        ...

    def report(self, status: Status, reason: str = "") -> None:
        """Tell the component's status: ok again, degraded, or failed for a reason."""
        ...


Open = Callable[[Any, Context], AbstractAsyncContextManager[Any]]


@attrs.frozen
class Factory:
    """How a component is made.

    `config` is the attrs class of the component's settings, `open` takes an instance of it and the
    Context and gives an async context manager; what it yields must satisfy the kind's protocol in
    `flowcore.interfaces`; the code after the yield is the drain, run un-cancelled under a deadline.
    `stability` is "stable", "beta" or "experimental". `claims(config)` names the exclusive things that
    an instance will take (such as "tcp 127.0.0.1:7300"), so that a plan with two takers is refused;
    `reserved(config)` names what an instance has for itself though others of its type have the same (such as
    "page /status"; a segment `*` is any), so that a plan in which somebody else claims it is refused;
    `exposed(config)` is the address it listens on beyond this machine, or None: without authentication
    such a component is refused. `private` tells that only the program which started the node reaches it, so
    that `auth` would ask nobody: it is refused. `mentions(config)` names components that the settings speak
    of as (kind, name), so that a plan without them is refused; to use one, refer to it
    (`flowcore.config.reference`).
    """

    kind: str
    type: str
    config: builtins.type[Any]
    open: Open
    stability: str = "beta"
    claims: Callable[[Any], tuple[str, ...]] | None = None
    reserved: Callable[[Any], tuple[str, ...]] | None = None
    exposed: Callable[[Any], str | None] | None = None
    private: bool = False
    mentions: Callable[[Any], Iterable[tuple[str, str]]] | None = None


class Registry(Protocol):
    """Where a plugin puts what it offers."""

    def add(self, factory: Factory) -> None:
        """Offer a factory. Raises PluginError if its (kind, type) is taken, naming both plugins."""
        ...


@hookspec(historic=True)
def flow_register(registry: Registry) -> None:
    """Put factories into the registry. Called once per plugin, at assembly, never later.

    Keep the module light: the configuration class and this hook; import what is heavy inside `open`.
    """
