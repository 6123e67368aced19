"""The configuration on the page about access starts, and does what the page says."""

from __future__ import annotations

import base64
import json
import pathlib
import re
import secrets

import pytest

from flowcore import open_flow
from flowcore.audit import verify_files
from flowcore.errors import PermissionDenied
from flowcore.http import open_client
from flowcore.requests import Principal
from flowcore.secrets import new_token
from flowcore.signing import Key, KeyRing, Signer
from support.tokens import ISSUER, SigningKey, claims, jwks, token

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "access.md").read_text()
CONFIG, RING = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
SECRET = secrets.token_bytes(32)


def laid_out(folder: pathlib.Path) -> tuple[pathlib.Path, str, SigningKey]:
    """The page's files, on ports that are free, with keys that are real."""
    made, digest = new_token()
    key = SigningKey("EdDSA")
    (folder / "keys").mkdir()
    (folder / "keys" / "jwks.json").write_bytes(jwks(key))
    ring = folder / "keys" / "ring.toml"
    text = RING.replace("BASE64 OF 32 BYTES OR MORE", base64.b64encode(SECRET).decode())
    ring.write_text(re.sub(r"not_(before|after) = .*\n", "", text))
    ring.chmod(0o600)
    path = folder / "flow.toml"
    path.write_text(re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:0", CONFIG.replace("DIGEST", digest)))
    return path, made, key


async def test_each_way_in_leads_in_and_what_is_done_is_written_down(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT)
    path, made, key = laid_out(tmp_path)
    body = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'
    common = [
        (b"content-type", b"application/json"),
        (b"accept", b"application/json, text/event-stream"),
    ]
    async with open_flow(path) as flow, open_client() as client:
        await flow.wait_settled()
        [url] = flow.endpoints["mcp"]
        signer = Signer(KeyRing([Key(id="2026-11", secret=SECRET, principal="billing")]), url)
        bearer = token(key, claims(iss=ISSUER, aud=url)).decode()
        for credentials, status in (
            (f"Bearer {made}", 200),
            (f"Bearer {bearer}", 200),
            (signer.authorization("POST", url, body), 200),
            (f"Bearer {made}x", 401),
            (f"Bearer {bearer[:-4]}AAAA", 401),
            (signer.authorization("POST", url, body + b" "), 401),
            (None, 401),
        ):
            headers = list(common)
            if credentials is not None:
                headers.append((b"authorization", credentials.encode()))
            answer = await client.request("POST", url, headers=headers, body=body)
            assert answer.status == status, (credentials, answer.body)
        with pytest.raises(PermissionDenied):
            flow.requests.guards.admit("", Principal(name="guest"), "agents.pause", "text")
        flow.requests.guards.admit(
            "", Principal(name="ann", roles=frozenset({"operator"})), "agents.pause", "text"
        )
    written = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [one["what"] for one in written].count("denied") == 3
    assert made not in (tmp_path / "audit.jsonl").read_text()
    assert verify_files([tmp_path / "audit.jsonl"]).whole
