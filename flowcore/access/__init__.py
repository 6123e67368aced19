"""Who asks: the first stage of a request's way, before anything else is done for it."""

from flowcore.access.access import Access, is_local
from flowcore.access.settings import EdgeSettings

__all__ = ["Access", "EdgeSettings", "is_local"]
