"""`flowctl top`: what it draws, and that it does in a real terminal, which may change its size."""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Generator
from typing import Any

import attrs
import msgspec
import pytest

from flowcore.cli.answers import PlaceLine, TopAnswer
from flowcore.cli.top_frame import Look, Sight, frame
from support.node import BIN, ROOT, Node, free_ports, serving


def agent(name: str, **more: Any) -> dict[str, Any]:
    pool = {"workers": 2, "active": 1, "waiting": 0}
    counts = dict.fromkeys(("calls", "failed", "faulty", "expired", "lost", "crashes"), 0)
    made = {
        "name": name,
        "state": "idle",
        "reason": "",
        "offers": {"tools": 1},
        "pool": pool,
        "durations": {"p50": 0.001, "p99": 0.002},
        "lives": 1,
        **counts,
    }
    return {**made, **more}


def look(*agents: dict[str, Any], at: float = 0.0, before: Look | None = None) -> Look:
    counts = ("accepted", "running", "results", "errors", "cancelled", "expired", "refused")
    status = {
        "node": "alpha",
        "version": "1",
        "ready": True,
        "draining": False,
        "uptime": 60.0,
        "endpoints": {},
        "requests": {
            **dict.fromkeys(counts, 0),
            "accepted": sum(one["calls"] for one in agents),
            "durations": {"p50": None, "p99": None},
        },
        "components": [],
        "collisions": [],
        "agents": list(agents),
    }
    return Look(at=at, status=msgspec.convert(status, TopAnswer), before=before)


def shown(lines: list[str]) -> list[str]:
    """The names in the table of agents, in their order."""
    heads = next(place for place, line in enumerate(lines) if line.startswith("agent "))
    return [line.split()[0] for line in lines[heads + 1 :] if line and "quits" not in line]


def test_agents_are_sorted_as_asked_and_scrolled_within_their_number() -> None:
    seen = look(*(agent(f"a{count}", calls=count % 3) for count in range(9)))
    whole = Sight()
    assert shown(frame(seen, whole, width=0, height=0)) == [f"a{count}" for count in range(9)]
    by_calls = whole.after("s", 24, 9)
    assert by_calls.sort == "calls"
    assert shown(frame(seen, by_calls, width=0, height=0))[:3] == ["a2", "a5", "a8"]
    few = frame(seen, whole, width=80, height=10)
    assert len(few) <= 10
    far = whole
    for _ in range(50):
        far = far.after("down", 10, 9)
    assert shown(frame(seen, far, width=80, height=10))[-1] == "a8"
    assert far.after("home", 10, 9).first == 0
    assert whole.after("up", 10, 9) == whole


def test_agents_elsewhere_stand_among_the_others_with_what_their_node_says() -> None:
    there = {"node": "beta", "load": 0.4, "hops": 1, "under_way": 0, "tools": 1}
    busy = {**agent("b", calls=7, failed=2, crashes=3, trouble="it fell"), **there}
    busy |= {"pool": {"workers": 1, "active": 1, "waiting": 5}, "breaker": "open"}
    silent = {**there, "name": "c", "state": "idle", "reason": ""}
    seen = look(agent("a", calls=3))
    seen.status.elsewhere = msgspec.convert([silent, busy], list[PlaceLine])
    lines = frame(seen, Sight(), width=0, height=0)
    (row,) = [line.split() for line in lines if line.startswith("b ")]
    assert row[:7] == ["b", "idle", "beta", "1/1", "5", "-", "7"]
    assert row[7] == "2"
    assert row[-4:] == ["open", "3", "it", "fell"]
    (row,) = [line.split() for line in lines if line.startswith("c ")]
    assert row == ["c", "idle", "beta", "40%", *["-"] * 8]  # of a node that does not answer
    assert shown(frame(seen, Sight(sort="calls"), width=0, height=0)) == ["b", "a", "c"]
    assert shown(frame(seen, Sight(sort="queue"), width=0, height=0))[0] == "b"


def test_rates_are_of_the_time_between_two_looks() -> None:
    before = look(agent("a", calls=10), at=5.0)
    lines = frame(look(agent("a", calls=30), at=9.0, before=before), Sight(), width=0, height=0)
    assert "5.0 /s" in lines[1]
    (row,) = [line for line in lines if line.startswith("a ")]
    assert "5.0" in row.split()


def test_what_an_agent_says_gives_a_terminal_no_orders() -> None:
    hostile = agent("a", state="failed", reason="\x1b[2J\x1b]0;owned\x07gone\r\nmore")
    lines = frame(look(hostile), Sight(), width=200, height=30)
    assert all(one.isprintable() for line in lines for one in line)
    assert any("gone" in line for line in lines)


@pytest.mark.parametrize("width", [1, 20, 79, 200])
@pytest.mark.parametrize("height", [1, 4, 24])
def test_no_line_is_wider_and_no_picture_higher_than_the_terminal(width: int, height: int) -> None:
    many = [agent(f"agent-{count}", reason="because " * 20) for count in range(40)]
    lines = frame(look(*many), Sight(), width=width, height=height, trouble="x" * 300)
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)


@attrs.define(eq=False)
class Terminal:
    """A terminal of a test, with `flowctl top` in it."""

    descriptor: int
    process: subprocess.Popen[bytes]
    seen: bytes = b""

    def resize(self, columns: int, rows: int) -> None:
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, size)
        self.process.send_signal(signal.SIGWINCH)

    def read(self) -> None:
        """Some more of what it prints."""
        ready, _, _ = select.select([self.descriptor], [], [], 45)
        assert ready, f"nothing came any more after {self.seen[-500:]!r}"
        self.seen += os.read(self.descriptor, 65536)

    def pictures(self) -> list[list[str]]:
        """All whole pictures so far, without colours."""
        found = re.findall(rb"\x1b\[H(.*?)\x1b\[J", self.seen, re.DOTALL)
        text = [re.sub(r"\x1b\[[0-9;]*[mK]", "", one.decode()) for one in found]
        return [one.split("\r\n") for one in text]

    def until(self, pattern: str) -> list[str]:
        """Wait for a picture that has a line like this; the picture."""
        ends = time.monotonic() + 45
        seen = len(self.pictures())
        while time.monotonic() < ends:
            for picture in self.pictures()[max(0, seen - 1) :]:
                if any(re.search(pattern, line) for line in picture):
                    return picture
            self.read()
        raise AssertionError(f"no {pattern!r} in {self.pictures()[-1:]}")

    def until_small(self, columns: int, rows: int) -> None:
        """Wait for a picture that fits."""
        ends = time.monotonic() + 45
        while time.monotonic() < ends:
            last = self.pictures()[-1]
            if len(last) <= rows and max(map(len, last)) <= columns:
                return
            self.read()
        raise AssertionError(f"it does not fit: {self.pictures()[-1]}")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Generator[Node]:
    path = tmp_path_factory.mktemp("top") / "flow.toml"
    path.write_text(
        f'[agent.echo]\ntype = "python"\ntarget = "{ROOT}/tests/support/agents.py"\n'
        '[edge.api]\ntype = "api"\n'
    )
    with serving(path, *free_ports("api")) as running:
        yield running


def test_in_a_terminal_it_is_live_takes_keys_and_leaves_the_terminal_as_it_was(node: Node) -> None:
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command = [str(BIN / "flowctl"), "--url", node.api, "top", "--every", "0.2"]
    environment = {**os.environ, "TERM": "xterm"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        terminal = Terminal(ours, process)
        try:
            wide = terminal.until(r"^echo +idle")
            assert len(wide) <= 24
            assert b"\x1b[?1049h" in terminal.seen
            assert node.ctl("call", "echo.echo", "text=x").returncode == 0
            terminal.until(r"^echo +idle .* 1 +0 ")
            assert node.ctl("agents", "pause", "echo").returncode == 0
            terminal.until(r"^echo +paused")
            assert node.ctl("agents", "resume", "echo").returncode == 0
            terminal.resize(40, 12)
            terminal.until_small(40, 12)
            os.write(ours, b"s")
            terminal.until(r"by calls")
            os.write(ours, b"q")
            while b"\x1b[?1049l" not in terminal.seen:
                terminal.read()
            assert process.wait(timeout=20) == 0
            assert termios.tcgetattr(theirs) == before
        finally:
            process.kill()
            os.close(ours)
            os.close(theirs)


def test_once_and_as_json_it_says_what_the_api_says(node: Node) -> None:
    done = node.ctl("top", "--once")
    assert done.returncode == 0
    assert re.search(r"^echo +idle", done.stdout, re.MULTILINE)
    assert "\x1b" not in done.stdout
    told = json.loads(node.ctl("top", "--once", "--json").stdout)
    assert told["status"]["node"] == node.ctl_json("status")["node"]
    assert [one["name"] for one in told["status"]["agents"]] == ["echo", "flow"]
    assert told["tasks"]["statistics"]["begun"] == 0


def test_what_cannot_be_is_told(node: Node, tmp_path: pathlib.Path) -> None:
    del tmp_path
    for wrong in ("0", "-1", "nan", "inf"):
        done = node.ctl("top", "--once", "--every", wrong)
        assert done.returncode == 2
        assert "expected to look every" in done.stderr
