"""What a connection to PostgreSQL is here, and how it fails."""

from __future__ import annotations

from typing import Any

import psycopg

from flowcore.errors import RoutingError

Connection = psycopg.Connection[tuple[Any, ...]]


class DatabaseFailed(RoutingError, OSError):
    """The database could not be reached, or refused what it was asked."""


class Fenced(DatabaseFailed):
    """The schema is another node's."""
