"""What decoding MessagePack from outside may raise."""

from __future__ import annotations

import msgspec

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""A name that is no UTF-8 raises a UnicodeDecodeError of its own."""
