"""What is told of a supervisor: happenings in their order, their counts, a log line where it matters."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

import trio

from flowcore.supervise.child import Happening, What
from flowcore.supervise.policy import Exit

logger = logging.getLogger(__name__)

Watch = Callable[[Happening], None]


class Journal:
    """Tells whoever watches, and counts."""

    def __init__(self, supervisor: str, watch: Watch | None, *, quiet: bool = False) -> None:
        self._supervisor = supervisor
        self._watch = watch
        self._crashes = logging.DEBUG if quiet else logging.WARNING
        self._counts: Counter[What] = Counter()
        self.crashes = 0

    def count(self, what: What) -> int:
        """How often this has happened."""
        return self._counts[what]

    def tell(
        self,
        what: What,
        child: str,
        exit_: Exit | None = None,
        error: BaseException | None = None,
    ) -> None:
        """This has happened to a child (to the supervisor itself for GAVE_UP)."""
        self._counts[what] += 1
        if what is What.EXITED and exit_ is Exit.CRASH:
            self.crashes += 1
            logger.log(
                self._crashes, "%s: child %r crashed", self._supervisor, child, exc_info=error
            )
        elif what is What.STOPPED and exit_ is Exit.CRASH:
            logger.warning("%s: child %r failed to stop", self._supervisor, child, exc_info=error)
        elif what is What.OVERDUE:
            logger.error(
                "%s: child %r was cancelled and still runs; a task that shields itself or never reaches a"
                " checkpoint cannot be stopped",
                self._supervisor,
                child,
            )
        if self._watch is not None:
            self._watch(
                Happening(
                    what=what,
                    supervisor=self._supervisor,
                    child=child,
                    exit=exit_,
                    error=error,
                    at=trio.current_time(),
                )
            )

    def cut_off(self, child: str, seconds: float) -> None:
        """A child had so long to stop, and was cancelled then."""
        logger.warning("%s: child %r did not stop within %g s", self._supervisor, child, seconds)
