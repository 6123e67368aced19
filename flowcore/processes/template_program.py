"""The program of a template: it imports a module once, and then is forked for each process that is wanted.

Run as `INTERPRETER [OPTION...] template_program.py TARGET CHANNEL`, TARGET being `module:function` or
`./file.py:function`, CHANNEL the number of a socket from the launcher. It runs in the Python that an agent
uses (3.9 or later), so it is one file of standard library, and nothing of flowcore is imported into it.

On its stdout it says one line, `ready` or `failed: REASON`, before any fork. What the module prints goes to
stderr. It ends with its stdin or its channel.

Each message on the channel asks for a fork: the mark of the new process, with four file descriptors: its
stdin, stdout and stderr, and a pipe on which it tells its process id (u32) once it is ready to run, or where
it failed (u8 step, u32 errno, as in `launcher_program.frames`). It is forked twice, so that it is no child of
ours but the launcher's, as if that had started it: it dies with the launcher, not with its template, and is
reaped, signalled and ended in the same way.

A copy is sound only of a process with one thread and no event loop, so a module that leaves either behind is
refused. Signals are as the module has left them; the fork has a session of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import importlib.util
import os
import select
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

PR_SET_PDEATHSIG = 1
STEP_FORK = 0
MARK = "FLOWCORE_PROCESS"
_libc = ctypes.CDLL(None, use_errno=True)


class Unfit(Exception):
    """The target cannot be a template; the text says why."""


def load(target: str) -> Callable[[], Any]:
    """Import the target. Raises Unfit, after a traceback on stderr where that tells more."""
    place, _, name = target.partition(":")
    try:
        found = _load_file(place) if place.endswith(".py") else importlib.import_module(place)
        for part in name.split("."):
            found = getattr(found, part)
    except SystemExit as error:
        raise Unfit(f"it called sys.exit({error.code!r})") from error
    except BaseException as error:
        traceback.print_exc()
        raise Unfit(f"{type(error).__name__}: {error}") from error
    if not callable(found):
        raise Unfit(f"{name!r} is no function")
    function: Callable[[], Any] = found
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        raise Unfit(
            f"it runs {threads} threads once it is imported, and no copy of them would be sound: start them"
            " in the function (numpy's can be kept away with OPENBLAS_NUM_THREADS = 1 in its environment)"
        )
    if any(map(_is_event_loop, os.listdir("/proc/self/fd"))):
        raise Unfit(
            "it has an event loop once it is imported, which copies would share: open it in the function"
        )
    return function


def _load_file(place: str) -> Any:
    path = os.path.abspath(place)
    _first_on_path(os.path.dirname(path))
    name = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{place!r} is no Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _first_on_path(folder: str) -> None:
    """As for any program that is started: `python file.py`, or `python -m module`."""
    if not sys.flags.isolated and not getattr(sys.flags, "safe_path", False):
        sys.path[0] = folder


def _is_event_loop(fd: str) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}") == "anon_inode:[eventpoll]"
    except FileNotFoundError:  # that of the listing
        return False


def serve(channel: socket.socket) -> bool:
    """Fork for each message. True in each fork, with its streams in place; False at the end."""
    launcher = os.getppid()
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    poll.register(0, select.POLLIN)
    while True:
        ready = dict(poll.poll())
        if channel.fileno() in ready:
            mark, streams, _, _ = socket.recv_fds(channel, 4096, 4, socket.MSG_CMSG_CLOEXEC)
            if not mark:
                return False
            if _fork(launcher, channel, mark, streams):
                return True
        if 0 in ready and not os.read(0, 4096):
            return False


def _fork(launcher: int, channel: socket.socket, mark: bytes, streams: list[int]) -> bool:
    """Fork, twice. True in the process that is wanted, False here."""
    sys.stdout.flush()
    sys.stderr.flush()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    try:
        middle = os.fork()
    except OSError as error:
        os.write(streams[3], struct.pack("<BI", STEP_FORK, error.errno or 0))
    else:
        if middle == 0 and _fork_again(streams[3]):
            _settle_in(launcher, channel, mark, streams)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            return True
        with contextlib.suppress(ChildProcessError):  # where the module ignores SIGCHLD
            os.waitpid(middle, 0)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    for stream in streams:
        os.close(stream)
    return False


def _fork_again(tell: int) -> bool:
    """True in the process that is wanted, once the one between has ended; that one does not return."""
    try:
        wait, linked = os.pipe()
        if os.fork() == 0:
            # says when we are handed over to the launcher; so that it is not missed, the other waits for us
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGCHLD, 0, 0, 0)
            os.close(wait)
            os.close(linked)
            signal.sigwait({signal.SIGCHLD})
            return True
        os.close(linked)
        os.read(wait, 1)
    except OSError as error:
        os.write(tell, struct.pack("<BI", STEP_FORK, error.errno or 0))
    os._exit(0)


def _settle_in(launcher: int, channel: socket.socket, mark: bytes, streams: list[int]) -> None:
    """Become a process of its own, and say so."""
    try:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != launcher:  # it died before the line above
            os._exit(127)
        os.setsid()
        _carry(mark)
        *standard, tell = streams
        for target, stream in enumerate(standard):
            os.dup2(stream, target)
            os.close(stream)
        channel.close()
        os.write(tell, struct.pack("<I", os.getpid()))
        os.close(tell)
    except OSError:  # nobody waits for us any more
        os._exit(127)


def _carry(mark: bytes) -> None:
    """Have this mark, not the template's: for what we start, and in /proc, for what is forked from us."""
    old = os.fsencode(f"{MARK}={os.environ.get(MARK, '')}")
    new = os.fsencode(MARK) + b"=" + mark
    os.environ[MARK] = os.fsdecode(mark)
    with open("/proc/self/environ", "rb") as file:
        offset = (b"\0" + file.read()).find(b"\0" + old + b"\0")
    with open("/proc/self/stat", "rb") as file:
        start = int(file.read().rpartition(b")")[2].split()[47])  # env_start, proc_pid_stat(5)
    if start and offset >= 0 and len(old) == len(new):
        ctypes.memmove(start + offset, new, len(new))


def main(target: str, number: int) -> NoReturn:
    """Be a template; in each fork of it, the function's process."""
    said = os.dup(1)
    os.dup2(2, 1)
    channel = socket.socket(fileno=number)
    channel.set_inheritable(False)
    sys.argv[:] = [target]
    _first_on_path(os.getcwd())
    try:
        function = load(target)
    except Unfit as error:
        os.write(said, f"failed: {error}".replace("\n", " ").encode(errors="replace") + b"\n")
        sys.exit(1)
    gc.collect()
    gc.freeze()  # forks share the pages
    os.write(said, b"ready\n")
    os.close(said)
    sys.exit(function() if serve(channel) else 0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
