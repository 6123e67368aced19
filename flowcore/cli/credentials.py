"""What a guarded node needs besides certificates: token, key ring, audit key, and flowctl's profile."""

from __future__ import annotations

import base64
import json
import pathlib
import secrets
from datetime import UTC, datetime

from flowcore.secrets import new_token, write_private

FILES = ("operator.token", "tokens.toml", "hmac.toml", "audit.key", "flowctl.toml")
"""What `write_credentials` makes, all of it random, all of it of mode 0600."""

_TOKENS = """\
# Who may come in by a static token: digests only. Read again within a second of a change.
[[token]]
name = {name}
sha256 = "{digest}"
roles = ["operator"]
"""
_RING = """\
# Keys that requests are signed with (HMAC-SHA256). Read again within a second of a change.
[[key]]
id = "{id}"
principal = "service"
roles = ["service"]
secret = "{secret}"
"""
_PROFILE = """\
# flowctl --profile {path} status
url = "https://127.0.0.1:7301"
ca = "ca.pem"
token = {{ file = "operator.token" }}
"""


def write_credentials(folder: pathlib.Path, name: str) -> None:
    """Make the files anew. Raises OSError."""
    token, digest = new_token()
    texts = {
        "operator.token": f"{token}\n",
        "tokens.toml": _TOKENS.format(name=json.dumps(name), digest=digest),
        "hmac.toml": _RING.format(
            id=datetime.now(UTC).strftime("%Y-%m"),
            secret=base64.b64encode(secrets.token_bytes(32)).decode(),
        ),
        "audit.key": f"{secrets.token_hex(32)}\n",
        "flowctl.toml": _PROFILE.format(path=folder / "flowctl.toml"),
    }
    for file in FILES:
        write_private(folder / file, texts[file].encode(), replace=True)
