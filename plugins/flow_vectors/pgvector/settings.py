"""The settings of `pgvector`."""

from __future__ import annotations

import attrs

from flowcore.config import Duration, Secret, setting
from flowcore.config import validators as v


@attrs.frozen(kw_only=True)
class PgvectorConfig:
    """Keeps vectors in PostgreSQL, for those who outgrow one machine."""

    dsn: Secret = setting(
        help="where the database is, such as postgresql://user:password@host/name; each node needs a"
        " database, or a `schema`, of its own"
    )
    schema: str = setting(
        "flowcore",
        validator=v.matches(r"[a-z_][a-z0-9_]{0,62}", "lower-case letters, digits and _"),
        help="the schema of its tables, made if it is missing",
    )
    connections: int = setting(
        4, validator=v.in_range(1, 100), help="connections at most, for all indexes"
    )
    connect_timeout: Duration = setting(
        10.0, validator=v.in_range(1, 600), help="how long a connection may take to be made"
    )
    connectivity: int = setting(
        16, validator=v.in_range(2, 100), help="m of its HNSW index: links of a vector on a layer"
    )
    ef_construction: int = setting(
        200, validator=v.in_range(4, 1000), help="candidates looked at to link a new vector"
    )
    ef_search: int = setting(
        64, validator=v.in_range(1, 1000), help="candidates looked at by a search"
    )
    sample: float = setting(
        0.01,
        validator=v.in_range(0, 1),
        help="share of searches repeated exactly to measure recall",
    )
