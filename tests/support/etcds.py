"""Real etcds of a test's own, on ports of this machine; or a skip."""

from __future__ import annotations

import base64
import json
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs

from support.needs import program
from support.ports import free_ports


@attrs.define(eq=False)
class Member:
    """One process of an etcd."""

    name: str
    folder: pathlib.Path
    port: int
    peer_port: int
    arguments: tuple[str, ...]
    scheme: str = "http"
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def start(self) -> None:
        peer = f"http://127.0.0.1:{self.peer_port}"
        log = (self.folder / f"{self.name}.log").open("ab")
        self.process = subprocess.Popen(
            [
                program("etcd"),
                *("--name", self.name, "--data-dir", str(self.folder / self.name)),
                *("--listen-client-urls", self.url, "--advertise-client-urls", self.url),
                *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
                *("--initial-cluster-token", str(self.folder), "--logger", "zap"),
                *("--heartbeat-interval", "50", "--election-timeout", "250"),
                *self.arguments,
            ],
            stdout=log,
            stderr=log,
        )
        log.close()

    def kill(self) -> None:
        """End it as a crash would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def pause(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


@attrs.define
class Etcds:
    """The members of one etcd."""

    members: Sequence[Member]

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(one.url for one in self.members)

    def ask(self, path: str, request: dict[str, Any], token: str = "") -> Any:
        """What one that answers says; bytes are base64. Raises OSError."""
        for one in self.members:
            body = json.dumps(request).encode()
            asked = urllib.request.Request(one.url + path, data=body, method="POST")
            if token:
                asked.add_header("Authorization", token)
            try:
                with urllib.request.urlopen(asked, timeout=5) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                raise OSError(error.read().decode()) from None
            except OSError:
                if one is self.members[-1]:
                    raise
        return None

    def put(self, key: bytes, value: bytes) -> None:
        self.ask("/v3/kv/put", {"key": text(key), "value": text(value)})

    def delete(self, key: bytes, end: bytes = b"") -> None:
        self.ask("/v3/kv/deleterange", {"key": text(key), "range_end": text(end)})

    def get(self, prefix: bytes) -> dict[bytes, bytes]:
        """All keys that begin with a prefix."""
        end = prefix[:-1] + bytes([prefix[-1] + 1])
        answer = self.ask("/v3/kv/range", {"key": text(prefix), "range_end": text(end)})
        return {
            base64.b64decode(one["key"]): base64.b64decode(one.get("value", ""))
            for one in answer.get("kvs", ())
        }

    def wait_ready(self) -> None:
        """Until it commits."""
        until = time.monotonic() + 60
        while True:
            try:
                self.ask("/v3/kv/range", {"key": text(b"x")})
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)  # between two questions
            else:
                return


def text(data: bytes) -> str:
    """As etcd's JSON has bytes."""
    return base64.b64encode(data).decode()


@contextmanager
def open_etcds(count: int = 1, *arguments: str, scheme: str = "http") -> Generator[Etcds]:
    """An etcd of so many members, made anew, and gone afterwards."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="flowetcd"))
    ports = free_ports(2 * count)
    names = [f"m{number}" for number in range(count)]
    cluster = ",".join(
        f"{name}=http://127.0.0.1:{port}" for name, port in zip(names, ports[count:], strict=True)
    )
    members = [
        Member(
            name,
            folder,
            ports[number],
            ports[count + number],
            ("--initial-cluster", cluster, *arguments),
            scheme,
        )
        for number, name in enumerate(names)
    ]
    etcds = Etcds(members)
    try:
        for one in members:
            one.start()
        if scheme == "http":
            etcds.wait_ready()
        yield etcds
    finally:
        for one in members:
            if one.process is not None:
                one.kill()
        shutil.rmtree(folder)
