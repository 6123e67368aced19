"""What is wrong for now with what a component keeps: a reason for each part, told when that changes."""

from __future__ import annotations

import logging
from collections.abc import Callable

logger = logging.getLogger(__name__)


class Troubles:
    """The reasons why a component is not well."""

    def __init__(self, told: Callable[[str], None]) -> None:
        """`told` is given all reasons whenever they have changed; an empty text: there are none."""
        self._told = told
        self._why: dict[str, str] = {}

    def set(self, about: str, error: BaseException) -> None:
        """Something is wrong with a part; logged, but not each time that it is tried again."""
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        why = f"{about}: {said}"
        if self._why.get(about) != why:
            logger.error("%s", why)
            self._why[about] = why
            self._tell()

    def clear(self, about: str) -> None:
        """All is well with it, again or still."""
        if self._why.pop(about, None) is not None:
            logger.info("%s: no longer", about)
            self._tell()

    def _tell(self) -> None:
        self._told("; ".join(self._why.values()))
