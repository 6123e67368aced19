"""SQLite files that are trusted or refused: of the right kind and version, whole, their rows checked."""

from flowcore.sqlite.database import Format, is_full, open_database, reading, sync_folder, writing
from flowcore.sqlite.rows import damaged, row_hash
from flowcore.sqlite.thread import FileThread

__all__ = [
    "FileThread",
    "Format",
    "damaged",
    "is_full",
    "open_database",
    "reading",
    "row_hash",
    "sync_folder",
    "writing",
]
