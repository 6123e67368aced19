"""A long wire between hosts: what is sent over it arrives later, each packet by another time.

Each host has a TUN device, and a thread here carries packets from one to the other. So delay and jitter are
those of a network, below TCP and UDP alike, and packets overtake each other.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import os
import random
import select
import struct
import threading
import time
from collections.abc import Generator, Mapping

import attrs

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_NAME = b"wire"
_PACKET = 65536
_DESTINATION = slice(16, 20)
"""Of an IPv4 packet (RFC 791 section 3.1)."""


@attrs.frozen
class Delay:
    """How long a packet is on its way: `mean` plus or minus up to `jitter` seconds, evenly."""

    mean: float
    jitter: float = 0.0
    seed: int = 0

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.jitter <= self.mean:
            raise ValueError(f"expected a jitter of 0 to {self.mean} s, not {self.jitter}")


def open_device() -> int:
    """A new TUN device called `wire` in the calling thread's namespace; it lives as long as it is open.

    Raises OSError.
    """
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", _NAME, _IFF_TUN | _IFF_NO_PI))
    except OSError:
        os.close(device)
        raise
    return device


@contextlib.contextmanager
def carrying(devices: Mapping[bytes, int], delay: Delay) -> Generator[None]:
    """Carry packets between devices, by the IPv4 addresses they have, while this block lasts."""
    told, tell = os.pipe()
    thread = threading.Thread(target=_carry, args=(devices, delay, told), daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.close(tell)
        thread.join()
        os.close(told)


def _carry(devices: Mapping[bytes, int], delay: Delay, told: int) -> None:
    chance, under_way = random.Random(delay.seed), list[tuple[float, int, bytes]]()
    poll, count = select.poll(), 0
    for one in (*devices.values(), told):
        poll.register(one, select.POLLIN | select.POLLHUP)
    while True:
        wait = max(0.0, under_way[0][0] - time.monotonic()) * 1000 if under_way else None
        for ready, _ in poll.poll(wait):
            if ready == told:
                return
            packet = os.read(ready, _PACKET)
            if packet[_DESTINATION] in devices:  # else of IPv6, or for nobody
                due = time.monotonic() + chance.uniform(-1, 1) * delay.jitter + delay.mean
                count += 1
                heapq.heappush(under_way, (due, count, packet))
        while under_way and under_way[0][0] <= time.monotonic():
            packet = heapq.heappop(under_way)[2]
            with contextlib.suppress(OSError):  # its host has gone, or has no room: it is lost
                os.write(devices[packet[_DESTINATION]], packet)
