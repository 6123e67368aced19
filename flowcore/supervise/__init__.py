"""Supervision with Erlang/OTP's semantics on trio."""

from flowcore.supervise.child import (
    Child,
    ChildStatus,
    Happening,
    Phase,
    Run,
    What,
    serve_context,
)
from flowcore.supervise.instance import GaveUp, StartFailed
from flowcore.supervise.policy import Exit, Intensity, Restart, Strategy
from flowcore.supervise.supervisor import (
    Supervisor,
    SupervisorStatistics,
    open_supervisor,
    supervisor_child,
)

__all__ = [
    "Child",
    "ChildStatus",
    "Exit",
    "GaveUp",
    "Happening",
    "Intensity",
    "Phase",
    "Restart",
    "Run",
    "StartFailed",
    "Strategy",
    "Supervisor",
    "SupervisorStatistics",
    "What",
    "open_supervisor",
    "serve_context",
    "supervisor_child",
]
