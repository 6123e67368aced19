"""Forwarding headers: only what trusted proxies wrote is believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowcore.http.fields import HeaderMap, parse_fields
from flowcore.http.forwarded import NETWORKS, Forwarding, Header

TRUSTED = ("10.0.0.0/8", "2001:db8:ffff::/48", "127.0.0.1")


def headers(*lines: str) -> HeaderMap:
    found = parse_fields([line.encode("latin-1") for line in lines])
    assert found is not None
    return found


def client(peer: str, *lines: str, header: Header = "x-forwarded-for") -> str:
    return Forwarding(TRUSTED, header).client(peer, headers(*lines))


@pytest.mark.parametrize(
    ("peer", "value", "answer"),
    [
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),  # a stranger says what it likes
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.1, 10.9.9.9", "198.51.100.1"),
        ("10.0.0.1", "10.1.1.1, 10.2.2.2", "10.1.1.1"),  # proxies all the way
        ("10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
        ("10.0.0.1", "[2001:DB8::1]:80", "2001:db8::1"),
        ("10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("10.0.0.1", "127.0.0.1, unknown", "10.0.0.1"),
        ("10.0.0.1", "127.0.0.1, 1.2.3.4.5", "10.0.0.1"),
        ("10.0.0.1", "127.0.0.1, ", "10.0.0.1"),
        ("10.0.0.1", "6.6.6.6, localhost", "10.0.0.1"),
        ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("2001:db8:ffff::7", "198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("127.0.0.2", "198.51.100.1", "127.0.0.2"),
    ],
)
def test_x_forwarded_for_is_read_from_its_end(peer: str, value: str, answer: str) -> None:
    assert client(peer, f"X-Forwarded-For: {value}") == answer


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        ("for=198.51.100.1", "198.51.100.1"),
        ("For=198.51.100.1;proto=https;by=10.0.0.1", "198.51.100.1"),
        ('proto=https;for="[2001:db8::1]:4711"', "2001:db8::1"),
        ('for=6.6.6.6, for="198.51.100.1:80", for=10.2.2.2', "198.51.100.1"),
        ('for="1.1.1.1, for=2.2.2.2", for=198.51.100.1', "198.51.100.1"),
        ('for="6.6.6.6, for=198.51.100.1', "10.0.0.1"),  # a quote that is never closed
        ('for="6.6.6.6, for="[2001:db8::1]"', "10.0.0.1"),  # one that the proxy's own closes
        ("for=_hidden", "10.0.0.1"),
        ("for=6.6.6.6, for=unknown", "10.0.0.1"),
        ("for=6.6.6.6, proto=https", "10.0.0.1"),
        ("for=6.6.6.6; for=1.1.1.1", "10.0.0.1"),  # no space is allowed there
        ("nonsense", "10.0.0.1"),
        ("by=for=6.6.6.6", "10.0.0.1"),
        ('by="x;for=6.6.6.6";for=198.51.100.1', "198.51.100.1"),
    ],
)
def test_forwarded_is_read_as_rfc_7239_says(value: str, answer: str) -> None:
    assert client("10.0.0.1", f"Forwarded: {value}", header="forwarded") == answer


def test_several_lines_are_one_list() -> None:
    lines = ("X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 198.51.100.1, 10.3.3.3")
    assert client("10.0.0.1", *lines) == "198.51.100.1"


def test_only_the_header_that_the_proxies_write_is_looked_at() -> None:
    both = ("X-Forwarded-For: 198.51.100.1", "Forwarded: for=6.6.6.6")
    assert client("10.0.0.1", *both) == "198.51.100.1"
    assert client("10.0.0.1", *both, header="forwarded") == "6.6.6.6"
    assert client("10.0.0.1", "Forwarded: for=6.6.6.6") == "10.0.0.1"


def test_without_trusted_proxies_nothing_is_believed() -> None:
    forged = headers("X-Forwarded-For: 6.6.6.6", "Forwarded: for=6.6.6.6")
    assert Forwarding().client("10.0.0.1", forged) == "10.0.0.1"


def test_endless_lists_are_not_read_to_their_end() -> None:
    chain = "6.6.6.6" + ", 10.0.0.2" * 100
    assert client("10.0.0.1", f"X-Forwarded-For: {chain}") == "10.0.0.2"


@given(
    st.text(
        st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=60
    ),
    st.sampled_from(["x-forwarded-for", "forwarded"]),
)
def test_whatever_a_client_writes_what_the_proxy_adds_is_not_another_address(
    forged: str, header: Header
) -> None:
    """The proxy appends the true address: the answer is that one, or the proxy where all is unreadable."""
    entry = "198.51.100.1" if header == "x-forwarded-for" else "for=198.51.100.1"
    try:
        answer = client("10.0.0.1", f"{header}: {forged}, {entry}", header=header)
    except AssertionError:
        return  # no header at all: control characters
    assert answer in (
        {"198.51.100.1"} if header == "x-forwarded-for" else {"198.51.100.1", "10.0.0.1"}
    )


def test_settings_name_networks() -> None:
    NETWORKS(("10.0.0.0/8", "::1", "10.1.2.3/8"))
    with pytest.raises(ValueError, match="expected addresses or networks"):
        NETWORKS(("proxy.example",))
