"""What the kit says of embedders that do not hold to their interface: one fault each."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import numpy as np
import pytest
import trio

from flow_embedders.projection import Hashed
from flowcore import Context, Factory, Registry, hookimpl
from flowcore.routing import Identity
from flowcore.testing import CheckFailed, check_plugin

_counter = itertools.count()


@attrs.frozen(kw_only=True)
class Plain:
    """Nothing to set."""


class Right:
    """An embedder that is right; the others change one thing."""

    def __init__(self) -> None:
        self._inner = Hashed(64, 1000, 0)
        self.identity = self._inner.identity

    async def embed(self, texts: Sequence[str]) -> Any:
        return await self._inner.embed(texts)

    def status(self) -> dict[str, Any]:
        return self._inner.status()


class Plugin:
    def __init__(self, make: Callable[[], object]) -> None:
        @asynccontextmanager
        async def opened(config: Plain, context: Context) -> AsyncGenerator[object]:
            del config, context
            yield make()

        self._factory = Factory("embedder", "bad", Plain, opened)

    @hookimpl
    def flow_register(self, registry: Registry) -> None:
        registry.add(self._factory)


class NewEachTime(Right):
    def __init__(self) -> None:
        super().__init__()
        self.identity = attrs.evolve(self.identity, version=str(next(_counter)))


class Nameless(Right):
    def __init__(self) -> None:
        super().__init__()
        self.identity = Identity(name="", version="1", dimensions=64)


class Doubles(Right):
    async def embed(self, texts: Sequence[str]) -> Any:
        return (await super().embed(texts)).astype(np.float64)


class Long(Right):
    async def embed(self, texts: Sequence[str]) -> Any:
        return 2 * await super().embed(texts)


class TooMany(Right):
    async def embed(self, texts: Sequence[str]) -> Any:
        return await super().embed([*texts, "one more"])


class Infinite(Right):
    async def embed(self, texts: Sequence[str]) -> Any:
        return (await super().embed(texts)) / np.float32(0)


class Moody(Right):
    async def embed(self, texts: Sequence[str]) -> Any:
        return await super().embed([f"{text} {next(_counter)}" for text in texts])


class Blind(Right):
    async def embed(self, texts: Sequence[str]) -> Any:
        return await super().embed([text[-5:] for text in texts])


class Strict(Right):
    async def embed(self, texts: Sequence[str]) -> Any:
        for text in texts:
            text.encode()
        return await super().embed(texts)


class Shared(Right):
    def __init__(self) -> None:
        super().__init__()
        self._given: dict[tuple[str, ...], Any] = {}

    async def embed(self, texts: Sequence[str]) -> Any:
        if tuple(texts) not in self._given:
            self._given[tuple(texts)] = await super().embed(texts)
        return self._given[tuple(texts)]


class Selfish(Right):
    """It keeps the loop to itself."""

    async def embed(self, texts: Sequence[str]) -> Any:
        return np.array([self._inner._project(text[:1000]) for text in texts]).reshape(-1, 64)


class Crossed(Right):
    """It mixes up those who ask at the same time."""

    _last: Sequence[str] = ()

    async def embed(self, texts: Sequence[str]) -> Any:
        self._last = texts
        await trio.lowlevel.checkpoint()
        last = self._last if len(self._last) == len(texts) else texts
        return await super().embed(last)


class Constant(Right):
    def status(self) -> dict[str, Any]:
        return {"well": True}


async def test_a_right_one_passes() -> None:
    await check_plugin(Plugin(Right))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (NewEachTime, r"its identity is the same each time .*: it was hashed \d+ "),
        (Nameless, "its identity is Identity"),
        (Doubles, "not an array of float32"),
        (Long, "has the length 2, neither 1 nor 0"),
        (TooMany, r"for 0 texts it gives the shape \(1, 64\), not \(0, 64\)"),
        (Infinite, "values that are not finite"),
        (Moody, "a text's vector is another one the second time"),
        (Blind, "is as near to"),
        (Strict, "lone surrogates: UnicodeEncodeError"),
        (Shared, "it gives out its own memory"),
        (Selfish, "nobody else had a turn while it worked on"),
        (Crossed, "callers .* got others' vectors"),
        (Constant, "its status is the same before and after"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
async def test_each_fault_is_named(make: Callable[[], object], said: str) -> None:
    with pytest.raises(CheckFailed, match=said):
        await check_plugin(Plugin(make))
