"""How much loggers tell: changed while the node runs, and put back when its configuration is read again.

Levels are the process's, as loggers are: so is what is known of them here.
"""

from __future__ import annotations

import logging
from typing import Final

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
"""How levels are named."""
_BEFORE: dict[str, int] = {}
"""The levels of those that were changed, as they were."""


def set_level(name: str, level: int) -> None:
    """Have a logger tell what is of this level or above; "" is the one above all."""
    logger = logging.getLogger(name)
    _BEFORE.setdefault(name, logger.level)
    logger.setLevel(level)


def restore_levels() -> None:
    """Each logger tells as much as it did before `set_level` was called for it."""
    while _BEFORE:
        name, level = _BEFORE.popitem()
        logging.getLogger(name).setLevel(level)
