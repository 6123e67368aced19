"""Broadcasts of one node: its own, with who has confirmed them, and those of others that it passes on."""

from __future__ import annotations

import attrs
import trio

from flowcore.swarm.interfaces import Lane, Reached
from flowcore.swarm.overlay.casts import Casting, Passing, reached_children
from flowcore.swarm.overlay.frames import Cast, Content, Heard, Malformed, encode, read_content
from flowcore.swarm.overlay.messages import Topics, check_topic
from flowcore.swarm.overlay.ways import Ways

MOST_OWN = 1024
"""Broadcasts of one node that may be under way."""
_FIRST_ROUND = 1.0
"""Seconds until it is sent directly to those who were missed; a third of the time there is, if less."""
_LONGEST = 3600.0


@attrs.define(eq=False)
class _Own:
    casting: Casting
    done: trio.Event = attrs.field(factory=trio.Event)


class Broadcasts:
    """What is sent to all."""

    def __init__(self, ways: Ways, topics: Topics) -> None:
        self._ways = ways
        self._topics = topics
        self._number = 0
        self._own: dict[int, _Own] = {}
        self._passing = Passing()

    async def broadcast(self, topic: str, message: bytes, deadline: float, lane: Lane) -> Reached:
        """Send a message to every other member: who has confirmed it by the deadline."""
        check_topic(topic, message)
        ways = self._ways
        if len(self._own) >= MOST_OWN:
            raise ValueError(f"more than {MOST_OWN} broadcasts under way")
        self._number += 1
        content = Content(ways.name, ways.boot, self._number, topic, message)
        said = encode(content)
        signature = ways.proofs.make("cast", ways.name, "", said)
        others = [one for one in ways.members if one != ways.name]
        own = self._own[self._number] = _Own(Casting(content, others, deadline))
        try:
            left = deadline - trio.current_time()
            if left > 0 and others:
                self._pass_on(
                    Cast(said, signature, min(left, _LONGEST), onward=True), ways.name, lane
                )
                with trio.move_on_at(deadline):
                    await self._confirmed(own, said, signature, lane)
            else:
                await trio.lowlevel.checkpoint()
        finally:
            del self._own[content.number]
        return Reached(
            reached=tuple(sorted(own.casting.reached)), missed=tuple(sorted(own.casting.missing))
        )

    async def _confirmed(self, own: _Own, said: bytes, signature: bytes, lane: Lane) -> None:
        """Wait until all have it, and send it again to those who are missed."""
        casting, ways = own.casting, self._ways
        pause = min(_FIRST_ROUND, (casting.deadline - trio.current_time()) / 3)
        while not own.done.is_set():
            with trio.move_on_after(pause):
                await own.done.wait()
                return
            left = casting.deadline - trio.current_time()
            cast = Cast(said, signature, min(max(left, 0.001), _LONGEST), onward=False)
            for node in casting.missing:
                if node in ways.routes.reachable:
                    ways.carry(node, cast, lane)
            pause *= 2

    def _pass_on(self, cast: Cast, root: str, lane: Lane) -> None:
        ways = self._ways
        if root not in ways.members:
            return
        for child in reached_children(
            ways.wanting.topology, root, ways.name, ways.members, ways.routes.reachable
        ):
            if child != root:
                ways.carry(child, cast, lane)

    # ---- what comes

    def take_cast(self, cast: Cast, source: str, lane: Lane) -> None:
        """A broadcast has come."""
        ways = self._ways
        try:
            content = read_content(cast.content)
        except Malformed:
            ways.counters.malformed += 1
            return
        if content.root == ways.name:
            ways.counters.looped += 1
            return
        now = trio.current_time()
        if self._passing.is_new(content):
            if not ways.proofs.hold("cast", content.root, "", cast.content, cast.signature):
                ways.counters.unproven += 1
                return
            self._passing.begin(content, source, now + min(cast.left, _LONGEST))
            self._give(content)
            if cast.onward:
                self._pass_on(cast, content.root, lane)
        else:
            ways.counters.duplicates += 1
            given = self._passing.again(content)
            if given is None:
                return  # long ago
            if not given:
                self._give(content)  # perhaps somebody listens by now
            elif not cast.onward:
                # its confirmation was lost; this time it goes back the way this came
                heard = Heard(content.root, content.boot, content.number, self._proof(content))
                ways.carry(source, heard, Lane.CONTROL)
        ways.wake()

    def _give(self, content: Content) -> None:
        if self._topics.give(content.topic, content.root, content.data):
            self._passing.confirm(content, self._proof(content))

    def _proof(self, content: Content) -> dict[str, bytes]:
        ways = self._ways
        said = encode((content.boot, content.number))
        return {ways.name: ways.proofs.make("heard", ways.name, content.root, said)}

    def take_heard(self, heard: Heard) -> None:
        """Others have a broadcast."""
        ways = self._ways
        if heard.root != ways.name:
            self._passing.heard(heard, ways.members)
            ways.wake()
            return
        own = self._own.get(heard.number)
        if own is None or heard.boot != ways.boot:
            return  # too late
        said = encode((heard.boot, heard.number))
        ways.counters.unproven += own.casting.heard(
            heard, lambda name, proof: ways.proofs.hold("heard", name, ways.name, said, proof)
        )
        if not own.casting.missing:
            own.done.set()

    def tick(self, now: float) -> None:
        """Pass confirmations up, forget what is over."""
        for parent, heard in self._passing.upward():
            self._ways.carry(parent, heard, Lane.CONTROL)
        self._passing.forget(now, self._ways.members)
