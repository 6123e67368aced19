"""How a long computation is run beside the tests: as a process of its own, whose lines nobody counts.

Coverage more than doubles what a simulation costs, and says nothing of it: the scenarios go through all
the lines there are.
"""

from __future__ import annotations

import os
import pathlib

TESTS = pathlib.Path(__file__).parents[1]
COUNTED = "COVERAGE_PROCESS_"
"""Begins the names by which coverage tells processes that their lines are counted."""
UNTRACED = {name: value for name, value in os.environ.items() if not name.startswith(COUNTED)}
