"""Hosts of their own on this machine: network namespaces at one switch, whose cables can be cut and be bad.

A namespace lives as long as a process in it, and this process as long as its maker: it waits for words that
never come. So the kernel takes all of it away, whichever way the maker ends; nothing has a name that could be
left behind. What is cut or lost is dropped by the receiver's nftables: nobody is told, as on a real wire.
Where packets shall take their time, they go through `support.wire` in place of the switch.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import shutil
import socket
import subprocess
from collections.abc import Generator, Sequence

import attrs

from support.wire import Delay, carrying, open_device

_CLONE_NEWNET = 0x40000000
_NET = "10.77.0"
_PROGRAMS = ("ip", "nft", "nsenter", "setpriv", "unshare")
_RULES = f"""
table inet wires {{
  set cut {{ type ipv4_addr; }}
  chain bad {{ }}
  chain input {{
    type filter hook input priority 0;
    ip saddr @cut drop
    ip saddr {_NET}.0/24 jump bad
  }}
}}
"""


class NoNamespaces(Exception):
    """This machine does not let us have network namespaces; says why."""


class CommandFailed(Exception):
    """A command that works on some machines did not on this one."""


@attrs.frozen
class _Held:
    """A namespace, and the process that keeps it."""

    process: subprocess.Popen[bytes]
    file: int
    """The namespace itself, open."""

    @property
    def path(self) -> str:
        return f"/proc/{self.process.pid}/ns/net"

    def run(self, command: Sequence[str], text: str = "") -> None:
        """Run a command in it to its end. Raises CommandFailed with what it complains of."""
        done = subprocess.run(
            ["nsenter", f"--net={self.path}", *command],
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise CommandFailed(f"{' '.join(command)}: {done.stderr.strip()}")


@attrs.define(eq=False)
class Namespaces:
    """A host for each name; made by `namespaces`."""

    _hosts: dict[str, _Held]
    _home: int
    """The namespace that all threads of this process are in, open."""

    def host(self, name: str) -> str:
        """The address that the others reach it by."""
        return f"{_NET}.{1 + list(self._hosts).index(name)}"

    def command(self, name: str) -> list[str]:
        """What comes before a command that is to run there, and to end with the thread that started it."""
        entered = ["nsenter", f"--net={self._hosts[name].path}"]
        return [*entered, "setpriv", "--pdeathsig", "KILL", "--"]

    def connect(self, name: str, port: int, timeout: float) -> socket.socket:
        """A connection to the loopback of a host. Raises OSError."""
        with self._inside(name):
            return socket.create_connection(("127.0.0.1", port), timeout)

    def datagrams(self, name: str) -> socket.socket:
        """A UDP socket of a host, at the address that the others reach it by; it waits a second at most."""
        with self._inside(name):
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((self.host(name), 0))
        made.settimeout(1.0)
        return made

    @contextlib.contextmanager
    def _inside(self, name: str) -> Generator[None]:
        """Have the calling thread in a host: sockets that it makes meanwhile stay there."""
        _enter(self._hosts[name].file)
        try:
            yield
        finally:
            _enter(self._home)

    def cut(self, at: str, source: str) -> None:
        """Nothing that `source` sends comes to `at` any more."""
        self._nft(at, f"add element inet wires cut {{ {self.host(source)} }}")

    def lose(self, share: float) -> None:
        """Every host loses a share of the packets that come to it."""
        rule = f"add rule inet wires bad numgen random mod 1000 < {round(1000 * share)} drop"
        for name in self._hosts:
            self._nft(name, rule)

    def heal(self) -> None:
        """All cables are whole again."""
        for name in self._hosts:
            self._nft(name, "flush set inet wires cut\nflush chain inet wires bad")

    def join(self, switch: _Held) -> None:
        """Lay a cable from each host to a switch."""
        pairs = [
            f"link add port{number} type veth peer name wire netns {one.process.pid}\n"
            f"link set port{number} master switch up\n"
            for number, one in enumerate(self._hosts.values())
        ]
        switch.run(
            ["ip", "-batch", "-"],
            "link add switch type bridge\nlink set switch up\n" + "".join(pairs),
        )

    def open_devices(self) -> dict[bytes, int]:
        """A TUN device in each host, by the address that it will have."""
        devices = {}
        for name in self._hosts:
            with self._inside(name):
                devices[socket.inet_aton(self.host(name))] = open_device()
        return devices

    def prepare(self) -> None:
        """Give the hosts their addresses and the rules by which packets are dropped."""
        for name, one in self._hosts.items():
            one.run(
                ["ip", "-batch", "-"],
                f"link set lo up\naddr add {self.host(name)}/24 dev wire\nlink set wire up\n",
            )
            one.run(["nft", "-f", "-"], _RULES)

    def _nft(self, name: str, commands: str) -> None:
        self._hosts[name].run(["nft", "-f", "-"], commands)


def _enter(file: int) -> None:
    """setns(2), which Python has from 3.12 on: for the calling thread alone."""
    if _libc().setns(file, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def namespaces(*names: str, delay: Delay | None = None) -> Generator[Namespaces]:
    """Hosts of these names, each of which reaches all others, after a while where there is a delay.

    Raises NoNamespaces where there can be none.
    """
    missing = [one for one in _PROGRAMS if shutil.which(one) is None]
    if os.geteuid() or missing:
        raise NoNamespaces(f"{' and '.join(missing)} is missing" if missing else "this is not root")
    with contextlib.ExitStack() as stack:
        try:
            made = _made(stack, names, delay)
        except (CommandFailed, OSError) as failure:
            raise NoNamespaces(str(failure)) from failure
        yield made


def _made(stack: contextlib.ExitStack, names: Sequence[str], delay: Delay | None) -> Namespaces:
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    stack.callback(os.close, home)
    made = Namespaces({name: stack.enter_context(_held()) for name in names}, home)
    if delay is None:
        made.join(stack.enter_context(_held()))
    else:
        devices = made.open_devices()
        for one in devices.values():
            stack.callback(os.close, one)
        stack.enter_context(carrying(devices, delay))
    made.prepare()
    made.lose(0.5)  # what this kernel cannot do shows now
    made.heal()
    return made


@contextlib.contextmanager
def _held() -> Generator[_Held]:
    """A namespace, and a process in it that ends with this block, or with this process."""
    with subprocess.Popen(
        ["unshare", "--net", "--", "sh", "-c", "echo; exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        if not process.stdout.readline():
            raise NoNamespaces(process.stderr.read().decode().strip())
        file = os.open(f"/proc/{process.pid}/ns/net", os.O_RDONLY)
        try:
            yield _Held(process, file)
        finally:
            os.close(file)
            process.kill()


@functools.cache
def hindrance() -> str:
    """Why there can be no namespaces here, tried once; empty if there can. `FLOW_LOOPBACK` is a reason."""
    if os.environ.get("FLOW_LOOPBACK"):
        return "FLOW_LOOPBACK is set"
    try:
        with namespaces("one", "other"):
            pass
    except NoNamespaces as why:
        return str(why)
    return ""
