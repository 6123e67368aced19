"""Load on an HTTP server with wrk, and the CPU time that the server spent on it."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Sequence

import attrs

ERAS = ("2025-11-25", "2026-07-28")


@attrs.frozen
class Load:
    """What one run of load came to."""

    rate: float
    """Requests a second."""
    cpu: float
    """CPU microseconds of the server's processes per request."""
    p50: float
    p99: float
    """Latencies in milliseconds, as the client saw them."""


def request_of(era: str, tool: str) -> tuple[dict[str, str], bytes]:
    """Headers and body of a `tools/call` in an era."""
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": era,
    }
    params: dict[str, object] = {"name": tool, "arguments": {"text": "hello"}}
    if era == "2026-07-28":
        headers |= {"Mcp-Method": "tools/call", "Mcp-Name": tool}
        prefix = "io.modelcontextprotocol/"
        params["_meta"] = {f"{prefix}protocolVersion": era, f"{prefix}clientCapabilities": {}}
    message = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}
    return headers, json.dumps(message).encode()


def check(url: str, era: str, tool: str) -> None:
    """One call, whose answer must be right, or nothing that follows is a measurement."""
    headers, body = request_of(era, tool)
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10) as response:
        text = response.read().decode()
    if '"hello"' not in text or '"error"' in text or '"isError":true' in text:
        raise RuntimeError(f"{url} answered {text[:300]}")


def wait_ready(url: str, era: str, tool: str) -> None:
    """Wait, half a minute at most, until a call is answered rightly."""
    began = time.monotonic()
    while True:
        try:
            check(url, era, tool)
        except (OSError, RuntimeError, urllib.error.URLError):
            if time.monotonic() - began > 30:
                raise
            time.sleep(0.1)
        else:
            return


def list_request() -> tuple[dict[str, str], bytes]:
    """Headers and body of a `tools/list` of 2025-11-25."""
    headers, _ = request_of("2025-11-25", "")
    return headers, b'{"jsonrpc":"2.0","id":7,"method":"tools/list"}'


def measure(
    url: str, era: str, tool: str, server: int, *, connections: int, seconds: int = 3
) -> Load:
    """Calls (lists, without a tool) as fast as they are answered. The client has CPU 1 to itself."""
    headers, body = request_of(era, tool) if tool else list_request()
    lines = [f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items()]
    script = "\n".join(['wrk.method = "POST"', *lines, f"wrk.body = [==[{body.decode()}]==]"])
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        base = ["wrk", "-t1", f"-c{connections}", "--latency", "-s", file.name, url]
        command = [*(["taskset", "-c", "1"] if (os.cpu_count() or 1) > 1 else []), *base]
        subprocess.run([*command, "-d1"], capture_output=True, check=True)
        before = cpu_seconds(server)
        done = subprocess.run(
            [*command, f"-d{seconds}"], capture_output=True, text=True, check=True
        )
        spent = cpu_seconds(server) - before
    out = done.stdout
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    if bad:
        raise RuntimeError(f"{bad[1]} of the calls to {url} failed")
    count = int(_found(r"(\d+) requests in", out))
    return Load(
        float(_found(r"Requests/sec: +([\d.]+)", out)),
        spent / max(1, count) * 1e6,
        _milliseconds(_found(r"50% +(\S+)", out)),
        _milliseconds(_found(r"99% +(\S+)", out)),
    )


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise RuntimeError(f"wrk did not say {pattern!r}:\n{text}")
    return match[1]


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]


def cpu_seconds(pid: int) -> float:
    """User and system time of one process so far."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A port that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def running(command: Sequence[str]) -> Generator[int]:
    """A server process, bound to CPU 0; its pid. It is ended with the block."""
    bound = [*(["taskset", "-c", "0"] if (os.cpu_count() or 1) > 1 else []), *command]
    root = pathlib.Path(__file__).parents[1]
    with subprocess.Popen(
        bound, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=root
    ) as process:
        try:
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def have_wrk() -> bool:
    """Whether the load generator is here."""
    return shutil.which("wrk") is not None
