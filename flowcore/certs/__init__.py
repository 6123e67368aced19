"""A private CA for people who have none: what it issues, and how all of it is exchanged without a gap."""

from flowcore.certs.described import Described, describe, read_bundle
from flowcore.certs.folder import AUTHORITY, CertFolder, Found
from flowcore.certs.issuing import (
    ALGORITHMS,
    CA_DAYS,
    LEAF_DAYS,
    LOCAL,
    Algorithm,
    CertsError,
    Issued,
    Kind,
    Wanted,
    issue,
    make_authority,
)

__all__ = [
    "ALGORITHMS",
    "AUTHORITY",
    "CA_DAYS",
    "LEAF_DAYS",
    "LOCAL",
    "Algorithm",
    "CertFolder",
    "CertsError",
    "Described",
    "Found",
    "Issued",
    "Kind",
    "Wanted",
    "describe",
    "issue",
    "make_authority",
    "read_bundle",
]
