"""Long work in a thread that lets the event loop have its turn."""

from __future__ import annotations

import time


def give_way() -> None:
    """Let other threads have the interpreter; for work in a thread, about every half millisecond of it.

    A thread that is busy in Python gives the interpreter up only after a switch interval (5 ms), and whoever
    waits for it, the event loop too, waits as long each time. One that gives way is not noticed.
    """
    time.sleep(0)  # what it is for: the interpreter is let go of before
