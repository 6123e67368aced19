"""Be the launcher: see the package."""

from __future__ import annotations

import os
import sys
from types import ModuleType


def _stand_in(name: str, folder: str) -> None:
    """Let the modules of a package be imported without the package's own `__init__`."""
    package = ModuleType(name)
    package.__path__ = [folder]
    sys.modules[name] = package


if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    processes = os.path.dirname(here)
    _stand_in("flowcore", os.path.dirname(processes))
    _stand_in("flowcore.processes", processes)
    from flowcore.processes.launcher_program.serving import main

    channel, parent, marker, *bereft = sys.argv[1:]
    main(int(channel), int(parent), marker, set(map(int, bereft[1:])) if bereft else None)
