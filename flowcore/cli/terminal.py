"""A terminal as a screen: drawn whole, keys without Enter, sizes that change; left as it was found."""

from __future__ import annotations

import os
import select
import shutil
import signal
import termios
import tty
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any, Self, TextIO

_KEYS = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1bOA": "up",
    "\x1bOB": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b[H": "home",
    "\x1b[F": "end",
}


class Screen:
    """The alternate screen of a terminal, as long as the block lasts. For POSIX."""

    def __init__(self, keys: int, out: TextIO) -> None:
        """`keys` is the descriptor that keys come from; where that is no terminal, none come."""
        self._keys = keys
        self._out = out
        self._before: list[Any] | None = None
        self._heard, self._said = -1, -1
        self._old: Any = None

    def __enter__(self) -> Self:
        if os.isatty(self._keys):
            self._before = termios.tcgetattr(self._keys)
            tty.setcbreak(self._keys)
        self._heard, self._said = os.pipe()
        os.set_blocking(self._said, False)
        self._old = signal.signal(signal.SIGWINCH, self._resized)
        self._out.write("\x1b[?1049h\x1b[?25l\x1b[2J")
        self._out.flush()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.signal(signal.SIGWINCH, self._old)
        self._out.write("\x1b[?25h\x1b[?1049l")
        self._out.flush()
        if self._before is not None:
            termios.tcsetattr(self._keys, termios.TCSADRAIN, self._before)
        os.close(self._heard)
        os.close(self._said)

    def _resized(self, number: int, at: FrameType | None) -> None:
        del number, at
        try:
            os.write(self._said, b"x")
        except BlockingIOError:
            return  # so many sizes wait already that one more says nothing new

    def size(self) -> tuple[int, int]:
        """(columns, rows) as they are now."""
        try:
            size = os.get_terminal_size(self._out.fileno())
        except OSError:
            return shutil.get_terminal_size()
        return (size.columns or 80, size.lines or 24)

    def show(self, lines: Sequence[str]) -> None:
        """Draw these lines, and nothing else, without a flicker."""
        drawn = "\n".join(f"{line}\x1b[K" for line in lines)
        self._out.write(f"\x1b[H{drawn}\x1b[J")
        self._out.flush()

    def key(self, seconds: float) -> str:
        """The key that is pressed within so many seconds; "" if none is, or the size has changed first."""
        watched = [self._heard] if self._before is None else [self._heard, self._keys]
        ready, _, _ = select.select(watched, [], [], seconds)
        if self._heard in ready:
            os.read(self._heard, 4096)
        if self._keys not in ready:
            return ""
        data = os.read(self._keys, 64)
        if not data:
            return "q"  # whoever held the keyboard is gone
        text = data.decode("utf-8", "replace")
        return _KEYS.get(text, text[:1])
