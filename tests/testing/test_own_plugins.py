"""Every plugin that is installed holds to what the kit checks."""

from __future__ import annotations

import base64
import os
import pathlib
import ssl
import subprocess
import sys
from importlib import metadata

import pytest
import trio

from flowcore.config import Address
from flowcore.http import HeaderMap, Request, Response, Tls, open_http_server
from flowcore.secrets import new_token
from flowcore.signing import Signer, read_ring
from flowcore.testing import Trial, check_plugin
from flowcore.testing.of_membership import MEMBERS
from support.certificates import Authority
from support.embeddings_server import DIMENSIONS, open_embeddings_server
from support.needs import annoy
from support.node import ROOT
from support.sentence_models import tiny
from support.tokens import AUDIENCE, ISSUER, SigningKey, jwks, token
from support.upstreaming import stdio_server

POINTS = {point.name: point.value for point in metadata.entry_points(group="flowcore.plugins")}
BY_THEMSELVES = sorted(
    name
    for name, value in POINTS.items()
    if value.startswith(("flow_balancers.", "flow_gates.", "flow_guards.", "flow_topologies."))
    or name
    in (
        "api",
        "auto",
        "console",
        "prometheus",
        "dashboard",
        "otlp",
        "exact",
        "hashed",
        "hnsw",
        "mcp",
        "raft",
        "single",
        "storage_memory",
        "storage_sqlite",
    )
)
TRIED_HERE = (
    "python",
    "process",
    "mcp_upstream",
    "http",
    "token",
    "jwt",
    "hmac",
    "mtls",
    "mcp_stdio",
    "onnx",
    "http_embedder",
    "annoy",
    "static",
    "swim",
    "bft",  # in tests/consensus/bft, as a node of four
    "etcd",  # in tests/consensus/etcd, where there is one
    "pgvector",  # in tests/plugins/flow_vectors, where there is a database
)


def test_every_plugin_is_tried() -> None:
    assert {*BY_THEMSELVES, *TRIED_HERE} == POINTS.keys()


@pytest.mark.parametrize("name", BY_THEMSELVES)
async def test_what_needs_no_settings_holds(name: str) -> None:
    report = await check_plugin(POINTS[name])
    assert report.plugin == POINTS[name]
    (checks,) = report.checked.values()
    assert len(checks) > 9


async def test_agents_in_python_hold() -> None:
    settings = {"target": "support.agents:echo"}
    trial = Trial(settings=settings, calls={"echo": {"text": "hear"}})
    await check_plugin(POINTS["python"], {"python": trial})


async def test_agents_that_are_processes_hold() -> None:
    program = str(ROOT / "examples" / "process_agent.py")
    settings = {"command": ["python", "-I", "-S", program]}
    trial = Trial(settings=settings, calls={"add": {"a": 1, "b": 2}})
    await check_plugin(POINTS["process"], {"process": trial})


async def test_upstream_servers_hold() -> None:
    settings = {"command": list(stdio_server())}
    trial = Trial(settings=settings, calls={"echo": {"text": "hear"}})
    await check_plugin(POINTS["mcp_upstream"], {"mcp": trial})


async def answer(request: Request) -> Response:
    return Response(
        200, [(b"content-type", b"application/json")], b'{"path":"%b"}' % request.path.encode()
    )


async def test_agents_over_http_hold() -> None:
    async with open_http_server(answer, Address("127.0.0.1", 0)) as server:
        settings = {
            "url": f"http://{server.addresses[0]}",
            "tools": {"look": {"path": "/{what}", "description": "Look it up"}},
        }
        trial = Trial(settings=settings, calls={"look": {"what": "here"}})
        await check_plugin(POINTS["http"], {"http": trial})


def request(authorization: str, body: bytes = b"{}") -> Request:
    headers = HeaderMap({b"authorization": authorization.encode()})
    return Request("POST", "/mcp", headers, body, "127.0.0.1", 1, trio.Event())


async def test_tokens_hold() -> None:
    bearer, digest = new_token()
    trial = Trial(
        settings={"tokens": [{"name": "ann", "sha256": digest}]},
        known=[request(f"Bearer {bearer}")],
    )
    await check_plugin(POINTS["token"], {"token": trial})


async def test_json_web_tokens_hold(tmp_path: pathlib.Path) -> None:
    key = SigningKey("EdDSA")
    (tmp_path / "keys.json").write_bytes(jwks(key))
    trial = Trial(
        settings={"issuer": ISSUER, "keys": "keys.json"},
        folder=tmp_path,
        known=[request(f"Bearer {token(key).decode()}")],
        resource=AUDIENCE,
    )
    await check_plugin(POINTS["jwt"], {"jwt": trial})


async def test_signed_requests_hold(tmp_path: pathlib.Path) -> None:
    ring = tmp_path / "ring.toml"
    secret = base64.b64encode(os.urandom(32))
    keys = b'[[key]]\nid = "k1"\nprincipal = "partner"\nsecret = "%b"\n' % secret
    ring.write_bytes(keys)
    ring.chmod(0o600)
    url = "https://flow.example/mcp"
    signer = Signer(read_ring(keys), url)
    known = request(signer.authorization("POST", url, b"{}"))
    known.headers[b"host"] = b"flow.example"
    trial = Trial(settings={"keys": "ring.toml"}, folder=tmp_path, known=[known], resource=url)
    await check_plugin(POINTS["hmac"], {"hmac": trial})


async def test_client_certificates_hold() -> None:
    der = ssl.PEM_cert_to_DER_cert(Authority().issue("spiffe://flow/client/ann").cert.decode())
    known = request("")
    known.headers.clear()
    known.tls = Tls("TLSv1.3", "TLS_AES_128_GCM_SHA256", None, der)
    trial = Trial(settings={"peers": [{"uri": "spiffe://flow/client/*"}]}, known=[known])
    await check_plugin(POINTS["mtls"], {"mtls": trial})


async def test_sentence_models_hold(tmp_path: pathlib.Path) -> None:
    tiny(tmp_path)
    trial = Trial(settings={"model": "model.onnx", "max_tokens": 64}, folder=tmp_path)
    await check_plugin(POINTS["onnx"], {"onnx": trial})


async def test_embedders_over_http_hold() -> None:
    async with open_embeddings_server() as server:
        settings = {"url": server.url, "model": "words", "dimensions": DIMENSIONS}
        await check_plugin(POINTS["http_embedder"], {"http": Trial(settings=settings)})


async def test_forests_hold() -> None:
    annoy()
    await check_plugin(POINTS["annoy"], {"annoy": Trial(settings={"front": 64})})


async def test_configured_members_hold() -> None:
    nodes = {name: f"{name}:7400" for name in MEMBERS}
    trial = Trial(settings={"nodes": nodes, "interval": "100ms", "dead_after": "1s"})
    await check_plugin(POINTS["static"], {"static": trial})


async def test_members_that_probe_each_other_hold() -> None:
    await check_plugin(POINTS["swim"], {"swim": Trial(settings={"profile": "local"})})


async def test_the_example_of_one_file_holds() -> None:
    path = ROOT / "examples" / "one_file_plugin.py"
    trial = Trial(settings={"start": 3}, calls={"next": {}})
    report = await check_plugin(path, {"counter": trial})
    assert list(report.checked) == ["agent counter"]


STDIO = """
import trio
from flowcore.testing import Trial, check_plugin
from flowcore.testing.of_membership import MEMBERS

async def main():
    trial = Trial(settings={"stop_at_end": False})
    return await check_plugin("flow_edges.mcp_stdio", {"mcp_stdio": trial})

report = trio.run(main)
assert "edge mcp_stdio" in report.checked
"""


def test_the_edge_on_standard_streams_holds() -> None:
    """In a process of its own, whose standard streams it takes."""
    done = subprocess.run(
        [sys.executable, "-c", STDIO],
        input="",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
