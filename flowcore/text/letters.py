"""The words of a text, the same on every machine and in every version of Python.

`str.lower` and `\\w` follow the Unicode database of the Python they run in, and each version knows more
letters. Where a text is more than ASCII, this follows Unicode 3.2, which every Python keeps for RFC 3454:
what came to be later counts as a letter without case.
"""

from __future__ import annotations

import functools
import re
from unicodedata import ucd_3_2_0 as unicode_3_2

_WORD = re.compile("[0-9a-z_\x80-\U0010ffff]{1,64}")
_PARTS = ("L", "M", "N", "Cn", "Co")
"""Categories whose characters are part of a word: letters, marks, numbers, what had no meaning yet."""

COMMON = frozenset(
    """a about again all am an and any are as at be been before being both but by can cannot could d did do
    does doing don down during each else few for from further get had has have having he her here hers him
    his how i if in into is isn it its just let like ll m may me might more most my myself no nor not now of
    off on once only or other our ours out over own please re s same shall she should so some such t than
    that the their theirs them then there these they this those through to too under until up us ve very
    want was we were what when where which while who whom whose why will with would you your yours""".split()  # noqa: SIM905 - a list of words is read as words
)
"""Words of English that say how other words belong together, rather than what a text is about."""

FREQUENT = frozenset(
    """able also always another anybody anything around ask asked back become best better big call called
    came case come currently day different even every everything fact feel find first found gave getting
    give given go going gone good got great hand help high keep kind know known knows large last leave
    life little long look looking lot made make makes making man many maybe mean much name need needed
    needs never new next number okay old one part people place point possible put really right said saw
    say says see seem seen set show small someone something sort start still sure take taken takes talk
    tell thing think three time today told tomorrow took try trying turn two use used using wants way week
    well went work working world year yes""".split()  # noqa: SIM905 - as above
)
"""Other words of English that are in texts about anything: they tell less than rare ones."""


def words(text: str) -> list[str]:
    """The words, in lower case, in their order: runs of letters, marks, numbers and `_`.

    Longer ones than 64 characters are several, so that none takes long: they are of a language that puts no
    space between words, or no words at all.
    """
    return _WORD.findall(text.lower() if text.isascii() else text.translate(_LOWER))


def well_formed(text: str) -> str:
    """The text, with `?` for what is half of a character: what UTF-8 can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


class _Lower:
    """A table for `str.translate`: each character in lower case, or a space if it is part of no word."""

    def __getitem__(self, point: int) -> str:
        return _lowered(point)


@functools.lru_cache(maxsize=8192)
def _lowered(point: int) -> str:
    character = chr(point)
    if point < 0x80:
        return character.lower()
    category = unicode_3_2.category(character)
    if category in ("Lu", "Lt"):
        return character.lower()
    return character if category.startswith(_PARTS) else " "


_LOWER = _Lower()
