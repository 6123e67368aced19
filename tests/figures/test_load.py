"""The load generator against real servers, and how their CPU time is read."""

from __future__ import annotations

import sys
from collections.abc import Generator

import pytest

from benchmarks.load import ERAS, Load, LoadError, closed_loop, open_loop, wait_ready
from benchmarks.servers import Server, cpu_seconds, running
from support.ports import free_port

SPIN = "sum(range(30_000_000)); input()"
WRONG = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked = 0
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        Handler.asked += 1
        text = b'"hello"' if Handler.asked < 20 else b'{"error": "hello"}'
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
PARENT = """
import signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-m", "benchmarks.upstream", "http", sys.argv[1]])
signal.signal(signal.SIGTERM, lambda *_: child.terminate())
child.wait()
"""


@pytest.fixture(scope="module")
def upstream() -> Generator[tuple[Server, str]]:
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    with running(
        [sys.executable, "-m", "benchmarks.upstream", "http", str(port)], pin=()
    ) as server:
        wait_ready(url, ERAS[0], "echo")
        yield server, url


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("connections", [1, 7])
def test_a_closed_loop_counts_what_was_answered(
    upstream: tuple[Server, str], era: str, connections: int
) -> None:
    server, url = upstream
    load = closed_loop(server, url, era, "echo", connections=connections, seconds=0.2)
    assert _is_sound(load)
    assert load.cpu > 0


@pytest.mark.parametrize("era", ERAS)
def test_an_open_loop_asks_at_its_rate_and_not_faster(
    upstream: tuple[Server, str], era: str
) -> None:
    server, url = upstream
    load = open_loop(server, url, era, "echo", rate=100, seconds=1, seed=1)
    assert _is_sound(load)
    assert load.rate < 200


def test_a_list_is_asked_for_without_a_tool(upstream: tuple[Server, str]) -> None:
    server, url = upstream
    for era in ERAS:
        assert _is_sound(closed_loop(server, url, era, "", connections=2, seconds=0.1))


def test_a_wrong_answer_ends_the_load_and_is_shown() -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    with running([sys.executable, "-c", WRONG, str(port)], pin=()) as server:
        wait_ready(url, ERAS[0], "echo")
        with pytest.raises(LoadError, match="the answer was"):
            closed_loop(server, url, ERAS[0], "echo", connections=2, seconds=5)


def test_the_clock_of_another_process_is_its_cpu_time() -> None:
    with running([sys.executable, "-c", SPIN], pin=()) as server:
        before = server.cpu()
        while server.cpu() == before:
            pass
        assert server.tree_cpu() >= server.cpu() - before
        assert cpu_seconds(server.pid) > before


def test_an_upstream_is_no_part_of_a_tree() -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    with running([sys.executable, "-c", PARENT, str(port)], pin=()) as server:
        wait_ready(url, ERAS[0], "echo")
        assert server.tree_cpu() == pytest.approx(server.cpu())


def _is_sound(load: Load) -> bool:
    return load.rate > 0 and 0 < load.p50 <= load.p99 and load.share > 0
