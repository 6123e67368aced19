"""How a process ended."""

from __future__ import annotations

import os
import signal

import attrs


@attrs.frozen(kw_only=True)
class ExitStatus:
    """How a process ended: by itself, by a signal, or unknown (it was killed with its launcher)."""

    returncode: int | None = None
    """What it gave to exit(3); None if it did not end by itself."""
    signal: int | None = None
    """The number of the signal that killed it."""

    @classmethod
    def from_wait_status(cls, status: int) -> ExitStatus:
        """From what waitpid(2) gives."""
        if os.WIFSIGNALED(status):
            return cls(signal=os.WTERMSIG(status))
        return cls(returncode=os.WEXITSTATUS(status))

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with 0."""
        return self.returncode == 0

    def __str__(self) -> str:
        if self.returncode is not None:
            return f"exited with code {self.returncode}"
        if self.signal is None:
            return "was killed together with its launcher"
        try:
            name = signal.Signals(self.signal).name
        except ValueError:
            name = f"signal {self.signal}"
        return f"was killed by {name}"
