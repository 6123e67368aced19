"""What guards have in common to tell as metrics."""

from __future__ import annotations

from flowcore.telemetry import counter

ALLOWED = counter(
    "flowcore.guard.allowed", "{request}", "Requests that a guard let through.", "guard"
)
REFUSED = counter(
    "flowcore.guard.refused",
    "{request}",
    "Requests that a guard refused, and why.",
    "guard",
    "reason",
)
