"""Who asks: the first stage of a request's way, before anything else is done for it."""

from flowcore.access.access import Access, revocation_id
from flowcore.access.settings import EdgeSettings

__all__ = ["Access", "EdgeSettings", "revocation_id"]
