"""What must be known of each pattern without asking the store: in columns, by id, 28 bytes a pattern.

Of a pattern that is found by its vector, a search wants to know at once whose namespace it is in, how old
it is, whom it speaks for and how strongly. Changes come one at a time; a search, which may be in a thread,
works on the columns that there were when it began.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from flowcore.routing.interfaces import Ids
    from flowcore.state import Pattern

_LEAST = 1024
_MOST_WEIGHT = 3.0
"""What one pattern counts at most, however often it was said."""
_NOBODY = -1
"""The namespace of what was removed."""
_HOLES = 4
"""The columns are written anew when one of so many rows is of a pattern that was removed."""

_KINDS = {"id": "<i8", "space": "<i4", "expert": "<i4", "weight": "<f4", "time": "<f8"}
"""The columns, as they are kept."""


@attrs.frozen(kw_only=True)
class Facts:
    """What is known of a pattern."""

    id: int
    namespace: str
    expert: str
    weight: float
    """Above 0 for what was right, below 0 for what was wrong."""
    time: float

    @classmethod
    def of(cls, pattern: Pattern) -> Facts:
        """Those of a pattern."""
        weight = min(pattern.weight, _MOST_WEIGHT) * (2 * pattern.reward - 1)
        return cls(
            id=pattern.id,
            namespace=pattern.namespace,
            expert=pattern.expert,
            weight=weight,
            time=pattern.time,
        )


class Codes:
    """Texts by number, as far as there are few different ones."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self.texts: list[str] = []

    def number(self, text: str) -> int:
        """The number of a text, which is given one if it is new."""
        number = self._numbers.get(text)
        if number is None:
            number = self._numbers[text] = len(self.texts)
            self.texts.append(text)
        return number

    def find(self, text: str) -> int:
        """The number of a text, -2 if it has none."""
        return self._numbers.get(text, -2)


@attrs.frozen(eq=False)
class Columns:
    """Facts in order of ids, each of shape (n,)."""

    ids: Ids
    spaces: npt.NDArray[np.int32]
    """Numbers of namespaces; -1 where the pattern was removed."""
    experts: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    times: npt.NDArray[np.float64]

    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        """All of them."""
        return (self.ids, self.spaces, self.experts, self.weights, self.times)

    def rows(self, ids: Ids) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
        """Where each id is, and whether it is there at all: row 0 stands for one that is not."""
        at = self.ids.searchsorted(ids)
        at[at == len(self.ids)] = 0
        if not len(self.ids):
            return at, at < 0
        known: npt.NDArray[np.bool_] = (self.ids[at] == ids) & (self.spaces[at] != _NOBODY)
        return at, known


class FactTable:
    """The facts of all patterns of a shelf."""

    def __init__(self) -> None:
        import numpy as np

        self._np = np
        self._kind = np.dtype(list(_KINDS.items()))
        self.names = Codes()
        self._clear(_LEAST)

    def _clear(self, room: int) -> None:
        self._room = Columns(*(self._np.zeros(room, kind) for kind in _KINDS.values()))
        self._gone = 0
        self.now = self._first(0)
        """What there is, for a search: never changed in its order, and replaced as a whole."""

    def _first(self, count: int) -> Columns:
        return Columns(*(one[:count] for one in self._room.arrays()))

    @property
    def memory(self) -> int:
        """Bytes of the columns."""
        return sum(one.nbytes for one in self._room.arrays())

    def clear(self) -> None:
        """Know nothing."""
        self._clear(_LEAST)

    # ---- on disk

    def kept(self) -> dict[str, Any]:
        """All of it, to be kept; may be asked for in a thread while nothing is changed."""
        table = self._np.empty(len(self.now.ids), self._kind)
        for name, column in zip(_KINDS, self.now.arrays(), strict=True):
            table[name] = column
        return {"names": list(self.names.texts), "table": table.tobytes()}

    def restore(self, kept: dict[str, Any]) -> None:
        """Have what was kept."""
        self.names = Codes()
        for text in kept["names"]:
            self.names.number(text)
        table = self._np.frombuffer(kept["table"], self._kind)
        self._clear(max(_LEAST, len(table)))
        for name, column in zip(_KINDS, self._room.arrays(), strict=True):
            column[: len(table)] = table[name]
        self.now = self._first(len(table))
        self._gone = int((self.now.spaces == _NOBODY).sum())

    # ---- changes

    def note(self, facts: Sequence[Facts]) -> None:
        """Know these of patterns; those that are known already are replaced. In any order."""
        np = self._np
        each = {one.id: one for one in facts}
        given = Columns(*(np.empty(len(each), kind) for kind in _KINDS.values()))
        given.ids[:] = sorted(each)
        for row, id_ in enumerate(given.ids.tolist()):
            one = each[id_]
            given.spaces[row] = self.names.number(one.namespace)
            given.experts[row] = self.names.number(one.expert)
            given.weights[row] = one.weight
            given.times[row] = one.time
        at = self.now.ids.searchsorted(given.ids)
        known = np.zeros(len(at), np.bool_)
        inside = at < len(self.now.ids)
        known[inside] = self.now.ids[at[inside]] == given.ids[inside]
        rows = at[known]
        self._gone -= int((self.now.spaces[rows] == _NOBODY).sum())
        for column, new in zip(self.now.arrays(), given.arrays(), strict=True):
            column[rows] = new[known]
        self._put_in(at[~known], [new[~known] for new in given.arrays()])

    def _put_in(self, at: npt.NDArray[np.intp], given: list[npt.NDArray[Any]]) -> None:
        """Rows that are not there yet; ids mostly come in order, so they nearly always go to the end."""
        np, before = self._np, len(self.now.ids)
        count = before + len(at)
        if count > len(self._room.ids):
            room = max(2 * before, count)
            self._room = Columns(
                *(
                    np.concatenate([one, np.zeros(room - before, one.dtype)])
                    for one in self.now.arrays()
                )
            )
        if len(at) and at[0] < before:  # what a search is at stays in its order
            self._room = Columns(
                *(
                    np.insert(one, at, new)
                    for one, new in zip(self.now.arrays(), given, strict=True)
                )
            )
        else:
            for one, new in zip(self._room.arrays(), given, strict=True):
                one[before:count] = new
        self.now = self._first(count)

    def remove(self, ids: Ids) -> None:
        """Know nothing of these any more."""
        at, known = self.now.rows(ids)
        rows = self._np.unique(at[known])
        self.now.spaces[rows] = _NOBODY
        self._gone += len(rows)

    @property
    def sparse(self) -> bool:
        """Whether much of it is of patterns that were removed."""
        return self._gone > _LEAST and self._gone * _HOLES > len(self.now.ids)

    def tidy(self) -> None:
        """Be without what was removed; takes 10 ms for a million, and may be done in a thread."""
        kept = self.now.spaces != _NOBODY
        self._room = Columns(*(one[kept] for one in self.now.arrays()))
        self.now = self._first(len(self._room.ids))
        self._gone = 0
