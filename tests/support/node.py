"""A flowserve process of a test: started from a TOML text, ready when it says so, ended in every case."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from typing import Any

import attrs
import msgspec

from support import canary

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(sys.executable).parent


@attrs.define(eq=False)
class Node:
    """A running flowserve."""

    process: subprocess.Popen[str]
    said: list[str]

    @property
    def api(self) -> str:
        """The URL of its api edge."""
        return self._url(r"^ +\S+ +(https?://\S+:\d+)$")

    @property
    def mcp(self) -> str:
        """The URL of its mcp edge."""
        return self._url(r"^ +\S+ +(https?://\S+/mcp)$")

    def _url(self, pattern: str) -> str:
        for line in self.said:
            match = re.match(pattern, line)
            if match:
                return match[1]
        raise AssertionError(f"no {pattern!r} in {self.said}")

    def ctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run flowctl against it."""
        return run("flowctl", *arguments, "--url", self.api)

    def ctl_json(self, *arguments: str) -> Any:
        """What flowctl prints with --json, which must succeed."""
        done = self.ctl(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return msgspec.json.decode(done.stdout)

    def wait_for(self, text: str) -> str:
        """Read its output until a line holds a text; the line."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.rstrip("\n"))
            if text in line:
                return line
        raise AssertionError(f"it ended without saying {text!r}:\n" + "\n".join(self.said))

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal and wait; its exit code. What it still said is kept."""
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=300)
        self.said.extend(rest.splitlines())
        canary.check("\n".join(self.said), "what the node said")
        return self.process.returncode


def run(program: str, *arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    """Run one of flowcore's commands to its end."""
    return subprocess.run(
        [str(BIN / program), *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
        **settings,
    )


def free_ports(*edges: str) -> list[str]:
    """Arguments that let the system choose the ports of these edges."""
    return [word for edge in edges for word in ("--set", f"edge.{edge}.bind=127.0.0.1:0")]


@contextlib.contextmanager
def serving(config: pathlib.Path, *arguments: str, **settings: Any) -> Generator[Node]:
    """A flowserve of this configuration, ready; stdout and stderr are read as one."""
    with started(config, *arguments, **settings) as node:
        node.wait_for("ready in ")
        node.wait_for("agent ")
        yield node


@contextlib.contextmanager
def started(
    config: pathlib.Path, *arguments: str, before: Sequence[str] = (), **settings: Any
) -> Generator[Node]:
    """The same as it starts, before it has said anything; `before` are words that run the command."""
    command = [*before, str(BIN / "flowserve"), "--config", str(config), *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **settings
    ) as process:
        try:
            yield Node(process, [])
        finally:
            if process.poll() is None:
                process.kill()
