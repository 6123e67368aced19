"""Whether what clients saw can be explained by one copy that did one thing at a time.

A history is *linearizable* (Herlihy and Wing 1990) if every operation can be given a moment between its
invocation and its completion, such that one copy that does them in that order gives the same results. The
search is Wing and Gong's (1993), with Lowe's memory of what was tried ("Testing for linearizability", 2017),
each key by itself (Horn and Kroening, "Faster linearizability checking via P-compositionality", 2015).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Protocol

import attrs


@attrs.frozen(kw_only=True)
class Operation:
    """One call of a client, from its invocation to its completion."""

    name: str
    """What it does, such as `read`."""
    key: str = ""
    value: Any = None
    """What it was given."""
    result: Any = None
    """What it gave, if it is known."""
    began: int
    """The place of its invocation among all events of the history."""
    ended: int | None = None
    """The place of its completion. None: nobody knows what came of it; it may happen later, or never."""
    client: str = ""
    at: float = 0.0
    """When it was invoked, in seconds, for a person to see."""

    def __str__(self) -> str:
        said = "?" if self.ended is None else repr(self.result)
        given = "" if self.value is None else repr(self.value)
        return f"{self.at:.6f} {self.client} {self.name}({given}) -> {said}"


class Model(Protocol):
    """The one copy: what each operation does to its state, which is never changed but replaced."""

    initial: Hashable
    """The state in which each key begins."""

    def apply(self, state: Any, operation: Operation) -> tuple[Any, Hashable]:
        """The result of an operation in a state, and the state after it. It looks at no result."""
        ...


class Register:
    """A model: `write` a value, `read` it, and `cas` of [expected, new], which gives whether it was done."""

    initial: Hashable = None

    def apply(self, state: Any, operation: Operation) -> tuple[Any, Hashable]:
        """See `Model`. Raises ValueError for an operation of another name."""
        if operation.name == "read":
            return state, state
        if operation.name == "write":
            return None, _hashable(operation.value)
        if operation.name == "cas":
            expected, new = operation.value
            done = bool(state == _hashable(expected))
            return done, _hashable(new) if done else state
        raise ValueError(f"expected read, write or cas, not {operation.name!r}")


class Undecided(Exception):
    """The search was given up: there are too many ways to order what happened at the same time."""


@attrs.frozen(kw_only=True)
class Verdict:
    """What the search found."""

    ok: bool
    steps: int
    """How many times an operation was tried in an order."""
    key: str = ""
    """The first key whose operations no order explains."""
    explained: tuple[Operation, ...] = ()
    """As many of them as some order explains, in that order."""
    stuck: tuple[Operation, ...] = ()
    """Those that were under way when none of them could come next."""

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        if self.ok:
            return f"linearizable ({self.steps} steps)"
        lines = [f"no order explains what was seen of {self.key!r}; this far one does:"]
        lines += [f"  {one}" for one in self.explained[-20:]]
        lines += ["and none of these can come next:", *(f"  {one}" for one in self.stuck)]
        return "\n".join(lines)


def check_linearizable(
    operations: Iterable[Operation], model: Model | None = None, *, limit: int = 5_000_000
) -> Verdict:
    """Whether some order explains the results of all operations, each key by itself.

    Operations that surely did not happen must not be among them. Raises Undecided after `limit` steps.
    """
    model = Register() if model is None else model
    keys: dict[str, list[Operation]] = {}
    for one in operations:
        keys.setdefault(one.key, []).append(one)
    steps = 0
    for key in sorted(keys):
        search = _Search(keys[key], model)
        ok = search.run(limit - steps)
        steps += search.steps
        if not ok:
            explained, stuck = search.furthest
            return Verdict(ok=False, steps=steps, key=key, explained=explained, stuck=stuck)
    return Verdict(ok=True, steps=steps)


class _Event:
    """An invocation or a completion, in a list from which it can be taken and put back."""

    __slots__ = ("after", "before", "completion", "invokes", "number", "operation")

    def __init__(self, number: int, operation: Operation | None, *, invokes: bool) -> None:
        self.number = number
        self.operation = operation
        self.invokes = invokes
        self.completion: _Event | None = None
        self.before: _Event = self
        self.after: _Event | None = None

    def take_out(self) -> None:
        self.before.after = self.after
        if self.after is not None:
            self.after.before = self.before

    def put_back(self) -> None:
        self.before.after = self
        if self.after is not None:
            self.after.before = self


class _Search:
    """The operations of one key, and the order that is being tried."""

    def __init__(self, operations: Sequence[Operation], model: Model) -> None:
        self._model = model
        self.steps = 0
        self._open = sum(one.ended is not None for one in operations)
        """Completed operations that have no place in the order yet."""
        events: list[tuple[int, _Event]] = []
        for number, one in enumerate(operations):
            invocation = _Event(number, one, invokes=True)
            events.append((one.began, invocation))
            if one.ended is not None:
                if one.ended <= one.began:
                    raise ValueError(f"it ended before it began: {one}")
                invocation.completion = _Event(number, one, invokes=False)
                events.append((one.ended, invocation.completion))
        events.sort(key=lambda pair: pair[0])
        self._head = last = _Event(-1, None, invokes=False)
        for _, event in events:
            last.after, event.before = event, last
            last = event
        self._best: tuple[tuple[Operation, ...], tuple[Operation, ...]] = ((), ())

    @property
    def furthest(self) -> tuple[tuple[Operation, ...], tuple[Operation, ...]]:
        """The longest order that was found, and what could not follow it."""
        return self._best

    def run(self, limit: int) -> bool:
        """Whether there is an order."""
        apply = self._model.apply
        state: Hashable = self._model.initial
        order: list[tuple[_Event, Hashable]] = []
        done = 0
        seen: set[tuple[int, Hashable]] = set()
        event = self._head.after
        while self._open:
            assert event is not None  # a completion is in the list yet
            if event.invokes:
                operation = event.operation
                assert operation is not None
                self.steps += 1
                if self.steps > limit:
                    raise Undecided(f"no order was found in {limit} steps")
                result, following = apply(state, operation)
                known = operation.ended is not None
                if not known or result == operation.result:
                    tried = (done | 1 << event.number, following)
                    if tried not in seen:
                        seen.add(tried)
                        order.append((event, state))
                        state, done = following, tried[0]
                        self._place(event)
                        event = self._head.after
                        continue
                event = event.after
                continue
            if len(order) >= len(self._best[0]):
                self._best = (_operations(order), self._under_way(event))
            if not order:
                return False
            last, state = order.pop()
            done &= ~(1 << last.number)
            self._displace(last)
            event = last.after
        return True

    def _place(self, event: _Event) -> None:
        event.take_out()
        if event.completion is not None:
            event.completion.take_out()
            self._open -= 1

    def _displace(self, event: _Event) -> None:
        if event.completion is not None:
            event.completion.put_back()
            self._open += 1
        event.put_back()

    def _under_way(self, completion: _Event) -> tuple[Operation, ...]:
        found = []
        event = self._head.after
        while event is not None and event is not completion:
            if event.operation is not None:
                found.append(event.operation)
            event = event.after
        return tuple(found)


def _operations(order: Iterable[tuple[_Event, Hashable]]) -> tuple[Operation, ...]:
    return tuple(event.operation for event, _ in order if event.operation is not None)


def _hashable(value: Any) -> Hashable:
    """A value of JSON as something that can be remembered as seen."""
    if isinstance(value, list):
        return tuple(_hashable(one) for one in value)
    if isinstance(value, dict):
        return tuple(sorted((key, _hashable(one)) for key, one in value.items()))
    return value  # type: ignore[no-any-return]
