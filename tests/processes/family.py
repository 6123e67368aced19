"""A program with a family that does not want to end: prints the ids of all its processes as JSON, then waits.

Its members: itself, a child, a child in a session of its own, and a daemon (forked twice, in a session of its
own, with nothing left open, its environment wiped if the first argument says so). They ignore SIGTERM, SIGHUP
and SIGINT, and the end of their input.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import NoReturn


def stay(ready: int) -> NoReturn:
    os.write(ready, b"%d\n" % os.getpid())
    os.close(ready)
    while True:
        signal.pause()


def main() -> None:
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    heard, ready = os.pipe()
    if os.fork() == 0:
        stay(ready)
    if os.fork() == 0:
        os.setsid()
        stay(ready)
    middle = os.fork()
    if middle == 0:
        os.setsid()
        if os.fork() == 0:
            if sys.argv[1:] == ["wiped"]:
                wipe(ready)
            for fd in (0, 1, 2):
                os.close(fd)
            stay(ready)
        os._exit(0)
    os.waitpid(middle, 0)
    os.close(ready)
    with os.fdopen(heard) as lines:
        pids = [int(lines.readline()) for _ in range(3)]
    print(json.dumps([os.getpid(), *pids]), flush=True)
    while True:
        signal.pause()


def wipe(ready: int) -> NoReturn:
    os.set_inheritable(ready, True)
    code = (
        f"import os, signal; os.write({ready}, b'%d\\n' % os.getpid()); os.close({ready})\n"
        "while True: signal.pause()"
    )
    for fd in (0, 1, 2):
        os.close(fd)
    os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", code], {})


if __name__ == "__main__":
    main()
