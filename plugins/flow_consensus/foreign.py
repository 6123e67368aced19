"""Why a log is refused that an engine of another type has written."""

from __future__ import annotations

FOREIGN = (
    "the log was written by another type of consensus: set the type that it had, or move the state by a"
    " snapshot (flowctl snapshot save, and restore into a new data_dir)"
)
"""What it says need not be committed there, and its terms and kinds of entries mean something else here."""
