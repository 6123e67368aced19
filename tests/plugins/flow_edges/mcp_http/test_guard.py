"""Who may come in."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from flow_edges.mcp import flow_register, settings
from flow_edges.mcp.guard import Guard, accepts
from flowcore.config import Address
from flowcore.hookspecs import Factory
from flowcore.http import HeaderMap, Request


def request(host: bytes, origin: bytes | None = None) -> Request:
    headers = HeaderMap()
    headers[b"host"] = host
    if origin is not None:
        headers[b"origin"] = origin
    return Request("POST", "/mcp", headers, b"", "127.0.0.1", 1, trio.Event())


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        (b"localhost", None, None),
        (b"LOCALHOST:7300", b"http://localhost:3000", None),
        (b"127.0.0.1:7300", b"http://127.0.0.1", None),
        (b"[::1]:7300", b"https://[::1]:1", None),
        (b"flow.example", b"https://app.example", None),
        (b"127.0.0.1", b"https://app.example:8443", 403),
        (b"127.0.0.1", b"http://localhost.evil", 403),
        (b"127.0.0.1", b"file://", 403),
        (b"192.168.0.1", None, 421),
        (b"evil.example", None, 421),
        (b"127.0.0.1:99999999", None, 421),
    ],
)
def test_a_local_endpoint_lets_in_who_means_this_machine(
    host: bytes, origin: bytes | None, status: int | None
) -> None:
    guard = Guard(
        settings.McpSettings(
            allowed_hosts=("flow.example",), allowed_origins=("https://app.example",)
        )
    )
    for _ in range(2):
        refusal = guard.refusal(request(host, origin))
        assert (None if refusal is None else refusal.status) == status


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        (b"192.168.0.1:7300", None, None),
        (b"evil.example", None, 421),
        (b"192.168.0.1", b"http://localhost", 403),
    ],
)
def test_an_endpoint_beyond_loopback_goes_by_addresses_and_listed_names(
    host: bytes, origin: bytes | None, status: int | None
) -> None:
    guard = Guard(settings.McpSettings(bind=Address("0.0.0.0", 7300)))
    refusal = guard.refusal(request(host, origin))
    assert (None if refusal is None else refusal.status) == status


def test_media_types_are_accepted_by_name_or_range() -> None:
    both = (b"application/json", b"text/event-stream")
    assert accepts(b"application/*, Text/Event-Stream;q=0.5", *both)
    assert accepts(b"*/*", *both)
    for accept in (
        b"application/json",
        b"application/json, text/event-stream;q=0",
        b"application/json, text/event-stream; Q = 0.00, */*",
        b"application/jsonx, text/event-streamy",
        b"",
    ):
        assert not accepts(accept, *both)
    assert accepts(b"application/json, text/event-stream;q=0.01", *both)


def test_what_an_edge_takes_for_itself_is_known_before_it_opens() -> None:
    found: dict[str, Factory] = {}

    class Registry:
        def add(self, factory: Factory) -> None:
            found[factory.type] = factory

    flow_register(Registry())
    factory = found["mcp"]
    assert factory.claims is not None
    assert factory.exposed is not None
    assert factory.claims(settings.McpSettings()) == ("tcp 127.0.0.1:7300",)
    assert factory.claims(settings.McpSettings(bind=Address("127.0.0.1", 0))) == ()
    assert factory.exposed(settings.McpSettings()) is None
    assert factory.exposed(settings.McpSettings(bind=Address("0.0.0.0", 1))) == "0.0.0.0:1"
    for host, local in (("localhost", True), ("::1", True), ("flow.example", False)):
        assert settings.is_loopback(host) is local
