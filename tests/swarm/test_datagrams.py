"""Datagrams on the port of the links, over real sockets."""

from __future__ import annotations

import socket

import pytest
import trio

from flowcore.swarm.links import MOST_DATAGRAM, CannotListen, UdpDatagrams, open_ports
from support.ports import free_port


async def until(datagrams: UdpDatagrams, **counts: int) -> None:
    """Wait until some counts are so."""
    with trio.fail_after(20):
        while any(getattr(datagrams, name) != count for name, count in counts.items()):
            await trio.lowlevel.checkpoint()


async def test_datagrams_go_to_the_port_on_which_links_are_taken() -> None:
    async with open_ports("127.0.0.1:0") as (listener, one, here):
        assert listener.socket.getsockname() == (here.host, here.port)
        async with open_ports("127.0.0.1:0") as (_, other, there):
            one.post(str(there), b"hello")
            with trio.fail_after(20):
                assert await other.receive() == (str(here), b"hello")
                other.post(f"localhost:{here.port}", b"by name")
                assert await one.receive() == (str(there), b"by name")


async def test_what_is_too_large_is_dropped_and_counted_on_both_sides() -> None:
    async with open_ports("127.0.0.1:0") as (_, one, here):
        one.post(str(here), bytes(MOST_DATAGRAM + 1))
        assert one.status()["oversize"] == 1
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(bytes(MOST_DATAGRAM + 1), (here.host, here.port))
            stranger.sendto(bytes(60_000), (here.host, here.port))
            stranger.sendto(bytes(MOST_DATAGRAM), (here.host, here.port))
        with trio.fail_after(20):
            assert (await one.receive())[1] == bytes(MOST_DATAGRAM)
        assert one.status()["oversize"] == 3


async def test_what_nobody_reads_is_bounded() -> None:
    async with open_ports("127.0.0.1:0") as (_, one, here):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for number in range(1100):
                stranger.sendto(b"%d" % number, (here.host, here.port))
                if number % 50 == 49:  # the kernel's own room is small
                    await until(one, received=min(number + 1, 1024))
        await until(one, received=1024, overflow=76)


@pytest.mark.parametrize("address", ["nowhere.invalid:7400", "no address", "127.0.0.1:0"])
async def test_what_cannot_be_sent_is_dropped_and_counted(address: str) -> None:
    async with open_ports("127.0.0.1:0") as (_, one, _):
        one.post(address, b"x")
        await until(one, unsent=1, sent=0)


async def test_a_port_that_is_taken_is_told() -> None:
    async with open_ports("127.0.0.1:0") as (_, _, here):
        with pytest.raises(CannotListen, match=f"cannot listen on 127.0.0.1:{here.port}"):
            async with open_ports(str(here)):
                raise AssertionError
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(CannotListen, match="cannot (take datagrams|listen) on"):
            async with open_ports(address):
                raise AssertionError


async def test_nobody_there_is_counted_and_others_are_still_heard() -> None:
    address = f"127.0.0.1:{free_port()}"
    async with open_ports("127.0.0.1:0") as (_, one, here):
        for _ in range(3):
            one.post(address, b"x")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"hello", (here.host, here.port))
        with trio.fail_after(20):
            assert (await one.receive())[1] == b"hello"
        await until(one, sent=3)
