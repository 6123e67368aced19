"""Load on an MCP server over HTTP, and the CPU time that the server spent on it."""

from __future__ import annotations

import contextlib
import json
import pathlib
import ssl
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Generator, Sequence
from typing import Any

import attrs

from benchmarks.servers import ON_CLIENTS_CPU, Server

HANDSHAKE, MODERN = ERAS = ("2025-11-25", "2026-07-28")
GENERATOR = pathlib.Path(__file__).parent / "generator.py"
_COMMAND = [*ON_CLIENTS_CPU, sys.executable, "-I", "-S", str(GENERATOR)]


class LoadError(Exception):
    """A server did not answer rightly under load."""


@attrs.frozen(kw_only=True)
class Load:
    """What one run of load came to."""

    rate: float
    """Requests a second."""
    cpu: float
    """CPU microseconds of the server process per request."""
    tree_cpu: float
    """The same with all of its child processes, but for upstreams."""
    p50: float
    p99: float
    """Latencies in milliseconds, as the client saw them."""
    share: float
    """What the load generator took of its CPU, 0 to 1."""
    late: float = 0.0
    """Of an open loop: milliseconds by which the generator was late itself, p99."""


def median(loads: Sequence[Load], what: str) -> float:
    """The median over some runs of one field."""
    return statistics.median(float(getattr(load, what)) for load in loads)


def request_of(era: str, tool: str) -> tuple[dict[str, str], bytes]:
    """Headers and body of a `tools/call` in an era; of a `tools/list` without a tool."""
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": era,
    }
    method, params = "tools/list", dict[str, Any]()
    if tool:
        method, params = "tools/call", {"name": tool, "arguments": {"text": "hello"}}
    if era == MODERN:
        headers |= {"Mcp-Method": method} | ({"Mcp-Name": tool} if tool else {})
        prefix = "io.modelcontextprotocol/"
        params["_meta"] = {f"{prefix}protocolVersion": era, f"{prefix}clientCapabilities": {}}
    message = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
    return headers, json.dumps(message).encode()


def check(url: str, era: str, tool: str, ca: str = "") -> None:
    """One call, whose answer must be right and of its era, or nothing that follows is a measurement."""
    headers, body = request_of(era, tool)
    trusting = ssl.create_default_context(cafile=ca) if ca else None
    request = urllib.request.Request(url, body, headers)
    with urllib.request.urlopen(request, timeout=10, context=trusting) as response:
        text = response.read().decode()
    wrong = '"hello"' not in text or '"error"' in text or '"isError":true' in text
    if wrong or ('"resultType"' in text) != (era == MODERN):
        raise LoadError(f"{url} answered {text[:300]}")


def wait_ready(url: str, era: str, tool: str, ca: str = "") -> None:
    """Wait, half a minute at most, until a call is answered rightly; `ca` is a file that an https URL's
    certificate must be issued by."""
    began = time.monotonic()
    while True:
        try:
            check(url, era, tool, ca)
        except (OSError, LoadError, urllib.error.URLError) as failure:
            if time.monotonic() - began > 30:
                raise LoadError(f"{url} does not become ready: {failure}") from failure
            time.sleep(0.1)
        else:
            return


def closed_loop(
    server: Server,
    url: str,
    era: str,
    tool: str,
    *,
    connections: int,
    seconds: float = 1.0,
    ca: str = "",
) -> Load:
    """Calls (lists, without a tool) on so many connections, as fast as they are answered.

    Raises LoadError if an answer is wrong.
    """
    job = {"kind": "closed", "connections": connections, "seconds": seconds, "ca": ca}
    return _run(server, job | addressed(url, era, tool))


@contextlib.contextmanager
def steady_loop(
    server: Server, url: str, era: str, tool: str, *, connections: int, ca: str = ""
) -> Generator[Callable[[float], Load]]:
    """A closed loop on connections that stay: each call of what is given goes on for so many seconds.

    Who is measured may change between two calls, and nothing else does. Raises LoadError if an answer is
    wrong.
    """
    job = {"kind": "steady", "connections": connections, "ca": ca} | addressed(url, era, tool)
    with subprocess.Popen(
        _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as generator:
        asked, told, wrong = generator.stdin, generator.stdout, generator.stderr
        assert asked is not None
        assert told is not None
        assert wrong is not None
        print(json.dumps(job), file=asked, flush=True)

        def go_on(seconds: float) -> Load:
            before, tree_before = server.cpu(), server.tree_cpu()
            print(seconds, file=asked, flush=True)
            line = told.readline()
            if not line:
                raise LoadError(wrong.read().strip())
            return _load(json.loads(line), server.cpu() - before, server.tree_cpu() - tree_before)

        yield go_on


def open_loop(
    server: Server, url: str, era: str, tool: str, *, rate: float, seconds: float, seed: int
) -> Load:
    """Calls that come at a rate by a schedule, whatever the server does.

    Raises LoadError if an answer is wrong.
    """
    job = {"kind": "open", "connections": 16, "rate": rate, "seconds": seconds, "seed": seed}
    return _run(server, job | addressed(url, era, tool))


def addressed(url: str, era: str, tool: str) -> dict[str, Any]:
    """The part of a job that says what is asked of whom."""
    headers, body = request_of(era, tool)
    parts = urllib.parse.urlsplit(url)
    headers |= {"Host": parts.netloc, "Content-Length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return {
        "host": parts.hostname,
        "port": parts.port,
        "request": f"POST {parts.path} HTTP/1.1\r\n{lines}\r\n{body.decode()}",
        "wanted": '"hello"' if tool else '"tools"',
    }


def _run(server: Server, job: dict[str, Any]) -> Load:
    server.wait_idle()
    before, tree_before = server.cpu(), server.tree_cpu()
    done = subprocess.run(
        _COMMAND, input=json.dumps(job), capture_output=True, text=True, check=False
    )
    server.wait_idle()  # what it has still to do counts as well, and disturbs nobody who comes next
    spent, tree_spent = server.cpu() - before, server.tree_cpu() - tree_before
    if done.returncode:
        raise LoadError(done.stderr.strip())
    return _load(json.loads(done.stdout), spent, tree_spent)


def _load(seen: dict[str, float], spent: float, tree_spent: float) -> Load:
    return Load(
        rate=seen["rate"],
        cpu=spent / seen["count"] * 1e6,
        tree_cpu=tree_spent / seen["count"] * 1e6,
        p50=seen["p50"] * 1e3,
        p99=seen["p99"] * 1e3,
        share=seen["share"],
        late=seen.get("late_p99", 0.0) * 1e3,
    )
