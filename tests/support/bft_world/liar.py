"""A node that lies: the engine as it is, and strategies that change what it says, hears and keeps.

So a liar knows all that an honest node knows, and its lies are near the truth. It signs in its own name
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from flowcore.testing import Host
from support.bft_world.server import BftServer, Cluster

if TYPE_CHECKING:
    from support.bft_world.strategies import Strategy


class Liar(BftServer):
    """One life of a server that lies."""

    def __init__(
        self,
        host: Host,
        cluster: Cluster,
        oracle: Any,
        revive: Callable[[str], None],
        strategies: Sequence[Strategy],
        name: str = "",
    ) -> None:
        self.strategies = strategies
        self.chance = host.random
        super().__init__(host, cluster, oracle, revive, name)

    @property
    def others(self) -> list[str]:
        """All voters but itself."""
        return [one for one in self.engine.epoch.voters if one != self.name]

    def pattern(self, height: int, view: int) -> str:
        """What the network does in a view, if it is in league with the liars."""
        schedule = self.cluster.schedule()
        return "" if schedule is None else schedule.pattern(height, view)

    @property
    def is_voter(self) -> bool:
        """Whether the others have not excluded it."""
        return self.name in self.engine.epoch.index

    def _say(self, ready: Any) -> None:
        for to, message in ready.messages:
            out = [(to, message)]
            for strategy in self.strategies:
                out = [lie for one in out for lie in strategy.says(self, *one)]
            for one in out:
                self.post(*one)

    def _step(self, sender: str, message: Any) -> None:
        messages = self.cluster.build.messages
        if isinstance(message, bytes):
            try:
                message = messages.decode(message)
            except messages.BadMessage:
                return
        heard = True
        for strategy in self.strategies:
            heard &= strategy.hears(self, sender, message)
        if heard:
            self.engine.step(sender, message)

    def _state_at(self, height: int) -> bytes | None:
        dump = super()._state_at(height)
        for strategy in self.strategies:
            dump = None if dump is None else strategy.state(self, height, dump)
        return dump

    def on_timer(self, timer: str) -> None:
        if timer == "tick":
            for strategy in self.strategies:
                strategy.ticks(self)
        super().on_timer(timer)

    # ---- what strategies do with it

    def signed(
        self, kind: int, height: int, view: int, digest: bytes, valid: int = -1, epoch: int = 0
    ) -> Any:
        """A statement in its own name."""
        build, standing = self.cluster.build, self.engine.standing
        number = epoch or standing.epoch.number
        said = build.signing.statement(
            build.signing.Kind(kind), standing.cluster, number, height, view, valid, digest
        )
        return build.blocks.Signed(
            kind, number, height, view, valid, digest, self.name, self.sign(said)
        )

    def vote(self, kind: int, height: int, view: int, digest: bytes) -> Any:
        """A vote in its own name."""
        return self.cluster.build.messages.Vote(self.signed(kind, height, view, digest))

    def request(self, command: bytes) -> Any:
        """A request in its own name that any block may take next."""
        build, standing = self.cluster.build, self.engine.standing
        boot = standing.counters.get(self.name, (0, 0))[0] + 1
        return self.asked(build, self.name, boot, command, self.sign)

    def asked(
        self, build: Any, origin: str, boot: int, command: bytes, sign: Callable[[bytes], bytes]
    ) -> Any:
        """The first request of a boot, signed somehow."""
        bare = build.blocks.Request(origin, boot, 1, [command], bytes(64))
        said = build.blocks.request_statement(self.engine.standing.cluster, bare)
        return build.blocks.Request(origin, boot, 1, [command], sign(said))
