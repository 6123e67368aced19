"""What holds for the settings of every component, and for what its factory says of them."""

from __future__ import annotations

import inspect
import math
from typing import Any

import attrs
import msgspec

from flowcore.config import ConfigError, json_schema, settings_table, show
from flowcore.config.shapes import Anything, Maybe
from flowcore.config.tables import shaped_fields
from flowcore.testing.bench import Bench
from flowcore.testing.findings import Wrong

_VALUES: tuple[Any, ...] = (
    *(0, 1, -1, 17, 2**31, 2**63 - 1, 2**70, 0.5, -0.0, math.nan, math.inf, True),
    *("", " ", "1s", "-1s", "no such thing", "\x00", "ü" * 10_000, "127.0.0.1:99999", "../.."),
    *([], [1], [""], [[]], {}, {"x": 1}, {"type": "no such type"}, {"env": "FLOW_NOT_SET"}, None),
)
"""What people, and their mistakes, write for a key."""


async def are_documented(bench: Bench) -> None:
    """the settings class has a docstring, and every key a help"""
    cls = bench.factory.config
    if not inspect.cleandoc(vars(cls).get("__doc__") or ""):
        raise Wrong(
            f"{cls.__name__} has no docstring; its first line is shown by `flowserve plugins`"
        )
    silent = [key for key, _, _, meaning in settings_table(cls) if not meaning.strip()]
    if silent:
        raise Wrong(f"no help for {', '.join(silent)}")


async def are_frozen(bench: Bench) -> None:
    """settings cannot be changed once they are made, and are equal when their values are"""
    one, other = bench.made(), bench.made()
    if one != other:
        raise Wrong(f"two {type(one).__name__} of the same table are not equal; is eq=False set?")
    for field in attrs.fields(type(one)):
        try:
            setattr(one, field.name, getattr(one, field.name))
        except attrs.exceptions.FrozenInstanceError:
            continue
        raise Wrong(f"{type(one).__name__}.{field.name} can be set; use attrs.frozen")


async def can_be_shown(bench: Bench) -> None:
    """the settings can be shown as TOML, and their schema as JSON"""
    show(bench.made())
    msgspec.json.encode(json_schema(bench.factory.config, {}))


async def refuse_unknown_keys(bench: Bench) -> None:
    """an unknown key is refused, and named"""
    try:
        bench.made(no_such_key=1)
    except ConfigError as error:
        if "no_such_key" not in str(error):
            raise Wrong(f"the refusal does not name the key: {error}") from None
    else:
        raise Wrong("it is taken")


async def refuse_wrong_values(bench: Bench) -> None:
    """whatever is written for a key, it is taken, or refused by a problem that names the key"""
    for name, _, shape in shaped_fields(bench.factory.config):
        refused = 0
        for value in _VALUES:
            try:
                bench.made(**{name: value})
            except ConfigError as error:
                refused += 1
                _is_clear(name, value, error)
        anything = isinstance(shape.of if isinstance(shape, Maybe) else shape, Anything)
        if not refused and not anything:
            raise Wrong(f"{name} takes everything")


def _is_clear(name: str, value: object, error: ConfigError) -> None:
    for one in error.problems:
        said = f"{name} = {value!r:.60}: {one}"
        if not one.message.strip():
            raise Wrong(f"the problem says nothing: {said}")
        if "the check itself failed" in one.message:
            raise Wrong(f"a check of its own failed instead of refusing: {said}")


async def factory_says_what_can_be_used(bench: Bench) -> None:
    """`claims`, `exposed` and `mentions` give what they should for these settings"""
    factory, config = bench.factory, bench.made()
    if factory.claims is not None:
        claims: object = factory.claims(config)
        if not isinstance(claims, tuple) or not all(isinstance(one, str) for one in claims):
            raise Wrong(f"claims gives {claims!r:.100}, no tuple of texts")
    if factory.exposed is not None:
        exposed: object = factory.exposed(config)
        if exposed is not None and not isinstance(exposed, str):
            raise Wrong(f"exposed gives {exposed!r:.100}, no address")
    if factory.mentions is not None:
        mentioned: list[object] = list(factory.mentions(config))
        for one in mentioned:
            if not isinstance(one, tuple) or [type(part) for part in one] != [str, str]:
                raise Wrong(f"mentions gives {one!r:.100}, no (kind, name)")
