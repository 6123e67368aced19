"""flowserve processes on this machine: started, asked, and ended, whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from types import FrameType

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(sys.executable).parent


class LocalNodes:
    """Nodes of a folder of configurations, by the ports of their MCP edges; their api edges are one above."""

    def __init__(self, configs: str, ports: dict[str, int], folder: pathlib.Path | None) -> None:
        self.configs = ROOT / "configs" / configs
        self.ports = ports
        self.folder = folder
        """Where they keep their data, and are quiet; None: where their configurations say, and aloud."""
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        """Nodes, and what else is started for them."""

    def certify(self) -> None:
        """Make their certificates, where there are none yet."""
        folder = self.configs / "certs"
        if not (folder / "delta.pem").exists():
            words = [str(BIN / "flowctl"), "certs", "cluster", *self.ports, "--dir", str(folder)]
            subprocess.run(words, check=True)

    def start(self, *names: str) -> None:
        """Start nodes."""
        for name in names:
            words = [str(BIN / "flowserve"), "--config", str(self.configs / f"{name}.toml")]
            if self.folder is not None:
                words += ["--set", f"node.data_dir={self.folder}/{name}"]
            errors = None if self.folder is None else subprocess.DEVNULL
            self.running[name] = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=errors)

    def kill(self, name: str) -> None:
        """Kill one, and show it."""
        print(f"\n$ kill -9 {name}")
        self.running[name].kill()
        self.running[name].wait()

    def wait(self) -> None:
        """Wait until all have ended."""
        for process in self.running.values():
            process.wait()

    def urls(self) -> str:
        """Where MCP clients connect to those that run."""
        ports = [port for name, port in self.ports.items() if name in self.running]
        return "   ".join(f"http://127.0.0.1:{port}/mcp" for port in ports)

    def ctl(self, node: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run flowctl against a node."""
        command = [str(BIN / "flowctl"), "--url", self._api(node), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def say(self, node: str, *words: str) -> None:
        """Run flowctl against a node, and show it."""
        print(f"\n$ flowctl --url {self._api(node)} {' '.join(words)}")
        done = self.ctl(node, *words)
        print(done.stdout, end="")
        if done.returncode:
            raise SystemExit(done.stderr)

    def wait_for(self, node: str, what: str, *words: str) -> str:
        """Ask again and again until the answer has a text; what it says then."""
        until = time.monotonic() + 180
        while time.monotonic() < until:
            done = self.ctl(node, *words)
            if what in done.stdout:
                return done.stdout
            time.sleep(0.2)
        raise SystemExit(f"{node} does not say {what!r}:\n{done.stdout}{done.stderr}")

    def _api(self, node: str) -> str:
        return f"http://127.0.0.1:{self.ports[node] + 1}"

    def end(self) -> None:
        """End all of them."""
        for process in self.running.values():
            if process.poll() is None:
                process.terminate()
        for process in self.running.values():
            process.wait(timeout=60)


@contextlib.contextmanager
def local_nodes(configs: str, ports: dict[str, int], *, show: bool) -> Generator[LocalNodes]:
    """Nodes that can be started in this block, which Ctrl-C and SIGTERM end; a show begins with no data."""
    signal.signal(signal.SIGTERM, _interrupt)
    with contextlib.ExitStack() as stack:
        folder = None
        if show:
            folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        nodes = LocalNodes(configs, ports, folder)
        stack.callback(nodes.end)
        try:
            yield nodes
        except KeyboardInterrupt:
            print("ending them", flush=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt
