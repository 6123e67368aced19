"""The settings of `[guard.NAME]` with `type = "audit"`."""

from __future__ import annotations

import pathlib
from typing import Literal

import attrs

from flowcore.config import Duration, Secret, Size, setting
from flowcore.config import validators as v
from flowcore.secrets import refuse_weak_key


@attrs.frozen(kw_only=True)
class AuditConfig:
    """Where the audit log is written, and what happens when it cannot be."""

    file: pathlib.Path | None = setting(
        None,
        help="the log, beside the configuration; unset: audit.jsonl in the guard's data folder",
    )
    key: Secret | None = setting(
        None,
        help="makes each line's hash an HMAC, which nobody forges without it; 32 bytes or more",
    )
    on_failure: Literal["refuse", "go_on"] = setting(
        "refuse", help="what happens to requests while the log cannot be written"
    )
    queue: int = setting(10_000, validator=v.ge(1), help="most lines that wait to be written")
    sync: bool = setting(True, help="have each batch of lines on the disk before the next one")
    rotate: Size = setting(
        64 << 20, validator=v.ge(4096), help="the size at which a new file is begun"
    )
    keep: int = setting(0, validator=v.ge(0), help="files kept besides the current one; 0: all")
    retry: Duration = setting(
        1.0, validator=v.gt(0), help="how long is waited before a failed write is tried again"
    )

    def __attrs_post_init__(self) -> None:
        if self.key is not None and len(self.key.reveal().encode()) < 32:
            raise ValueError("expected a key of at least 32 bytes")
        if self.key is not None:
            refuse_weak_key(self.key.reveal().encode())
