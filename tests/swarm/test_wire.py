"""The hosts of these tests: a wire between them that takes its time."""

from __future__ import annotations

import socket
import time

import pytest

from support.namespaces import hindrance, namespaces
from support.wire import Delay


def test_packets_take_their_time_and_overtake_each_other() -> None:
    if why := hindrance():
        pytest.skip(f"no network namespaces: {why}")
    with namespaces("one", "other", delay=Delay(0.03, 0.02)) as hosts:
        with hosts.datagrams("one") as sender, hosts.datagrams("other") as receiver:
            sent = {}
            for number in range(100):
                sent[number] = time.monotonic()
                sender.sendto(bytes((number,)), (hosts.host("other"), receiver.getsockname()[1]))
            order = []
            for _ in sent:
                number = receiver.recv(9)[0]
                assert time.monotonic() - sent[number] >= 0.01
                order.append(number)
            assert sorted(order) == list(sent)
            assert order != list(sent)


def test_a_jitter_is_no_more_than_the_delay() -> None:
    with pytest.raises(ValueError, match="expected a jitter of 0 to 0.1 s, not 0.2"):
        Delay(0.1, 0.2)


def test_sockets_of_hosts_are_theirs() -> None:
    if why := hindrance():
        pytest.skip(f"no network namespaces: {why}")
    with namespaces("one", "other") as hosts:
        with hosts.datagrams("one") as here, hosts.datagrams("other") as there:
            assert here.getsockname()[0] == hosts.host("one")
            here.sendto(b"hello", there.getsockname())
            data, source = there.recvfrom(9)
            assert (data, source) == (b"hello", here.getsockname())
            hosts.cut("other", "one")
            here.sendto(b"cut off", there.getsockname())
            there.sendto(b"one way", here.getsockname())
            assert here.recv(9) == b"one way"
            with pytest.raises(socket.timeout):
                there.recv(9)
