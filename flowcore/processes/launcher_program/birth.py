"""From a request to a running program: fork, become, exec.

What runs in the fork cannot be measured by coverage (it becomes another program), only by what it becomes.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
from typing import NoReturn

from flowcore.processes.launcher_program.frames import (
    FAILURE,
    STEP_DIRECTORY,
    STEP_EXECUTE,
    STEP_FORK,
    STEP_INTERPRETER,
    spawn_parts,
)

PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 1, 15, 36
_libc = ctypes.CDLL(None, use_errno=True)
_SIGNALS = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}


def prctl(option: int, value: int | bytes) -> None:
    """prctl(2). Raises OSError."""
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")


class Fault(Exception):  # pragma: no cover
    """A step of becoming the program failed, for this errno."""

    def __init__(self, step: int, number: int | None) -> None:
        self.step = step
        self.number = number or 0


def give_birth(streams: list[int], payload: bytes, channel: int = -1) -> tuple[int, int]:
    """Start what a SPAWN frame asks for, with these as its stdin, stdout and stderr.

    Unless it is -1, the process keeps `channel`, and is given its number as a last argument.

    Gives its process id, and the reading end of a pipe which ends when the program runs, or else says, in
    the payload of FAILED, why not. Raises OSError if there can be no fork.
    """
    parent = os.getpid()
    fault, tell = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        pid = os.fork()
        if pid == 0:  # pragma: no cover
            try:
                _become(parent, streams, channel, *spawn_parts(payload))
            except Fault as error:
                os.write(tell, FAILURE.pack(error.step, error.number))
            except OSError as error:
                os.write(tell, FAILURE.pack(STEP_FORK, error.errno or 0))
            finally:
                os._exit(127)
    except OSError:
        os.close(fault)
        raise
    finally:
        os.close(tell)
    return pid, fault


def _become(  # pragma: no cover
    parent: int,
    streams: list[int],
    channel: int,
    directory: bytes,
    arguments: list[bytes],
    environment: dict[bytes, bytes],
) -> NoReturn:
    """Turn this fresh fork into the program. Raises Fault, or OSError, if that cannot be."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(127)
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in _SIGNALS:
        with contextlib.suppress(OSError):  # the C library keeps some for itself
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
    if channel >= 0:
        os.set_inheritable(channel, True)
        arguments.append(b"%d" % channel)
    if directory:
        try:
            os.chdir(directory)
        except OSError as error:
            raise Fault(STEP_DIRECTORY, error.errno) from None
    _execute(arguments, environment)


def _execute(  # pragma: no cover
    arguments: list[bytes], environment: dict[bytes, bytes]
) -> NoReturn:
    """execve(2), looking the program up on the *child's* PATH; empty entries of it are skipped."""
    program = arguments[0]
    places = [program]
    if b"/" not in program:
        path = environment.get(b"PATH", b"").split(b":")
        places = [place + b"/" + program for place in path if place]
    fault = Fault(STEP_EXECUTE, errno.ENOENT)
    for place in places:
        try:
            os.execve(place, arguments, environment)  # noqa: S606 - no shell is wanted
        except (FileNotFoundError, NotADirectoryError):
            if os.path.lexists(place):  # then it is the interpreter after its "#!" that is missing
                raise Fault(STEP_INTERPRETER, errno.ENOENT) from None
        except PermissionError:
            fault = Fault(STEP_EXECUTE, errno.EACCES)
        except OSError as error:
            raise Fault(STEP_EXECUTE, error.errno) from None
    raise fault
