"""Connections that come to nothing: counted by why, audited, and told in the log now and then."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from flowcore.errors import LinkFailed
from flowcore.swarm.authorities import NotVouchedFor
from flowcore.swarm.links.frames import BrokenProtocol
from flowcore.swarm.links.greeting import Refused
from flowcore.swarm.links.secure import HandshakeFailed

logger = logging.getLogger(__name__)

Audit = Callable[[str, Mapping[str, Any]], None]
"""Is told of what an auditor would ask for: `link.up`, `link.down`, `link.refused`, with details."""
_COMPLAIN = 10.0
"""Seconds between two complaints in the log about refusals of one kind."""


class Refusals:
    """Why there is no link. Times are given, in seconds."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit
        self._complained: dict[str, float] = {}
        self.counts: Counter[str] = Counter()

    def found(
        self, error: Exception, remote: str, name: str | None, now: float, *, dialled: bool
    ) -> LinkFailed:
        """Tell of a failure of a greeting; what to raise for it."""
        failed = error if isinstance(error, LinkFailed) else LinkFailed(str(error))
        if isinstance(error, Refused):
            code = error.code
        elif isinstance(error, NotVouchedFor):
            code = "certificate"
        elif isinstance(error, HandshakeFailed):
            code = "tls"
        elif isinstance(error, BrokenProtocol):
            code = "protocol"
        else:
            code = "lost"
            if not isinstance(error, LinkFailed):
                failed = LinkFailed(f"the connection was lost: {error}")
        self.add(code, str(failed), remote, name, now, dialled=dialled)
        return failed

    def add(
        self, code: str, reason: str, remote: str, name: str | None, now: float, *, dialled: bool
    ) -> None:
        """Tell of one. What is dialled is told in the log by whoever wants it."""
        self.counts[code] += 1
        if code == "duplicate":
            return  # as it should be: two have dialled each other
        details = {"code": code, "reason": reason, "remote": remote, "dialled": dialled}
        self._audit("link.refused", details if name is None else details | {"peer": name})
        if not dialled:
            self.complain(
                code, f"a connection of {name or remote} was refused ({code}): {reason}", now
            )

    def complain(self, code: str, words: str, now: float) -> None:
        """Put something into the log, once for a while."""
        if now - self._complained.get(code, -math.inf) >= _COMPLAIN:
            self._complained[code] = now
            logger.warning("%s", words)
