"""Chance that is a number in a snapshot: SplitMix64 (Steele, Lea, Flood 2014) over a counter."""

from __future__ import annotations

_ALL = (1 << 64) - 1


def mixed(number: int) -> int:
    """64 bits that look like chance, the same for the same number."""
    number = (number + 0x9E3779B97F4A7C15) & _ALL
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _ALL
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _ALL
    return number ^ (number >> 31)


class Chance:
    """Draws from a seed, one after the other; `drawn` is all the state it has."""

    def __init__(self, seed: int, drawn: int = 0) -> None:
        self._seed = mixed(seed & _ALL)
        self.drawn = drawn

    def below(self, bound: int) -> int:
        """A whole number from 0 to `bound` - 1."""
        self.drawn += 1
        return (mixed(self._seed ^ mixed(self.drawn)) * bound) >> 64
