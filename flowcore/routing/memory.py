"""Shared memory: texts put away by namespace and key, found again by meaning.

Everything is in the state, through its commands; the shelves find it. Design section 5: the same over one
node and over several.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import trio

from flowcore.envelope import Owner
from flowcore.errors import InvalidArguments, OtherEmbedder, TooLarge
from flowcore.routing.following import Following
from flowcore.routing.interfaces import Embedder
from flowcore.routing.settings import MemorySettings
from flowcore.telemetry import Histogram

if TYPE_CHECKING:
    from flowcore.routing.interfaces import VectorIndex, Vectors
    from flowcore.state import Pattern, ReadLevel, State


_TOUCH_EVERY = 5.0
"""Seconds in which what was used is gathered, to be told to the state at once."""
_TOUCHED = 5000
_WIDEN = 4
_LEAST = 32


@attrs.frozen(kw_only=True)
class Remembered:
    """One thing that is remembered."""

    key: str
    text: str
    value: Any
    """What was kept beside the text, decoded; None if nothing was."""
    time: float
    """When it was put, seconds since 1970."""
    expires: float | None
    version: int


@attrs.frozen(kw_only=True)
class Kept:
    """What became of a text that was put."""

    key: str
    version: int
    created: bool
    """Whether it is new; else it took the place of what had its key, or was there already."""
    searchable: bool
    """Whether it is found by meaning; a text that says nothing to the embedder is by its key alone."""


class Memory:
    """What agents and clients put away. Made by `open_router`."""

    def __init__(
        self,
        settings: MemorySettings,
        state: State,
        embedder: Embedder,
        following: Following,
    ) -> None:
        self._settings = settings
        self._state = state
        self._embedder = embedder
        self._following = following
        self._queries: OrderedDict[Any, list[tuple[int, float]]] = OrderedDict()
        self._queries_at: tuple[int, ...] = ()
        self._used: dict[int, None] = {}
        self.took = Histogram()
        self._counts: Counter[str] = Counter()

    # ---- what is not taken

    def check_text(self, text: str) -> None:
        """Raises InvalidArguments for a text that is empty, or no Unicode; TooLarge for a too long one."""
        most = self._settings.text
        if len(text) > most:  # each is a byte, or several: millions are not looked at to count them
            found = f"{len(text)} {'bytes' if text.isascii() else 'characters'}"
            raise TooLarge(
                f"the text has {found}, more than the {most} bytes it may have",
                data={"limit": most},
            )
        if not text or text.isspace():
            raise InvalidArguments("expected a text that says something, not an empty one")
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            raise InvalidArguments(
                "expected a text of Unicode, not one with lone surrogates"
            ) from None
        if size > most:
            raise TooLarge(
                f"the text has {size} bytes, more than the {most} it may have", data={"limit": most}
            )

    def check_embedder(self) -> None:
        """Raises OtherEmbedder while there are patterns whose vectors another embedder made."""
        foreign = self._following.foreign
        if foreign:
            names = ", ".join(sorted(set(foreign.values()))[:3])
            raise OtherEmbedder(
                f"{len(foreign)} patterns were embedded by {names}, and this node's embedder is"
                f" {self._embedder.identity}: run `flowctl memory reembed`, or configure the other one"
            )

    async def wait_followed(self, position: int) -> None:
        """Wait until what was put up to a position of the state is found."""
        await self._following.wait_followed(position)

    # ---- put, get, delete

    async def put(
        self,
        namespace: str,
        text: str,
        *,
        key: str | None = None,
        value: Any = None,
        ttl: float | None = None,
        if_version: int | None = None,
        owner: Owner = ("", ""),
    ) -> Kept:
        """Remember a text; it is durable, and found by searches here, when this returns.

        Nothing is kept where it raises: InvalidArguments, TooLarge, QuotaExceeded, VersionConflict,
        OtherEmbedder, EmbeddingFailed.
        """
        from flowcore.state import PutPattern, PutPatterns

        self.check_text(text)
        self.check_embedder()
        encoded = None if value is None else msgspec.json.encode(value)
        if encoded is not None and len(encoded) > self._settings.value:
            raise TooLarge(
                f"the value has {len(encoded)} bytes, more than the {self._settings.value} it may have",
                data={"limit": self._settings.value},
            )
        (vector,) = await self._embedder.embed([text])
        pattern = PutPattern(
            namespace=namespace,
            key=key,
            text=text,
            value=encoded,
            vector=vector.astype("<f4").tobytes(),
            embedder=str(self._embedder.identity),
            ttl=ttl,
            owner=owner,
            if_version=if_version,
        )
        stored = await self._state.do(PutPatterns((pattern,)))
        await self._following.wait_followed(stored.position)
        self._counts["put"] += 1
        (made,) = stored.patterns
        return Kept(
            key=made.key,
            version=made.version,
            created=made.created,
            searchable=bool(vector.any()),
        )

    async def get(
        self, namespace: str, key: str, *, level: ReadLevel | None = None
    ) -> Remembered | None:
        """What was put under a key; None if there is nothing (any more), for a read of this level.

        Of none: one that sees all that was acknowledged before. Raises StateUnavailable, but where stale.
        """
        from flowcore.state import ReadLevel

        pattern = await self._state.pattern(namespace, key, level=level or ReadLevel.LINEARIZABLE)
        self._counts["got"] += 1
        if pattern is None:
            return None
        self._use([pattern.id])
        return _remembered(pattern)

    async def delete(self, namespace: str, key: str, *, if_version: int | None = None) -> bool:
        """Forget what was put under a key; whether there was anything. Raises VersionConflict."""
        from flowcore.state import RemovePatterns

        command = RemovePatterns(namespace=namespace, keys=(key,), if_version=if_version)
        removed = await self._state.do(command)
        await self._following.wait_followed(removed.position)
        self._counts["deleted"] += 1
        return bool(removed.ids)

    # ---- search

    async def search(
        self,
        namespace: str,
        query: str,
        k: int = 10,
        *,
        after: float | None = None,
        before: float | None = None,
        where: Mapping[str, Any] | None = None,
        least: float | None = None,
        level: ReadLevel | None = None,
    ) -> list[tuple[Remembered, float]]:
        """What is like a text, best first, each with its similarity: at most `k`.

        Only what was put from `after` on and before `before`, whose value has all members of `where`, and
        that is at least so similar. `level` is as for `get`. Raises InvalidArguments, OtherEmbedder,
        EmbeddingFailed; StateUnavailable, but where stale.
        """
        from flowcore.state import ReadLevel

        began = trio.current_time()
        self.check_text(query)
        self.check_embedder()
        if not 1 <= k <= self._settings.results:
            raise InvalidArguments(f"expected a k of 1 to {self._settings.results}, not {k}")
        (vector,) = await self._embedder.embed([query])
        level = level or ReadLevel.LINEARIZABLE
        if level is not ReadLevel.STALE:
            await self._following.wait_followed(await self._state.wait_readable(level))
        asked = k if not where else max(_WIDEN * k, _LEAST)
        while True:
            hits = await self._hits(namespace, query, vector, asked, after, before)
            fits = [one for one in hits if least is None or one[1] >= least]
            found = await self._read(fits, where or {}, k)
            if len(found) >= k or len(hits) < asked or not where:
                break
            asked *= _WIDEN  # the filter let few through: look further
        self._use([pattern.id for pattern, _ in found])
        self.took.record(trio.current_time() - began)
        self._counts["searched"] += 1
        return [(_remembered(pattern), score) for pattern, score in found]

    async def _hits(
        self,
        namespace: str,
        query: str,
        vector: Vectors,
        k: int,
        after: float | None,
        before: float | None,
    ) -> list[tuple[int, float]]:
        """(id, score) of what is near, as it was found before where nothing has changed since."""
        shelf = self._following.shelf(namespace)
        if self._queries_at != (shelf.revision,):
            self._queries.clear()
            self._queries_at = (shelf.revision,)
        key = (namespace, query, k, after, before)
        known = self._queries.get(key)
        if known is not None:
            self._queries.move_to_end(key)
            self._counts["cached"] += 1
            return known
        hits = await shelf.search(vector, k, namespace=namespace, since=after, until=before)
        if self._settings.cache and self._queries_at == (shelf.revision,):
            self._queries[key] = hits
            if len(self._queries) > self._settings.cache:
                self._queries.popitem(last=False)
        return hits

    async def _read(
        self, hits: list[tuple[int, float]], where: Mapping[str, Any], k: int
    ) -> list[tuple[Pattern, float]]:
        """The patterns of what was found, those that fit; expired ones are none."""
        from flowcore.state import ReadLevel

        scores = dict(hits)
        patterns = await self._state.patterns(list(scores), level=ReadLevel.STALE)
        fitting = (one for one in patterns if not where or _has(one, where))
        return [(one, scores[one.id]) for one, _ in zip(fitting, range(k), strict=False)]

    # ---- what was used is the last to go

    def _use(self, ids: list[int]) -> None:
        for id_ in ids:
            if len(self._used) < _TOUCHED:
                self._used[id_] = None

    async def run(self) -> None:
        """Tell the state now and then what was used, until cancelled."""
        while True:
            await trio.sleep(_TOUCH_EVERY)
            await self.touch()

    async def touch(self) -> None:
        """Tell the state what was used since it was told last."""
        from flowcore.state import Touch

        if self._used:
            used, self._used = tuple(self._used), {}
            await self._state.do(Touch(used))

    # ---- all of it

    def indexes(self) -> dict[str, VectorIndex]:
        """The vector indexes by name: of memory, and of what was asked before."""
        return self._following.indexes()

    def status(self) -> dict[str, Any]:
        """What it did, measured; times in seconds."""
        names = ("put", "got", "deleted", "searched", "cached")
        return {
            **{name: self._counts[name] for name in names},
            "durations": msgspec.to_builtins(self.took.durations()),
            "following": self._following.status(),
        }


def _remembered(pattern: Pattern) -> Remembered:
    return Remembered(
        key=pattern.key,
        text=pattern.text,
        value=None if pattern.value is None else msgspec.json.decode(pattern.value),
        time=pattern.time,
        expires=pattern.expires,
        version=pattern.version,
    )


def _has(pattern: Pattern, where: Mapping[str, Any]) -> bool:
    """Whether a pattern's value has all of these members."""
    if pattern.value is None:
        return False
    value = msgspec.json.decode(pattern.value)
    return isinstance(value, dict) and all(
        name in value and _alike(value[name], wanted) for name, wanted in where.items()
    )


def _alike(one: Any, other: Any) -> bool:
    """Whether two values are the same to JSON, to which `true` is not 1."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[name], other[name]) for name in one)
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)
