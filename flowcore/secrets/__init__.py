"""Secrets: files for their owner's eyes only, values sealed for one place, tokens, and what is no secret."""

from flowcore.secrets.private import check_mode, read_private, write_private
from flowcore.secrets.samples import (
    refuse_sample,
    refuse_sample_digest,
    refuse_sample_key,
    refuse_weak_key,
)
from flowcore.secrets.sealed import SealKeys, new_seal_key, read_seal_keys, seal
from flowcore.secrets.tokens import STATIC_PREFIX, new_token

__all__ = [
    "STATIC_PREFIX",
    "SealKeys",
    "check_mode",
    "new_seal_key",
    "new_token",
    "read_private",
    "read_seal_keys",
    "refuse_sample",
    "refuse_sample_digest",
    "refuse_sample_key",
    "refuse_weak_key",
    "seal",
    "write_private",
]
