"""The files that say who a node is."""

from __future__ import annotations

import attrs

from flowcore.config import Secret, setting


@attrs.frozen(kw_only=True)
class NodeTlsSettings:
    """Who this node is, and whom it believes; its files are relative to the TOML file, and read again when
    they change."""

    cert: str = setting(
        help="a PEM file of this node's certificate: its URI is spiffe://flow/node/NAME, its key Ed25519"
    )
    key: str | Secret = setting(
        help="a PEM file of its private key (mode 0600); or the key itself as a secret"
    )
    ca: str = setting(
        help="a PEM file of the CAs that the other nodes' certificates must come from"
    )
