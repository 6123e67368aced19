"""Server processes that are measured: started, pinned to a CPU of their own, and what CPU time they took."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence

import attrs

ROOT = pathlib.Path(__file__).parents[1]
_PINS = (os.cpu_count() or 1) > 1 and shutil.which("taskset") is not None
ON_SERVERS_CPU: tuple[str, ...] = ("taskset", "-c", "0") if _PINS else ()
"""Before the command of who is measured."""
ON_CLIENTS_CPU: tuple[str, ...] = ("taskset", "-c", "1") if _PINS else ()
"""Before the commands of the load and of the upstreams, so that they take nothing from who is measured."""
_UPSTREAM = [b"-m", b"benchmarks.upstream"]


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far, to the nanosecond: its clock, as clock_getcpuclockid(3) makes it."""
    return time.clock_gettime(~pid << 3 | 2)


@attrs.frozen
class Server:
    """A server process."""

    pid: int
    errors: int = -1
    """The descriptor of the file that it writes its stderr to."""

    def said(self, what: str) -> int:
        """How often it has written this to its stderr so far."""
        whole = os.fstat(self.errors).st_size
        # its own place in the file is the place where the process writes on: read beside it
        return os.pread(self.errors, whole, 0).decode(errors="replace").count(what)

    def cpu(self) -> float:
        """CPU seconds of the process so far."""
        return cpu_seconds(self.pid)

    def tree_cpu(self) -> float:
        """CPU seconds of the process and its living descendants, but for the upstreams among them."""
        total = 0.0
        for pid in (self.pid, *_descendants(self.pid)):
            with contextlib.suppress(OSError):  # it ended meanwhile
                arguments = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if arguments[1:3] != _UPSTREAM:
                    total += cpu_seconds(pid)
        return total

    def wait_idle(self, patience: float = 20.0) -> None:
        """Wait until it takes less than 2 % of a CPU, so that no work is left over for who comes next.

        Raises RuntimeError if it does not come to rest.
        """
        end = time.monotonic() + patience
        while time.monotonic() < end:
            before = self.tree_cpu()
            time.sleep(0.05)
            if self.tree_cpu() - before < 0.001:
                return
        raise RuntimeError(f"the server works on, {patience:g} s after the last request")


def _descendants(pid: int) -> Iterator[int]:
    for tasks in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in tasks.read_text().split():
                yield int(child)
                yield from _descendants(int(child))


@contextlib.contextmanager
def running(command: Sequence[str], *, pin: Sequence[str] = ON_SERVERS_CPU) -> Generator[Server]:
    """A server process; it is ended with the block. What it prints to stderr is shown if it fails."""
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [*pin, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            cwd=ROOT,
        ) as process,
    ):
        try:
            yield Server(process.pid, errors.fileno())
        except Exception as failure:
            errors.seek(0)
            failure.add_note(f"stderr of {' '.join(command)}:\n{errors.read()[-2000:]}")
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def free_port() -> int:
    """A port that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
