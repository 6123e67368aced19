"""The table of all that the `api` edge answers: it dispatches by it, and by nothing else."""

from __future__ import annotations

from flow_edges.routes import Route

ROUTES = (
    Route("GET", "/livez", open=True),
    Route("GET", "/readyz", open=True),
    Route("GET", "/livez/COMPONENT"),
    Route("GET", "/readyz/COMPONENT"),
    Route("GET", "/status"),
    Route("GET", "/agents"),
    Route("GET", "/agents/NAME"),
    Route("POST", "/agents/NAME/ACTION"),
    Route("GET", "/guards"),
    Route("POST", "/guards/NAME/ACTION"),
    Route("POST", "/memory/ACTION"),
    Route("GET", "/state"),
    Route("POST", "/members/ACTION"),
    Route("POST", "/log"),
    Route("POST", "/snapshot"),
    Route("GET", "/nodes"),
    Route("GET", "/tasks"),
    Route("GET", "/traces"),
    Route("GET", "/traces/ID"),
    Route("GET", "/events"),
    Route("GET", "/logs"),
    Route("POST", "/logs/level"),
    Route("GET", "/revocations"),
    Route("POST", "/revocations/ACTION"),
    Route("POST", "/drain"),
    Route("GET", "/tools"),
    Route("POST", "/call"),
)
"""All but the pages of exporters."""

PAGES = tuple(
    "page /" + "/".join((first, *("*" for _ in range(words - 1))))
    for words, first in dict.fromkeys(one.key for one in ROUTES)
)
"""What no exporter can have, whatever the method."""
