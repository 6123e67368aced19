"""What the log's storage has to tell as metrics."""

from __future__ import annotations

from flowcore.telemetry import counter, gauge, histogram

SIZE = gauge("flowcore.storage.size", "By", "What the log takes, on disk or in memory.")
ENTRIES = gauge("flowcore.storage.entries", "{entry}", "Entries that are kept.")
SNAPSHOT = gauge("flowcore.storage.snapshot", "{entry}", "Position of the snapshot that is kept.")
COMMITS = counter("flowcore.storage.commits", "{transaction}", "Transactions that were written.")
FSYNC = histogram(
    "flowcore.storage.fsync.duration", "s", "Each transaction until it is on disk, fsync included."
)
FAILED = gauge("flowcore.storage.failed", "{disk}", "1 once the disk has failed, else 0.")
