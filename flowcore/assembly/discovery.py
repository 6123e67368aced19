"""Finding plugins: installed ones by entry point, one-file ones by path, and given ones as objects.

pluggy's own loader takes entry points in the order of a directory scan and dies with the first that
cannot be imported (see its `load_setuptools_entrypoints`), so this loop is ours: sorted by name, each on
its own, disabled ones skipped before they are imported.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import itertools
import logging
import os
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib import metadata

import attrs
import pluggy

from flowcore import hookspecs
from flowcore.assembly.registry import Broken, FactoryRegistry
from flowcore.errors import PluginError

GROUP = "flowcore.plugins"
HOOK = "flow_register"
_MARK = f"{hookspecs.PROJECT}_impl"
"""What `hookimpl` gives to a hook."""
DISABLE_VARIABLE = "FLOWCORE_DISABLE_PLUGINS"
TRACE_VARIABLE = "FLOWCORE_TRACE_PLUGINS"

logger = logging.getLogger(__name__)


@attrs.frozen
class Found:
    """A plugin that was found: loaded, broken or disabled, and where it came from."""

    name: str
    origin: str
    """The distribution with its version, the file's path, or "given"."""
    state: str
    """One of "loaded", "broken", "disabled"."""


@attrs.frozen
class Plugins:
    """All that discovery found, and the registry it filled."""

    registry: FactoryRegistry
    found: tuple[Found, ...]


def discover(
    *,
    disable: Iterable[str] = (),
    files: Sequence[pathlib.Path] = (),
    given: Sequence[object] = (),
) -> Plugins:
    """Load every plugin that is installed, named by path or given, and let each register.

    A plugin that fails is listed as broken in the registry and disturbs no other. `disable` names
    entry points to skip; the environment's FLOWCORE_DISABLE_PLUGINS (comma separated) adds to it. Raises
    PluginError for a disabled name that no plugin has.
    """
    from_environment = os.environ.get(DISABLE_VARIABLE, "").split(",")
    disabled = {*disable, *(name.strip() for name in from_environment if name.strip())}
    return _Discovery().run(disabled, files, given)


def installed() -> list[metadata.EntryPoint]:
    """The entry points of every installed plugin, by name."""
    return sorted(metadata.entry_points(group=GROUP), key=lambda point: point.name)


class _Manager(pluggy.PluginManager):
    """Looks closely only at what is marked, where pluggy does so at every name of every plugin."""

    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        """As pluggy has it."""
        if not hasattr(getattr(plugin, name, None), _MARK):
            return None
        return super().parse_hookimpl_opts(plugin, name)


class _Discovery:
    def __init__(self) -> None:
        self.manager = _Manager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
        if os.environ.get(TRACE_VARIABLE):
            self.manager.trace.root.setwriter(lambda text: logger.info("%s", text.rstrip()))
            self.manager.enable_tracing()
        self.registry = FactoryRegistry()
        self.found: list[Found] = []
        # historic: each plugin's hook runs inside its own registration, so the registry knows whose it is
        self.manager.hook.flow_register.call_historic(kwargs={"registry": self.registry})

    def run(
        self, disabled: set[str], files: Sequence[pathlib.Path], given: Sequence[object]
    ) -> Plugins:
        points = installed()
        unknown = disabled - {point.name for point in points}
        if unknown:
            raise PluginError(
                f"no installed plugin is named {', '.join(map(repr, sorted(unknown)))}, so it cannot be"
                f" disabled (installed: {', '.join(point.name for point in points)})"
            )
        origins: dict[metadata.Distribution | None, str] = {None: "unknown"}
        for point in points:
            if point.dist is not None and point.dist not in origins:
                about = (
                    point.dist.metadata
                )  # to read it takes a millisecond: once for all its plugins
                origins[point.dist] = f"{about['Name']} {about['Version']}"
            origin = origins[point.dist]
            if point.name in disabled:
                self.registry.disabled.append(point.name)
                self.found.append(Found(point.name, origin, "disabled"))
            else:
                self._take(point.name, origin, point.load)
        for path in files:
            self._take(self._free(path.stem, str(path)), str(path), partial(load_file, path))
        for plugin in given:
            name = getattr(plugin, "__name__", type(plugin).__name__)
            self._take(self._free(name, f"{name} of {plugin!r}"), "given", partial(_given, plugin))
        return Plugins(self.registry, tuple(self.found))

    def _free(self, name: str, longer: str) -> str:
        """The first of the two names that no plugin has yet, or the longer one with a number."""
        taken = {one.name for one in self.found}
        names = itertools.chain((name, longer), (f"{longer} ({n})" for n in itertools.count(2)))
        return next(one for one in names if one not in taken)

    def _take(self, name: str, origin: str, load: Callable[[], object]) -> None:
        try:
            with self.registry.providing(name):
                plugin = load()
                _check_hook(name, plugin)
                self.manager.register(plugin, name)
                self.manager.check_pending()
        except (Exception, SystemExit) as error:
            # one broken plugin disturbs no other: it is listed, and named when its type is asked for
            if self.manager.has_plugin(name):
                self.manager.unregister(name=name)
            broken = Broken(name, error)
            logger.warning("%s", broken)
            self.registry.broken.append(broken)
            self.found.append(Found(name, origin, "broken"))
        else:
            self.found.append(Found(name, origin, "loaded"))


def _check_hook(name: str, plugin: object) -> None:
    """Raise PluginError for what pluggy would pass over in silence."""
    hook = getattr(plugin, HOOK, None)
    if inspect.iscoroutinefunction(hook):
        raise PluginError(f"{HOOK} of plugin {name!r} is async: it is called without await")
    marked = (getattr(one, _MARK, None) for one in _members(plugin))
    if not any(marked):
        advice = "is not marked with @hookimpl" if hook is not None else "is missing"
        raise PluginError(f"plugin {name!r} implements no hook; {HOOK} {advice}")


def _given(plugin: object) -> object:
    return plugin


def _members(plugin: object) -> Iterator[object]:
    return (getattr(plugin, name, None) for name in dir(plugin))


def load_file(path: pathlib.Path) -> object:
    """Import a one-file plugin. Raises PluginError if there is no such file; else what its code raises.

    The module is in `sys.modules` before it is executed, or `typing.get_type_hints` fails in it.
    """
    path = path.resolve()
    if not path.is_file():
        raise PluginError(f"there is no plugin file {str(path)!r}")
    name = f"flowcore_plugin_{path.stem}_{hashlib.sha256(bytes(path)).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{str(path)!r} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
