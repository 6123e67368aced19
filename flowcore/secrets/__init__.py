"""Secrets: files for their owner's eyes only, values sealed for one place, and what is no secret at all."""

from flowcore.secrets.private import check_mode, read_private, write_private
from flowcore.secrets.samples import (
    refuse_sample,
    refuse_sample_digest,
    refuse_sample_key,
    refuse_weak_key,
)
from flowcore.secrets.sealed import SealKeys, new_seal_key, read_seal_keys, seal

__all__ = [
    "SealKeys",
    "check_mode",
    "new_seal_key",
    "read_private",
    "read_seal_keys",
    "refuse_sample",
    "refuse_sample_digest",
    "refuse_sample_key",
    "refuse_weak_key",
    "seal",
    "write_private",
]
