"""Ports for what tests start: nobody else has one before it is bound, nor while its owner is restarted."""

from __future__ import annotations

import os
import random
import socket

_RANGE = range(10_000, 32_000)
"""Below those that the system gives out by itself, for `bind` to port 0 and to whoever connects."""
_WORKERS = 16
"""Each worker of pytest-xdist has every so manieth port as its own."""

_given: set[int] = set()
_chance = random.SystemRandom()  # not the one that Hypothesis seeds alike in every worker


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has, for TCP and UDP; none is given twice."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
    while True:
        port = _chance.randrange(_RANGE.start + worker, _RANGE.stop, _WORKERS)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port


def free_ports(count: int) -> list[int]:
    """So many of them."""
    return [free_port() for _ in range(count)]


def _is_free(port: int) -> bool:
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        try:
            tcp.bind(("127.0.0.1", port))
            udp.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
