"""This node's own requests: signed, told to all voters, and told again until they are decided."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from flow_consensus.bft.blocks import (
    MOST_COMMANDS,
    MOST_REQUEST,
    Block,
    Request,
    request_statement,
)
from flow_consensus.bft.catchup import Catchup
from flow_consensus.bft.core import Decided, Reason, Refused
from flow_consensus.bft.effects import CheckpointDue, Settled
from flow_consensus.bft.messages import Ask
from flow_consensus.bft.restored import Restored
from flow_consensus.bft.settings import EngineSettings
from flow_consensus.bft.signing import SIGNATURE, Claim, Scheme, Sign
from flow_consensus.bft.standing import Standing, first_positions
from flowcore.state import LogEntry

_AGAIN = 16
"""Own requests that are told again at once, at most."""


@attrs.define(eq=False)
class Own:
    """A request of this node's that is not decided."""

    ticket: int
    request: Request
    sent: int
    times: int = 1
    """How often it was told."""


class Requests(Catchup):
    """Asking, and what comes of it."""

    def __init__(
        self,
        name: str,
        restored: Restored,
        sign: Sign,
        settings: EngineSettings,
        scheme: Scheme | None,
        boot: int,
    ) -> None:
        counted = restored.standing.counters.get(name, (0, 0))[0]
        self.boot = max(restored.boot, counted, boot - 1) + 1
        """Numbers this life's requests: no earlier life has used it."""
        self._boot_durable = False
        self._number = 0
        self._tickets = 0
        self._own: dict[int, Own] = {}
        """By number."""
        super().__init__(name, restored, sign, settings, scheme)

    def propose(self, commands: Sequence[bytes]) -> int:
        """Ask for commands to be decided, together and in their order; gives a ticket for `settled`.

        Raises Refused, and has taken none: no member, or too many wait (`busy`); ValueError for commands that
        cannot be a request.
        """
        if self.failed:
            raise Refused(f"the disk has failed: {self.failed}")
        if self.name not in self.epoch.keys:
            raise Refused(f"{self.name} is no member of this cluster (any more)")
        size = sum(map(len, commands))
        if not commands or not all(commands):
            raise ValueError("no commands, or an empty one")
        if len(commands) > MOST_COMMANDS or size > MOST_REQUEST:
            raise ValueError(f"{len(commands)} commands of {size} bytes are no request")
        if len(self._own) * 2 >= self.settings.pool_requests:
            raise Refused(f"{len(self._own)} requests of this node wait", busy=True)
        self._tickets += 1
        self._ask(self._tickets, list(commands))
        return self._tickets

    def _ask(self, ticket: int, commands: list[bytes]) -> None:
        self._number += 1
        bare = Request(self.name, self.boot, self._number, commands, bytes(SIGNATURE))
        said = request_statement(self.standing.cluster, bare)
        signature = self._sign(said)
        self.signatures.own(Claim(self.epoch.keys[self.name], said, signature))
        request = Request(self.name, self.boot, self._number, commands, signature)
        self._own[self._number] = Own(ticket, request, self.now)
        self.pool.add(request, self.now)
        if self._leads():
            self._own[self._number].times = 0  # it comes with the next block
        elif self._boot_durable:
            self._broadcast_voters(Ask(request))
        else:  # the next life must not use this boot again
            self._promise(Ask(request))
        self._propose()

    def _leads(self) -> bool:
        """Whether this node makes the next block, unless something fails."""
        return self.view == 0 and self.votes_here and self.standing.proposer(0) == self.name

    @property
    def waiting(self) -> int:
        """Requests of this node that are not decided."""
        return len(self._own)

    # ---- others'

    def _on_ask(self, sender: str, message: Ask) -> str:
        request = message.request
        if request.origin not in self.epoch.keys:
            return self._refuse(Reason.STRANGER, request.origin)
        if self.standing.passed(request.origin, request.boot, request.number):
            return ""
        if self.pool.has(request):
            return ""
        if not all(request.commands) or request.size > MOST_REQUEST:
            return self._refuse(Reason.REQUEST, sender)
        boot, number = self.standing.counters.get(request.origin, (-1, 0))
        ahead = request.number - (number if request.boot == boot else 0)
        if ahead > self.settings.pool_requests:
            return self._refuse(Reason.AHEAD, request.origin)
        if not self._request_ok(request):
            return self._refuse(Reason.SIGNATURE, request.origin)
        if self._unfit(request):
            return self._refuse(Reason.UNFIT, request.origin)
        if not self.pool.add(request, self.now):
            return self._refuse(Reason.REQUEST, f"too many of {request.origin} wait")
        self._propose()
        return ""

    # ---- decided

    def _settle(self, before: Standing, block: Block, entries: list[LogEntry]) -> Decided:
        settled = []
        usurped = False
        for request, position in first_positions(block):
            if request.origin != self.name or request.boot != self.boot:
                continue
            own = self._own.get(request.number)
            if own is None:
                continue
            if (
                own.request != request
            ):  # an earlier life's, under a boot that this one took for its own
                usurped = True
                continue
            del self._own[request.number]
            settled.append(Settled(own.ticket, position, len(own.request.commands)))
        due = None
        if before.checkpoint_after(block):
            due = CheckpointDue(block.height, block.last)
        self._rebase(usurped=usurped)
        return Decided(entries, settled, due)

    def _rebase(self, *, usurped: bool = False) -> None:
        """A later boot of this name was decided: what waits is asked anew after it.

        That is where a node has lost its disk, or where somebody else has its key.
        """
        boot, number = self.standing.counters.get(self.name, (0, 0))
        ours = boot < self.boot or (boot == self.boot and number <= self._number)
        if ours and not usurped:
            return
        waiting = [self._own[at] for at in sorted(self._own)]
        self._own.clear()
        self.boot, self._number = max(boot, self.boot) + 1, 0
        self._boot_durable, self._dirty = False, True
        if self.name in self.epoch.keys:
            for one in waiting:
                self._ask(one.ticket, one.request.commands)
        else:
            self._lost += [one.ticket for one in waiting]

    def _outran(self) -> None:
        """A snapshot has taken the place of blocks: what came of own requests among them nobody can tell."""
        for number in sorted(self._own):
            own = self._own[number]
            if self.standing.passed(self.name, own.request.boot, number):
                del self._own[number]
                self._settled.append(Settled(own.ticket, 0, len(own.request.commands)))
        self._rebase()

    # ---- time

    def _acts_at(self) -> int:
        due = super()._acts_at()
        return (
            min(due, self._beat(self.settings.here_ticks)) if self._own or len(self.pool) else due
        )

    def _tick_requests(self) -> None:
        """Tell own requests again; pass on others' that wait too long."""
        settings = self.settings
        if self._own and self.now % settings.here_ticks == 0 and self._boot_durable:
            least = settings.view_ticks if self._leads() else settings.here_ticks
            for own in list(self._own.values())[:_AGAIN]:
                if self.now - own.sent >= least * 2 ** min(own.times, 5):
                    own.sent = self.now
                    own.times += 1
                    self._broadcast_voters(Ask(own.request))
        if self.now % settings.here_ticks == 0:
            for one in self.pool.overdue(self.standing, self.now, settings.overdue_ticks):
                if (
                    not one.passed_on
                    or self.now - one.since >= settings.overdue_ticks * 2**one.passed_on
                ):
                    one.passed_on += 1
                    self._broadcast_voters(Ask(one.request))
