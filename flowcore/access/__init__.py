"""Who asks: the first stage of a request's way, before anything else is done for it."""

from flowcore.access.access import Access, is_local, revocation_id
from flowcore.access.settings import EdgeSettings
from flowcore.access.tokens import PREFIX, new_token

__all__ = ["PREFIX", "Access", "EdgeSettings", "is_local", "new_token", "revocation_id"]
