"""The load generator: reads a job as JSON from stdin, makes the load, writes what it saw as JSON.

A program of its own that imports only what it needs, so that it costs little and disturbs nothing. Two kinds
of load, both counted to the last answer, so that no work of the server goes uncounted:

- `closed`: so many connections, each asks again when it is answered, for so long;
- `steady`: the same, again and again on connections that stay, each time that a line says for how long;
- `open`: requests come by a schedule (Poisson, from a seed) whatever the server does, and each latency counts
  from when the request was *due*, so that a stall is paid by all that would have come in it ("coordinated
  omission", G. Tene).

Every answer is looked at; the first wrong one ends the run with status 1 and what it was.
"""

from __future__ import annotations

import json
import random
import select
import socket
import sys
import time
from typing import Any

PATIENCE = 60.0
"""Seconds without any answer, after which the server is held for dead."""
MOST = 512
"""Connections that an open loop opens at most."""

now = time.perf_counter


class WrongError(Exception):
    """The server answered what is no right answer, or nothing."""


class Connection:
    """One connection, with at most one request on its way."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.address = (job["host"], job["port"])
        self.request = job["request"].encode()
        self.wanted = job["wanted"].encode()
        self.trusting: Any = None
        if job.get("ca"):
            import ssl  # what needs none does not pay for it

            self.trusting = ssl.create_default_context(cafile=job["ca"])
        self.began = 0.0
        self.connect()

    def connect(self) -> None:
        """Connect, anew if it was before."""
        self.socket = socket.create_connection(self.address, timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.trusting is not None:
            self.socket = self.trusting.wrap_socket(
                self.socket, server_hostname=self.address[0], suppress_ragged_eofs=True
            )
        self.received = b""

    def fileno(self) -> int:
        """For select."""
        return self.socket.fileno()

    def ask(self, began: float) -> None:
        """Send the request, whose latency counts from `began`."""
        self.began = began
        self.socket.sendall(self.request)

    def answered(self) -> bool:
        """Receive what there is; whether that makes the answer whole."""
        part = self.socket.recv(1 << 18)
        while self.trusting is not None and self.socket.pending():  # type: ignore[attr-defined]
            part += self.socket.recv(1 << 18)
        received = self.received = self.received + part if self.received else part
        head, found, body = received.partition(b"\r\n\r\n")
        if not part:
            raise WrongError(f"the connection was closed after {received[:300]!r}")
        if not found or not _whole(head := head.lower(), body):
            return False
        right = head.startswith(b"http/1.1 200") and self.wanted in body
        if not right or b'"error"' in body or b'"isError":true' in body:
            raise WrongError(f"the answer was {received[:500]!r}")
        self.received = b""
        if b"connection: close" in head:
            self.socket.close()
            self.connect()
        return True


def _whole(head: bytes, body: bytes) -> bool:
    """Whether the body is all here, by its length or its last chunk."""
    _, found, rest = head.partition(b"content-length:")
    if found:
        return len(body) >= int(rest.partition(b"\r\n")[0])
    return body.endswith(b"0\r\n\r\n")


class Closed:
    """Connections of which each asks again when it is answered."""

    def __init__(self, job: dict[str, Any]) -> None:
        connections = (Connection(job) for _ in range(job["connections"]))
        self.connections = {one.fileno(): one for one in connections}
        self.poll = select.epoll()
        for number in self.connections:
            self.poll.register(number, select.EPOLLIN)

    def run(self, seconds: float) -> dict[str, float]:
        """Ask on every connection until the time is over, then wait for the last answers."""
        connections, poll = self.connections, self.poll
        took: list[float] = []
        begin, worked = now(), time.process_time()
        end = begin + seconds
        for connection in connections.values():
            connection.ask(now())
        waiting = len(connections)
        while waiting:
            ready = poll.poll(PATIENCE)
            if not ready:
                raise WrongError(f"no answer in {PATIENCE:g} s")
            for number, _ in ready:
                connection = connections[number]
                if not connection.answered():
                    continue
                moment = now()
                took.append(moment - connection.began)
                if connection.fileno() != number:  # connected anew
                    connections[connection.fileno()] = connections.pop(number)
                    poll.register(connection.fileno(), select.EPOLLIN)
                if moment < end:
                    connection.ask(moment)
                else:
                    waiting -= 1
        return _summary(took, now() - begin, time.process_time() - worked)


def closed(job: dict[str, Any]) -> dict[str, float]:
    """One closed loop."""
    return Closed(job).run(job["seconds"])


def steady(job: dict[str, Any]) -> dict[str, float]:
    """A closed loop for each line, of which one line is told; nothing more at the end."""
    loop = Closed(job)
    for line in sys.stdin:
        print(json.dumps(loop.run(float(line))), flush=True)
    return {}


def open_loop(job: dict[str, Any]) -> dict[str, float]:
    """Ask when requests are due, on as many connections as it takes."""
    chance = random.Random(job["seed"])
    due = [0.0]
    while due[-1] < job["seconds"]:
        due.append(due[-1] + chance.expovariate(job["rate"]))
    idle = [Connection(job) for _ in range(job["connections"])]
    busy: set[Connection] = set()
    took: list[float] = []
    late: list[float] = []
    begin, worked, sent = now(), time.process_time(), 0
    while sent < len(due) or busy:
        while sent < len(due) and begin + due[sent] <= (moment := now()):
            if not idle and len(busy) >= MOST:
                raise WrongError(f"{MOST} requests are unanswered")
            connection = idle.pop() if idle else Connection(job)
            late.append(moment - begin - due[sent])
            connection.ask(begin + due[sent])
            busy.add(connection)
            sent += 1
        patience = max(0.0, begin + due[sent] - now()) if sent < len(due) else PATIENCE
        ready, _, _ = select.select(busy, [], [], patience)
        if not ready and sent == len(due):
            raise WrongError(f"no answer in {PATIENCE:g} s")
        for connection in ready:
            if connection.answered():
                took.append(now() - connection.began)
                busy.remove(connection)
                idle.append(connection)
    summary = _summary(took, now() - begin, time.process_time() - worked)
    return summary | {"late_p99": _at(sorted(late), 0.99)}


def _summary(took: list[float], seconds: float, worked: float) -> dict[str, float]:
    took.sort()
    return {
        "count": len(took),
        "rate": len(took) / seconds,
        "p50": _at(took, 0.5),
        "p99": _at(took, 0.99),
        "share": worked / seconds,
    }


def _at(ordered: list[float], share: float) -> float:
    return ordered[int(share * (len(ordered) - 1))]


def main() -> int:
    """Do the job."""
    job = json.loads(sys.stdin.readline())
    try:
        result = {"closed": closed, "steady": steady, "open": open_loop}[job["kind"]](job)
    except (OSError, WrongError) as failure:
        print(f"{type(failure).__name__}: {failure}", file=sys.stderr)
        return 1
    json.dump(result, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
