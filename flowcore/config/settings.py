"""How a configuration class is written: `setting`, `selection` and `reference` fields.

    @attrs.frozen(kw_only=True)
    class PoolSettings:
        max: int = setting(100, validator=v.ge(1), help="most workers at a time")

The classes are plain attrs classes: they can be made by hand as well as from TOML. What TOML, JSON schema
and the reference docs need is in the fields' metadata, under one key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs

from flowcore.config.problems import Where

METADATA = "flowcore"


@attrs.frozen(kw_only=True)
class About:
    """What a field's metadata says of it."""

    help: str
    reloadable: bool = False
    validator: Callable[[Any], None] | None = None
    selects: str | None = None
    """The kind of component that this field selects."""
    common: type | None = None
    """Settings that every component selected here has besides its own."""
    refers: str | None = None
    """The kind of component that this field names."""


@attrs.frozen(kw_only=True)
class Selection:
    """A component chosen by type, with its settings."""

    kind: str
    type: str
    name: str
    """The key of its table (`time` in `[agent.time]`), or the field's name for an inner one."""
    config: Any
    """An instance of the plugin's own configuration class."""
    common: Any = None
    path: str = ""
    """Where it stands in the configuration, such as `agent.time` or `agent.time.balancer`."""
    where: Where = attrs.field(factory=Where, eq=False)


_REQUIRED: Any = attrs.NOTHING


def setting(
    default: Any = _REQUIRED,
    *,
    factory: Callable[[], Any] | None = None,
    validator: Callable[[Any], None] | None = None,
    help: str,  # noqa: A002 - the word users of argparse and click know
    reloadable: bool = False,
) -> Any:
    """A key of a configuration table. Without `default` or `factory` it must be given.

    `validator` raises ValueError with what was expected. `reloadable` keys take effect on HUP.
    """
    about = About(help=help, reloadable=reloadable, validator=validator)
    return _field(default, factory, about)


def selection(
    kind: str,
    default: Any = _REQUIRED,
    *,
    common: type | None = None,
    many: bool = False,
    help: str,  # noqa: A002
    reloadable: bool = False,
) -> Any:
    """A key that selects a component of a kind by its type; with `many` a table of named ones.

    In TOML: the bare type, or a table with `type` and the settings of that type, strictly checked.
    A `default` is such a bare type.
    """
    about = About(help=help, reloadable=reloadable, selects=kind, common=common)
    return _field(default, dict if many else None, about)


def reference(kind: str, default: Any = _REQUIRED, *, help: str) -> Any:  # noqa: A002
    """A key that names one component of a kind (annotated `str`), or several (`tuple[str, ...]`)."""
    return _field(default, None, About(help=help, refers=kind))


def _field(default: Any, factory: Callable[[], Any] | None, about: About) -> Any:
    check = about.validator
    return attrs.field(
        default=default if factory is None else attrs.Factory(factory),
        validator=None if check is None else lambda _obj, _field, value: _validate(check, value),
        metadata={METADATA: about},
        kw_only=True,
    )


def _validate(check: Callable[[Any], None], value: Any) -> None:
    if value is not None:
        check(value)


def about(field: attrs.Attribute[Any]) -> About:
    """What a field says of itself. Raises TypeError for a field made without `setting`."""
    found = field.metadata.get(METADATA)
    if not isinstance(found, About):
        raise TypeError(
            f"the field {field.name!r} of a configuration class is not made by setting()"
        )
    return found


def references(config: Any) -> Iterator[tuple[str, str]]:
    """The (kind, name) of every component that a configuration object refers to by name."""
    for field in attrs.fields(type(config)):
        kind = about(field).refers
        value = getattr(config, field.name)
        if kind is not None and value is not None:
            for name in (value,) if isinstance(value, str) else value:
                yield kind, name
        elif is_settings(value):
            yield from references(value)


def is_settings(value: Any) -> bool:
    """Whether a value is itself an object of a configuration class."""
    if isinstance(value, Selection) or not attrs.has(type(value)):
        return False
    return any(METADATA in one.metadata for one in attrs.fields(type(value)))
