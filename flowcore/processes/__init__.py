"""Child processes that cannot outlive us, and lines of bounded length from them.

async with open_launcher() as launcher:
    async with launcher.open_process(["python", "-u", "agent.py"]) as process:
        await process.send_line(b"hello")
        async for line in process.lines():
            ...
"""

from flowcore.processes.command import INHERITED, child_environment
from flowcore.processes.errors import (
    BadDirectory,
    CommandNotExecutable,
    CommandNotFound,
    InputClosed,
    LauncherFailed,
    LineTooLong,
    ProcessError,
    SpawnFailed,
    TemplateFailed,
    TemplateLost,
)
from flowcore.processes.exit_status import ExitStatus
from flowcore.processes.input import Outgoing
from flowcore.processes.launcher import (
    Launcher,
    LauncherStatistics,
    SharedLauncher,
    open_launcher,
    open_shared_launcher,
)
from flowcore.processes.output import Lines
from flowcore.processes.process import Process
from flowcore.processes.template import Template

__all__ = [
    "INHERITED",
    "BadDirectory",
    "CommandNotExecutable",
    "CommandNotFound",
    "ExitStatus",
    "InputClosed",
    "Launcher",
    "LauncherFailed",
    "LauncherStatistics",
    "LineTooLong",
    "Lines",
    "Outgoing",
    "Process",
    "ProcessError",
    "SharedLauncher",
    "SpawnFailed",
    "Template",
    "TemplateFailed",
    "TemplateLost",
    "child_environment",
    "open_launcher",
    "open_shared_launcher",
]
