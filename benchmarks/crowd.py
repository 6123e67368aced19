"""Callers by the schedule: reads a job as JSON from stdin, asks, writes what became of it as JSON.

A program of its own, like `generator`, but for a server that is asked too much: callers come when they are
due (Poisson, from a seed) whatever the server does, each has so much patience, hangs up when it is over, and
takes a refusal for an answer. Each latency counts from when the request was due.

A job has phases, one after another without a pause; each gives counts, latencies in seconds, and the times
from its beginning to the last request that was not served in `usual` seconds, and to the last result. Jobs of
several programs that are to keep step say when they begin: `at`, by the monotonic clock.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import select
import socket
import sys
import time
from collections import deque
from typing import Any

now = time.monotonic

GOOD, REFUSED, WRONG, HUNG_UP = "good", "refused", "wrong", "hung_up"
_REFUSALS = (b'"code":-31050', b'"code":-31053')
"""Overloaded, and AgentUnavailable."""
_WAIT = 0.05


class Caller:
    """One connection, with at most one request on its way."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect_ex(address)
        self.connected = False
        self.received = b""
        self.phase = 0
        self.due = 0.0
        self.number = 0
        """Of the request, so that a time-out finds out whether it is still this one."""

    def answer(self) -> str | None:
        """What the answer is, once it is whole; `wrong` if the server hung up."""
        try:
            part = self.socket.recv(1 << 18)
        except BlockingIOError:
            return None
        except OSError:
            return WRONG
        if not part:
            return WRONG
        self.received += part
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found:
            return None
        head = head.lower()
        length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
        if len(body) < int(length or 0):
            return None
        self.received = b""
        status = head[9:12]
        if status in (b"429", b"503") or any(code in body for code in _REFUSALS):
            hinted = b"retry-after" in head or b"retryAfter" in body
            return REFUSED if hinted else WRONG
        return GOOD if status == b"200" and b'"error"' not in body else WRONG


class Crowd:
    """All callers of one job."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.requests = itertools.cycle(one.encode() for one in job["requests"])
        self.patience = float(job["patience"])
        self.poll = select.epoll()
        self.idle: list[Caller] = []
        self.busy: dict[int, Caller] = {}
        self.waiting: deque[tuple[float, int, Caller]] = deque()
        self.done: list[list[tuple[float, float, str]]] = [[] for _ in job["phases"]]
        """By phase: (when it was due from the phase's beginning, latency, what it was)."""
        self.late: list[float] = []

    def run(self) -> list[dict[str, Any]]:
        """Every phase's summary."""
        chance = random.Random(self.job["seed"])
        schedule: list[tuple[float, int]] = []
        starts, begin = [], 0.0
        for number, phase in enumerate(self.job["phases"]):
            starts.append(begin)
            at = begin if phase["rate"] else math.inf
            while (at := at + chance.expovariate(phase["rate"] or 1)) < begin + phase["seconds"]:
                schedule.append((at, number))
            begin += phase["seconds"]
        zero = self.job.get("at", now() + 0.1)
        self.starts = [zero + start for start in starts]
        for at, phase in schedule:
            self.wait_until(zero + at)
            self.late.append(now() - zero - at)
            self.ask(zero + at, phase)
        while self.busy:
            self.wait_until(now() + _WAIT)
        return [self.summary(number) for number in range(len(starts))]

    def ask(self, due: float, phase: int) -> None:
        """A caller comes."""
        caller = self.idle.pop() if self.idle else Caller((self.job["host"], self.job["port"]))
        caller.due, caller.phase = due, phase
        caller.number += 1
        number = caller.socket.fileno()
        self.busy[number] = caller
        self.waiting.append((due + self.patience, caller.number, caller))
        if caller.connected:
            self.send(caller)
        else:
            self.poll.register(number, select.EPOLLOUT)

    def send(self, caller: Caller) -> None:
        """Say what one wants; it is short enough to fit into any socket's buffer."""
        try:
            caller.socket.send(next(self.requests))
        except OSError:
            self.end(caller, WRONG)

    def wait_until(self, when: float) -> None:
        """See to those who are answered, or lose patience, until then."""
        while True:
            moment = now()
            while self.waiting and self.waiting[0][0] <= moment:
                _, number, caller = self.waiting.popleft()
                if caller.number == number and self.busy.get(caller.socket.fileno()) is caller:
                    self.end(caller, HUNG_UP)
            for number, _ in self.poll.poll(max(0.0, when - now())):
                caller = self.busy.get(number) or next(
                    one for one in self.idle if one.socket.fileno() == number
                )
                if not caller.connected:
                    caller.connected = True
                    self.poll.modify(number, select.EPOLLIN)
                    self.send(caller)
                    continue
                what = caller.answer()
                if number not in self.busy:  # the server closes a connection that is not in use
                    self.idle.remove(caller)
                    self.poll.unregister(number)
                    caller.socket.close()
                elif what is not None:
                    self.end(caller, what)
            if now() >= when:
                return

    def end(self, caller: Caller, what: str) -> None:
        """A request is over."""
        number = caller.socket.fileno()
        del self.busy[number]
        latency = now() - caller.due
        self.done[caller.phase].append((caller.due - self.starts[caller.phase], latency, what))
        if what in (GOOD, REFUSED):
            self.idle.append(caller)
        else:
            self.poll.unregister(number)
            caller.socket.close()

    def summary(self, number: int) -> dict[str, Any]:
        """What became of a phase's requests."""
        phase, done = self.job["phases"][number], self.done[number]
        usual = phase.get("usual", self.patience)
        unserved = [due for due, latency, what in done if what != GOOD or latency > usual]
        result: dict[str, Any] = {
            "rate": len(done) / phase["seconds"],
            "good_rate": sum(what == GOOD for _, _, what in done) / phase["seconds"],
            "last_unserved": max(unserved, default=0.0),
            "last_good": max(
                (due + latency for due, latency, what in done if what == GOOD), default=0.0
            ),
            "late_p99": at(sorted(self.late), 0.99),
        }
        for kind in (GOOD, REFUSED, WRONG, HUNG_UP):
            took = sorted(latency for _, latency, what in done if what == kind)
            result[kind] = {
                "count": len(took),
                "p50": at(took, 0.5),
                "p99": at(took, 0.99),
                "most": at(took, 1.0),
            }
        return result


def at(ordered: list[float], share: float) -> float:
    """A quantile; 0.0 of nothing."""
    return ordered[int(share * (len(ordered) - 1))] if ordered else 0.0


if __name__ == "__main__":
    json.dump(Crowd(json.load(sys.stdin)).run(), sys.stdout)
