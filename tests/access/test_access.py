"""Who may come in: schemes in their order, failed logins, addresses behind proxies, and what fails closed."""

from __future__ import annotations

import logging

import attrs
import pytest
import trio
from trio.testing import MockClock

from flowcore.access import Access, EdgeSettings
from flowcore.agents import AccessDenied, Event
from flowcore.errors import Overloaded, Unauthenticated
from flowcore.http import HeaderMap, Request
from flowcore.requests import ANONYMOUS, Principal
from flowcore.resilience import FailedLoginSettings

HERE = "https://flow.example/mcp"


@attrs.define(eq=False)
class Password:
    """Whoever brings the header `x-NAME` with the right word is NAME."""

    name: str
    word: bytes = b"sesame"
    asked: int = 0
    challenge: str = "Word"

    @property
    def headers(self) -> tuple[bytes, ...]:
        return (b"x-" + self.name.encode(),)

    async def identify(self, request: Request, resource: str) -> Principal | None:
        assert resource == HERE
        self.asked += 1
        given = request.headers.get(b"x-" + self.name.encode())
        if given is None:
            return None
        if given == b"crash":
            raise RuntimeError("a fault of the scheme's")
        if given != self.word:
            raise Unauthenticated("the word is wrong")
        return Principal(name=self.name, scheme="word")


def request(client: str = "192.0.2.7", **headers: str) -> Request:
    named = {
        name.replace("_", "-").encode(): value.encode("latin-1") for name, value in headers.items()
    }
    return Request("POST", "/mcp", HeaderMap(named), b"", client, 1, trio.Event())


def access(*schemes: Password, events: list[Event] | None = None, **settings: object) -> Access:
    heard = [] if events is None else events
    return Access("mcp", EdgeSettings(**settings), schemes, heard.append)  # type: ignore[arg-type]


async def test_without_schemes_everybody_is_anonymous() -> None:
    assert await access().identify(request(), HERE) == ANONYMOUS


async def test_the_first_scheme_that_applies_decides() -> None:
    first, second = Password("ann"), Password("bob")
    door = access(first, second)
    assert (await door.identify(request(x_bob="sesame"), HERE)).name == "bob"
    assert (await door.identify(request(x_ann="sesame", x_bob="sesame"), HERE)).name == "ann"
    with pytest.raises(Unauthenticated, match="the word is wrong"):
        await door.identify(request(x_ann="wrong", x_bob="sesame"), HERE)
    assert second.asked == 1


async def test_whoever_brings_nothing_is_told_so_and_it_counts_as_no_failed_login() -> None:
    events: list[Event] = []
    door = access(Password("ann"), events=events)
    for _ in range(100):
        with pytest.raises(Unauthenticated, match="credentials are needed"):
            await door.identify(request(), HERE)
    assert events == []


async def test_whom_a_proxy_on_loopback_lets_through_is_not_on_loopback() -> None:
    door = access(Password("ann"), anonymous=True, trusted_proxies=("127.0.0.1",))
    assert await door.identify(request("127.0.0.1"), HERE) == ANONYMOUS
    with pytest.raises(Unauthenticated):
        await door.identify(request("127.0.0.1", x_forwarded_for="203.0.113.1"), HERE)


async def test_anonymous_is_for_loopback_and_only_without_credentials() -> None:
    door = access(Password("ann"), anonymous=True)
    assert await door.identify(request("127.0.0.1"), HERE) == ANONYMOUS
    assert await door.identify(request("::1"), HERE) == ANONYMOUS
    with pytest.raises(Unauthenticated):
        await door.identify(request("192.0.2.7"), HERE)
    with pytest.raises(Unauthenticated):
        await door.identify(request("127.0.0.1", x_ann="wrong"), HERE)


@pytest.mark.parametrize("anonymous", [True, False])
@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Basic YW5uOnNlc2FtZQ=="},
        {"authorization": "Bearer flow_wrong"},
        {"authorization": ""},
        {"signature": "sig=:AAAA:"},
        {"signature_input": 'sig=("@method")'},
        {"x_quiet": "what its scheme does not take"},
    ],
)
async def test_credentials_that_no_scheme_takes_are_wrong_ones(
    headers: dict[str, str], anonymous: bool
) -> None:
    events: list[Event] = []
    door = access(Password("ann"), Quiet("quiet"), anonymous=anonymous, events=events)
    with pytest.raises(Unauthenticated, match="of no kind that is taken here") as caught:
        await door.identify(request("127.0.0.1", **headers), HERE)
    assert door.status()["failed_logins"] == 1
    assert events == [AccessDenied("mcp", "127.0.0.1", "Unauthenticated", caught.value.message)]
    # beside right ones they decide nothing
    assert (await door.identify(request(x_ann="sesame", **headers), HERE)).name == "ann"


class Quiet(Password):
    """Takes nothing of what comes in its header."""

    async def identify(self, request: Request, resource: str) -> Principal | None:
        return None


async def test_a_scheme_that_fails_lets_nobody_in_and_that_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    events: list[Event] = []
    door = access(Password("ann"), Password("bob"), anonymous=True, events=events)
    with caplog.at_level(logging.INFO), pytest.raises(Unauthenticated) as caught:
        await door.identify(request("127.0.0.1", x_ann="crash", x_bob="sesame"), HERE)
    assert caught.value.message == "the credentials could not be checked"
    [line] = caplog.records
    assert line.getMessage() == (
        "Password of edge mcp failed: RuntimeError: a fault of the scheme's"
    )
    assert (line.levelno, line.exc_info) == (logging.ERROR, None)
    assert events == [AccessDenied("mcp", "127.0.0.1", "Unauthenticated", caught.value.message)]
    assert door.status()["failed_logins"] == 1  # who can make a scheme fail can do it so often only


async def test_too_many_failed_logins_of_an_address_lock_out_that_address_for_a_while(
    autojump_clock: MockClock,
) -> None:
    events: list[Event] = []
    door = access(Password("ann"), events=events)
    refused = 0
    while True:
        try:
            await door.identify(request(x_ann="wrong"), HERE)
        except Unauthenticated:
            refused += 1
        except Overloaded as error:
            wait = error.retry_after
            break
    assert refused == 11  # the burst, and the one that went over it
    assert wait is not None
    with pytest.raises(Overloaded):
        await door.identify(request(x_ann="sesame"), HERE)
    assert (await door.identify(request("192.0.2.8", x_ann="sesame"), HERE)).name == "ann"
    await trio.sleep(wait)
    assert (await door.identify(request(x_ann="sesame"), HERE)).name == "ann"
    denied = AccessDenied("mcp", "192.0.2.7", "Unauthenticated", "the word is wrong")
    assert events == [denied] * refused


@pytest.mark.parametrize(
    ("client", "forwarded", "address"),
    [
        ("192.0.2.7", "203.0.113.1", "192.0.2.7"),  # no proxy of ours: not believed
        ("10.0.0.1", "203.0.113.1", "203.0.113.1"),
        ("10.0.0.1", "198.51.100.9, 203.0.113.1", "203.0.113.1"),  # what the client itself wrote
        ("10.0.0.1", "203.0.113.1, 10.0.0.2", "203.0.113.1"),
        ("10.0.0.1", "10.0.0.3", "10.0.0.3"),
        ("10.0.0.1", "203.0.113.1:4711", "203.0.113.1"),
        ("10.0.0.1", "not an address", "10.0.0.1"),  # what the proxy wrote is unreadable: the proxy
        ("10.0.0.1", "", "10.0.0.1"),
    ],
)
async def test_a_forwarded_address_is_believed_from_trusted_proxies_only(
    client: str, forwarded: str, address: str
) -> None:
    door = access(Password("ann"), trusted_proxies=("10.0.0.0/8",))
    assert door.address(request(client, x_forwarded_for=forwarded)) == address
    assert access(Password("ann")).address(request(client, x_forwarded_for=forwarded)) == client


def test_a_proxy_that_is_no_network_is_refused() -> None:
    with pytest.raises(ValueError, match="expected addresses or networks"):
        EdgeSettings(trusted_proxies=("10.0.0.0/99",))


async def test_counts_what_came_of_logins(autojump_clock: MockClock) -> None:
    door = access(Password("ann"), failed_logins=FailedLoginSettings(rate=1.0, burst=2, wait=5.0))
    for _ in range(5):
        with pytest.raises((Unauthenticated, Overloaded)):
            await door.identify(request(x_ann="guess"), HERE)
    assert door.status() == {
        "failed_logins": 3,
        "refused_logins": 2,
        "addresses": 1,
        "addresses_waiting": 1,
    }
    await trio.sleep(5.0)
    assert door.status()["addresses_waiting"] == 0


@attrs.define(eq=False)
class SlowPassword(Password):
    """Looks a word up for a while, as if over the network."""

    async def identify(self, request: Request, resource: str) -> Principal | None:
        await trio.sleep(1)
        return await super().identify(request, resource)


async def test_of_many_wrong_logins_at_once_no_more_are_answered_than_one_by_one(
    autojump_clock: MockClock,
) -> None:
    door = access(SlowPassword("ann"), failed_logins=FailedLoginSettings(rate=1.0, burst=5))
    told: list[str] = []

    async def guess(word: str) -> None:
        try:
            told.append((await door.identify(request(x_ann=word), HERE)).name)
        except (Unauthenticated, Overloaded) as error:
            told.append(type(error).__name__)

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(guess, "wrong")
    # five of the burst, and the one that was too many
    assert (told.count("Unauthenticated"), told.count("Overloaded")) == (6, 44)
    told.clear()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(guess, "sesame")
    assert told == ["Overloaded"]  # whoever guesses does not learn of a right word either
    await trio.sleep(60)
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(guess, "sesame")
    assert told == ["Overloaded", *["ann"] * 50]
