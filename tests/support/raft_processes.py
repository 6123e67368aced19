"""Clients of three flowserve that keep one state by Raft: they read and write, and note all of it."""

from __future__ import annotations

import http.client
import pathlib
import random
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import attrs

from flowcore.testing import History
from support.cluster import REHEARSED, Cluster

NAMES = ("alpha", "beta", "gamma")
CONFIG = """
[consensus]
type = "raft"
voters = ["alpha", "beta", "gamma"]
election = "500ms"
heartbeat = "100ms"
[router]
gate = "similarity"
"""
NEVER_BEGAN = {-31050, -31053, -31063}
"""Codes of errors that say that nothing has happened, and nothing will."""
_KEYS = 4
_CALLS = 300
"""Calls on some registers until others take their place: what is checked of each stays small."""


@attrs.define(eq=False)
class Clients:
    """Some clients, each one task after the other, on whichever node."""

    cluster: Cluster
    history: History
    pause: float
    """Seconds between two calls of a client."""
    nodes: tuple[str, ...] = NAMES
    """Whom they ask."""
    keys: int = _KEYS
    """Registers that are in use at the same time: with many clients more of them, so that few share one."""
    reads: float = 0.4
    """The share of calls that read."""
    acknowledged: set[str] = attrs.field(factory=set)
    """Keys that are written once, and were acknowledged."""
    unsure: set[str] = attrs.field(factory=set)
    """Those that may be there."""
    counts: dict[str, int] = attrs.field(factory=lambda: {"ok": 0, "fail": 0, "unknown": 0})
    written: int = 0
    """Writes that were acknowledged."""
    registers: set[str] = attrs.field(factory=set)
    _lock: threading.Lock = attrs.field(factory=threading.Lock)
    _done: threading.Event = attrs.field(factory=threading.Event)
    _began: float = attrs.field(factory=time.monotonic)
    _calls: int = 0
    _values: int = 0
    _connections: dict[int, dict[str, http.client.HTTPConnection]] = attrs.field(factory=dict)
    """By thread and node."""

    def run(self, number: int) -> None:
        """Call, until stopped."""
        chance = random.Random(f"client {number}")
        name = f"client {number}"
        while not self._done.wait(self.pause):
            node = chance.choice(self.nodes)
            what = chance.random()
            if what < self.reads:
                self.read(node, name, self._register(chance))
            elif what < 0.8:
                self.write(node, name, self._register(chance))
            else:
                self._once(node, name)
        for connection in self._connections.pop(threading.get_ident(), {}).values():
            connection.close()

    def stop(self) -> None:
        self._done.set()

    def _register(self, chance: random.Random) -> str:
        with self._lock:
            self._calls += 1
            key = f"r{self._calls // _CALLS}.{chance.randrange(self.keys)}"
            self.registers.add(key)
            return key

    def write(self, node: str, client: str, key: str) -> str:
        """Write a register; how it ended."""
        with self._lock:
            self._values += 1
            value = self._values
            call = self._invoke(client, "write", key, value)
        end, _ = self._call(node, "memory.put", key=key, text=f"{value}", namespace="registers")
        with self._lock:
            self.written += end == "ok"
        return self._end(client, call, end)

    def read(self, node: str, client: str, key: str) -> str:
        """Read a register; how it ended."""
        with self._lock:
            call = self._invoke(client, "read", key)
        end, result = self._call(node, "memory.get", key=key, namespace="registers")
        found = None
        if end == "ok" and not result.get("isError"):
            found = int(result["structuredContent"]["text"])
        # what a read found nobody knows, and it has changed nothing
        return self._end(client, call, "fail" if end == "unknown" else end, found)

    def _once(self, node: str, client: str) -> None:
        key = f"{client} {time.monotonic_ns()}"
        end, _ = self._call(node, "memory.put", key=key, text=key, namespace="once")
        with self._lock:
            self.counts[end] += 1
            self.written += end == "ok"
            if end != "fail":
                (self.acknowledged if end == "ok" else self.unsure).add(key)

    def _invoke(self, client: str, operation: str, key: str, value: Any = None) -> int:
        return self.history.invoke(self._now(), client, operation, key, value)

    def _end(self, client: str, call: int, end: Any, result: Any = None) -> str:
        with self._lock:
            self.counts[end] += 1
            self.history.end(self._now(), client, call, end, result)
        return str(end)

    def _now(self) -> float:
        return round(time.monotonic() - self._began, 6)

    def _call(self, node: str, tool: str, **arguments: Any) -> tuple[str, dict[str, Any]]:
        """How a call ended, and its result. Each client keeps its connections, as long as they are good."""
        body = {"tool": tool, "arguments": arguments, "deadline": 3.0}
        mine = self._connections.setdefault(threading.get_ident(), {})
        connection = mine.pop(node, None)
        try:
            connection = connection or self.cluster.connect(node, timeout=5.0)
            status, answer = self.cluster.exchange(connection, "/call", body)
            if not self._done.is_set():
                mine[node], connection = connection, None
        except ConnectionRefusedError:
            return "fail", {}
        except (OSError, ValueError):  # ValueError: the answer was cut off
            return "unknown", {}
        finally:
            if connection is not None:
                connection.close()
        if status == 200:
            return "ok", answer["result"]
        error = answer["error"]
        return ("fail" if error["code"] in NEVER_BEGAN else "unknown"), {}

    def more(self, count: int) -> None:
        """Wait until so many more calls were acknowledged."""
        before = self.counts["ok"]
        self.cluster.until(lambda: self.counts["ok"] >= before + count, 120.0)


def kept(cluster: Cluster, node: str, namespace: str) -> set[str]:
    """The keys that a node has in a namespace, by what all have agreed on."""
    found: set[str] = set()
    cursor = None
    while True:
        body = {"namespace": namespace, "cursor": cursor}
        status, page = cluster.ask(node, "/memory/export", body)
        assert status == 200, page
        found |= {one["key"] for one in page["patterns"]}
        cursor = page["cursor"]
        if cursor is None:
            return found


@contextmanager
def under_load(
    folder: pathlib.Path, history: History, *, clients: int, pause: float
) -> Generator[tuple[Cluster, Clients]]:
    """Three nodes, and clients that call them as long as the block runs."""
    cluster = Cluster(folder, NAMES, "", CONFIG + REHEARSED, "mesh")
    cluster.prepare()
    try:
        cluster.start(*NAMES)
        calling = Clients(cluster, history, pause)
        with ThreadPoolExecutor(clients) as pool:
            running = [pool.submit(calling.run, number) for number in range(clients)]
            try:
                calling.more(10)
                yield cluster, calling
            finally:
                calling.stop()
            for one in running:
                one.result()  # raises what a client did
    finally:
        cluster.close()
