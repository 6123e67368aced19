"""The registry: which factory answers to which kind and type, and which plugin put it there."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager

import attrs

from flowcore.assembly.kinds import KINDS
from flowcore.config import check_class
from flowcore.config.problems import known_words
from flowcore.errors import PluginError
from flowcore.hookspecs import Factory

STABILITIES = ("stable", "beta", "experimental")


@attrs.frozen
class Registered:
    """A factory with the name of the plugin that registered it."""

    factory: Factory
    plugin: str


@attrs.frozen
class Broken:
    """A plugin that could not be loaded, and why."""

    plugin: str
    error: BaseException

    def __str__(self) -> str:
        said = " ".join(str(self.error).split())  # one line, however many the error has
        return f"plugin {self.plugin!r} could not be loaded: {type(self.error).__name__}: {said}"


class FactoryRegistry:
    """Every factory by (kind, type). A name is claimed once; a plugin that fails leaves nothing."""

    def __init__(self) -> None:
        self._factories: dict[tuple[str, str], Registered] = {}
        self._plugin: str | None = None
        self.broken: list[Broken] = []
        self.disabled: list[str] = []

    def add(self, factory: Factory) -> None:
        """Take a factory in. Raises PluginError for a taken name or a factory that cannot be one."""
        if self._plugin is None:
            raise PluginError("factories are added from a plugin's flow_register hook only")
        self._check(factory)
        key = (factory.kind, factory.type)
        taken = self._factories.get(key)
        if taken is not None:
            raise PluginError(
                f"{factory.kind} type {factory.type!r} is claimed by plugin {self._plugin!r}"
                f" and by plugin {taken.plugin!r}; leave one of them out under [plugins]"
            )
        self._factories[key] = Registered(factory, self._plugin)

    def _check(self, factory: Factory) -> None:
        if not isinstance(factory, Factory):
            raise PluginError(
                f"plugin {self._plugin!r} registered {factory!r}, which is no Factory"
            )
        if factory.kind not in KINDS:
            raise PluginError(
                f"plugin {self._plugin!r} registered a factory of kind {factory.kind!r}"
                f"{known_words(str(factory.kind), sorted(KINDS))}"
            )
        type_: object = factory.type  # a plugin need not be type-checked
        if not isinstance(type_, str) or not type_:
            raise PluginError(
                f"plugin {self._plugin!r} registered an {factory.kind} whose type is"
                f" {factory.type!r}, which is no name"
            )
        if not callable(factory.open):
            raise PluginError(
                f"{factory.kind} {factory.type!r} of plugin {self._plugin!r}:"
                f" its open must be an async context manager function, not {factory.open!r}"
            )
        if not attrs.has(factory.config):
            raise PluginError(
                f"{factory.kind} {factory.type!r} of plugin {self._plugin!r}:"
                f" its config must be an attrs class, not {factory.config!r}"
            )
        try:
            check_class(factory.config)
        except TypeError as error:
            raise PluginError(
                f"{factory.kind} {factory.type!r} of plugin {self._plugin!r}: {error}"
            ) from error
        if factory.stability not in STABILITIES:
            raise PluginError(
                f"{factory.kind} {factory.type!r} of plugin {self._plugin!r}:"
                f" stability {factory.stability!r} is none of {', '.join(STABILITIES)}"
            )

    @contextmanager
    def providing(self, plugin: str) -> Generator[None]:
        """Whatever is added within comes from this plugin; if the block fails, all of it is taken back."""
        before, factories = self._plugin, dict(self._factories)
        self._plugin = plugin
        try:
            yield
        except BaseException:
            self._factories = factories
            raise
        finally:
            self._plugin = before

    def factory(self, kind: str, type_: str) -> Factory:
        """The factory of that kind and type. Raises PluginError naming near misses."""
        known = self._factories.get((kind, type_))
        if known is not None:
            return known.factory
        raise PluginError(
            f"there is no {kind} type {type_!r}{known_words(type_, self.known(kind))}"
        )

    def lookup(self, kind: str, type_: str) -> type | None:
        """The configuration class of that kind and type, or None."""
        known = self._factories.get((kind, type_))
        return None if known is None else known.factory.config

    def known(self, kind: str) -> Sequence[str]:
        """The types of that kind, sorted."""
        return sorted(type_ for of, type_ in self._factories if of == kind)

    def note(self, kind: str, type_: str) -> str | None:
        """What else to say of an unknown type: a broken or disabled plugin may be the one that has it."""
        del kind, type_
        disabled = [f"disabled: {', '.join(self.disabled)}"] if self.disabled else []
        return "; ".join([*map(str, self.broken), *disabled]) or None

    def all(self) -> tuple[Registered, ...]:
        """Everything registered, by kind and type."""
        return tuple(self._factories[key] for key in sorted(self._factories))
