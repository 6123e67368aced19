"""Which row of the weights is whose: experts that are there, and ones that are gone and may come back."""

from __future__ import annotations

from collections.abc import Iterable


class Slots:
    """A row for each expert that was ever seen, until what was learned of it is forgotten."""

    def __init__(self) -> None:
        self.names: list[str] = []
        """By row; empty for a row that is free."""
        self.places: dict[str, int] = {}
        self.gone: dict[str, int] = {}
        """Experts that are not there, by the lesson at which that was seen."""
        self._free: list[int] = []

    def take(self, name: str) -> int:
        """The row of an expert; a new one if it has none."""
        place = self.places.get(name)
        if place is None:
            if self._free:
                place = self._free.pop()
                self.names[place] = name
            else:
                place = len(self.names)
                self.names.append(name)
            self.places[name] = place
        return place

    def arrive(self, names: Iterable[str], lesson: int) -> None:
        """These are there now, and no others."""
        there = dict.fromkeys(names)
        for name in there:
            self.take(name)
            self.gone.pop(name, None)
        for name in self.places:
            if name not in there:
                self.gone.setdefault(name, lesson)

    def overdue(self, before: int) -> list[str]:
        """Experts that were last seen before a lesson."""
        return [name for name, lesson in self.gone.items() if lesson < before]

    def free(self, name: str) -> int:
        """Give up an expert's row; which it was."""
        place = self.places.pop(name)
        self.gone.pop(name, None)
        self.names[place] = ""
        self._free.append(place)
        self._free.sort(reverse=True)  # the lowest first, however they became free
        return place

    def restore(self, names: list[str], gone: dict[str, int]) -> None:
        """As they were."""
        self.names = list(names)
        self.places = {name: place for place, name in enumerate(names) if name}
        self.gone = dict(gone)
        self._free = [place for place, name in enumerate(names) if not name][::-1]
