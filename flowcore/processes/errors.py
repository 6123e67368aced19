"""What can go wrong with a child process.

FlowError
└── ProcessError
    ├── SpawnFailed              the process was not started
    │   ├── CommandNotFound
    │   ├── CommandNotExecutable
    │   ├── BadDirectory
    │   └── TemplateLost         the template it should have been forked from is gone
    ├── TemplateFailed           a program cannot be a template
    ├── LauncherFailed           the launcher does not start, or was lost
    ├── LineTooLong              the process wrote a line beyond the bound
    └── InputClosed              the process reads no more
"""

from __future__ import annotations

from flowcore.errors import FlowError


class ProcessError(FlowError):
    """Something went wrong with a child process."""


class SpawnFailed(ProcessError):
    """The process was not started; the text says why."""


class CommandNotFound(SpawnFailed):
    """There is no such program."""


class CommandNotExecutable(SpawnFailed):
    """There is such a file, but it cannot be run."""


class BadDirectory(SpawnFailed):
    """The working directory cannot be entered."""


class TemplateLost(SpawnFailed):
    """The template has ended, or does not fork; another one can be opened."""


class TemplateFailed(ProcessError):
    """A program cannot be a template; the text says why, stderr may say more."""


class LauncherFailed(ProcessError):
    """The launcher does not start, or was lost while it started a process."""


class LineTooLong(ProcessError):
    """The process wrote a line beyond the bound; the rest of its output is not read."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"the process wrote a line of more than {max_bytes:,} bytes")
        self.max_bytes = max_bytes


class InputClosed(ProcessError):
    """The process, or we, closed its stdin: nothing can be written to it any more."""
