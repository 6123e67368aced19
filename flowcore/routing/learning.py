"""Learning: lessons go through the state's log, and the gate follows it, the same on every node."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import trio

from flowcore.errors import CallError, DamagedState, TooOld
from flowcore.routing.files import read_kept, save_often, write_kept
from flowcore.routing.following import ROUTES, Following
from flowcore.routing.given import Given
from flowcore.routing.interfaces import (
    Expert,
    Gate,
    Gates,
    Identity,
    Lesson,
    Near,
    Query,
    Ranking,
)
from flowcore.routing.practice import PRACTISED, practice
from flowcore.routing.troubles import Troubles
from flowcore.routing.turns import give_way

if TYPE_CHECKING:
    from flowcore.routing.interfaces import Vectors
    from flowcore.state import Lesson as Kept
    from flowcore.state import Lessons, State

logger = logging.getLogger(__name__)

_PAGE = 200
_TEXTS = 50
"""Patterns whose texts are read without others having their turn: less than a millisecond."""
TOLD = 5
"""Patterns that a route tells of as reasons."""
_LATER = 1000
"""Lessons that wait to be given; further ones are dropped, and counted."""


@attrs.frozen(kw_only=True)
class _Anew:
    """From where to where in the lessons a gate is to be trained anew."""

    position: int
    oldest: int
    """The number of the first lesson."""
    lessons: int
    """How many lessons there are, about."""
    seeing: bool
    """Whether experts were known when that was told."""

    def parted(self, page: Lessons) -> tuple[list[Kept], list[Kept]]:
        """The lessons of a page that the gate is made of, and those that came after."""
        lessons = [one for one in page.lessons if not one.retrains]
        before = [one for one in lessons if one.position < self.position]
        after = [one for one in lessons if one.position > self.position]
        return [one for one in before if one.number >= self.oldest], after

    def marked(self, page: Lessons) -> bool:
        """Whether it was told on this page."""
        return any(one.retrains and one.position == self.position for one in page.lessons)


class Learning:
    """A gate, and the lessons that it has followed."""

    def __init__(
        self,
        state: State,
        following: Following,
        gates: Gates,
        identity: Identity,
        seed: int,
        practice: int,
        folder: pathlib.Path | None,
        save: float,
        troubles: Troubles,
        learned: Callable[[Vectors], None],
    ) -> None:
        """`learned` is told of the vector of each lesson; `practice`: see `RouterSettings`."""
        self._state = state
        self._following = following
        self._gates = gates
        self._identity = identity
        self._seed = seed
        self._practice = practice
        self._folder = folder
        self._save = save
        self._troubles = troubles
        self._learned = learned
        self.gate: Gate = gates.make(identity, seed)
        self.lessons = 0
        """What the gate has learned from, since it was made."""
        self._foreign = 0
        """Lessons that it passed over, for another embedder has made their vectors."""
        self._position = 0
        self._saved = 0
        self._moved = trio.Event()
        self._send, self._receive = trio.open_memory_channel[Callable[[], Awaitable[None]]](_LATER)
        self._dropped = 0
        self.retrained = 0
        """How often the gate was trained anew."""
        self._anew: _Anew | None = None
        """That the gate is to be trained anew, and is not yet."""
        self._due = trio.Event()
        """Set when it is."""
        self._latest = _Anew(position=0, oldest=0, lessons=0, seeing=False)
        """What was told last."""
        self._fresh = True
        """Whether the gate was not taken up from disk."""
        self._blind = False
        """Whether a fresh gate has learned before it knew of any expert."""
        self._experts: tuple[Expert, ...] = ()
        self._behind = False
        """Whether the gate has yet to be told of the experts."""
        self._changing = trio.Lock()
        """Held while lessons or a thread change the gate, and while a thread makes a snapshot of it."""
        self._telling: trio.Event | None = None
        """Set when a thread has told the gate who is there; None: none is about to."""

    def set_experts(self, experts: tuple[Expert, ...]) -> None:
        """Those there are now: the gate knows them after `told`."""
        self._experts = experts
        self._behind = True

    async def told(self) -> None:
        """Have the gate know who is there: in a thread, for a thousand new ones take a while."""
        if not self._behind:
            return
        async with self._changing:
            if not self._behind:
                return
            experts, self._behind = self._experts, False
            self._telling = trio.Event()
            try:
                await trio.to_thread.run_sync(self.gate.set_experts, experts)
                if experts and self._blind:
                    # it learned beside nothing: what others learn beside what experts say of themselves
                    self._blind = False
                    self._train(attrs.evolve(self._latest, seeing=True))
            except BaseException:
                self._behind = True
                raise
            finally:
                self._telling.set()
                self._telling = None

    async def rank(self, query: Query, k: int) -> Ranking:
        """The k experts that fit best; waits while the gate is told who is there."""
        while self._telling is not None:
            await self._telling.wait()
        return self.gate.rank(query, k)

    # ---- what is near

    async def near(self, vector: Vectors, k: int) -> tuple[Near, ...]:
        """The patterns nearest to a query, with their texts at hand."""
        shelf = self._following.shelf(ROUTES)
        near = await shelf.near(vector, k)
        unknown = [one.id for one in near[:TOLD] if shelf.text(one.id) is None]
        if unknown:
            shelf.remember(await self._state.patterns(unknown, level=_stale()))
        return near

    async def bring_texts(self) -> None:
        """Have texts of patterns at hand after a start, a few at a time, so that no route asks the store."""
        shelf = self._following.shelf(ROUTES)
        latest = shelf.latest()
        for start in range(0, len(latest), _TEXTS):
            some = [one for one in latest[start : start + _TEXTS].tolist() if not shelf.text(one)]
            if some:
                shelf.remember(await self._state.patterns(some, level=_stale()))

    def text_of(self, id_: int) -> str:
        """The beginning of the text of a pattern that was near lately; empty if it is gone."""
        return self._following.shelf(ROUTES).text(id_) or ""

    # ---- lessons in

    async def give(self, *given: Given) -> int:
        """Have lessons learned: they are durable, and the gate has them, when this returns; how many are new.

        A lesson that was given before about the same request, by the same, is not learned again. Raises
        CallError.
        """
        from flowcore.state import GiveFeedback, PutPatterns

        embedder = str(self._identity)
        learned = await self._state.do(GiveFeedback(tuple(one.feedback(embedder) for one in given)))
        new = [one for one, kept in zip(given, learned.kept, strict=True) if kept]
        if new:
            patterns = tuple(one.pattern(embedder) for one in new)
            stored = await self._state.do(PutPatterns(patterns))
            await self._following.wait_followed(stored.position)
        while self._position < learned.position:
            await self._moved.wait()
        return len(new)

    async def wait_learned(self, lessons: int) -> None:
        """Wait until the gate has learned from so many lessons."""
        while self.lessons < lessons:
            await self._moved.wait()

    async def wait_retrained(self, times: int) -> None:
        """Wait until the gate has been trained anew so often."""
        while self.retrained < times:
            await self._moved.wait()

    def later(self, lesson: Callable[[], Awaitable[None]]) -> None:
        """Have a lesson given in the background; dropped, and counted, where too many wait."""
        try:
            self._send.send_nowait(lesson)
        except trio.WouldBlock:
            self._dropped += 1

    async def _give_later(self) -> None:
        async for give in self._receive:
            try:
                await give()
            except CallError as error:
                self._dropped += 1
                logger.warning("a lesson could not be given: %s", error.message)

    # ---- the gate follows

    async def begin(self) -> None:
        """Take up the gate that was saved, and what was learned since."""
        kept = None
        if self._folder is not None:
            kept = await trio.to_thread.run_sync(read_kept, self._folder / "gate")
        ours = (str(self._identity), self._state.identity)
        if kept is not None and (kept["embedder"], kept["state"]) == ours:
            try:
                await trio.to_thread.run_sync(self.gate.restore, kept["gate"])
            except DamagedState as error:
                logger.warning("the gate that was saved is not taken up: %s", error)
            else:
                self._fresh = False
                self._position = self._saved = kept["position"]
                self.lessons, self._foreign = kept["lessons"], kept.get("foreign", 0)
        await self._follow()

    async def run(self) -> None:
        """Follow the lessons, give those that wait, and save now and then, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._give_later)
            nursery.start_soon(self._train_anew)
            nursery.start_soon(save_often, self.save, self._save, "the gate", self._troubles)
            while True:
                await self._state.wait_applied(self._position)
                await self._follow()

    async def _follow(self) -> None:
        while True:
            # the whole page: what is saved has learned as far as its position, and no further
            async with self._changing:
                try:
                    lessons = await self._state.feedback_after(self._position, _PAGE)
                except TooOld:
                    self._position = await self._state.oldest_feedback()
                    continue
                for one in lessons.lessons:
                    if one.retrains:
                        self._train(self._told_by(one))
                        self._blind = self._blind or not self._experts
                    elif self._learn(self.gate, one):
                        self.lessons += 1
                        self._blind = self._blind or (self._fresh and not self._experts)
                    else:
                        self._foreign += 1
                    await trio.lowlevel.checkpoint()  # one step is short, a thousand are not
                self._position = lessons.position
            self._moved.set()
            self._moved = trio.Event()
            if lessons.complete:
                return

    def _learn(self, gate: Gate, kept: Kept, again: bool = False) -> bool:
        """Have a gate learn a lesson; False for one of another embedder, whose vector says nothing here."""
        import numpy as np

        if kept.embedder != str(self._identity):
            return False
        vector = np.frombuffer(kept.vector, "<f4")
        gate.learn(
            Lesson(
                text=kept.text,
                vector=vector,
                expert=kept.expert,
                reward=kept.reward,
                propensity=kept.propensity,
                exclusive=kept.exclusive,
                weight=kept.weight,
                again=again,
            )
        )
        if gate is self.gate:
            self._learned(vector)
        return True

    # ---- training anew

    async def retrain(self, *, wait: bool = True) -> int:
        """Have the gates of all nodes trained anew on the lessons that are kept, as a command of the log.

        How many lessons that were here, when it is done; without `wait`, how many it has now, when the
        command is. Raises CallError.
        """
        from flowcore.state import Retrain

        learned = await self._state.do(Retrain())
        if wait:
            await self.wait_trained(learned.position)
        return self.lessons

    async def wait_trained(self, position: int) -> None:
        """Wait until the gate has learned up to a position, and is not being trained anew."""
        while self._position < position or self._anew is not None:
            await self._moved.wait()

    def _train(self, anew: _Anew) -> None:
        """Have the gate trained anew; a training that is under way is begun again if it is one before."""
        self._anew = self._latest = anew
        self._due.set()

    async def _train_anew(self) -> None:
        while True:
            await self._due.wait()
            self._due = trio.Event()
            while self._anew is not None:
                try:
                    await self._make_anew(self._anew)
                except TooOld:
                    continue  # some lessons went while they were read: begun again, without them

    async def _make_anew(self, anew: _Anew) -> None:
        """Make a new gate of lessons, and put it in the place of the old one, which goes on until then.

        It learns the lessons up to where it was told to be made, goes over them again where they are not too
        many, holds on to them, and learns what came after: whenever that is, and however far the old one has
        come, it is the same on every node.
        """
        gate = self._gates.make(self._identity, self._seed)
        await trio.to_thread.run_sync(gate.set_experts, self._experts)
        position, lessons, told = await self._state.oldest_feedback(), 0, 0
        times = self._practice if anew.lessons <= PRACTISED else 0
        held: list[Kept] = []
        while position < anew.position or position < self._position:
            page = await self._state.feedback_after(position, _PAGE)
            before, after = anew.parted(page)
            told += len(before) + len(after)
            if times:
                held += before
            else:
                lessons += await trio.to_thread.run_sync(self._learn_all, gate, before)
            if anew.marked(page):
                lessons += await self._go_over(gate, held, times, anew)
                held = []
                if self._anew != anew:
                    return
                await trio.to_thread.run_sync(gate.consolidate)
            lessons += await trio.to_thread.run_sync(self._learn_all, gate, after)
            self._look_for_later(page, anew)
            if self._anew != anew:
                return  # from another place on: begun again
            position = page.position
        async with self._changing:
            await trio.to_thread.run_sync(gate.set_experts, self._experts)
            while position < self._position:
                page = await self._state.feedback_after(position, _PAGE)
                _, after = anew.parted(page)
                told += len(after)
                lessons += await trio.to_thread.run_sync(self._learn_all, gate, after)
                position = page.position
            if self._anew != anew:
                return
            self.gate, self.lessons, self._position = gate, lessons, position
            self._foreign, self._anew = told - lessons, None
        self.retrained += 1
        self._moved.set()
        self._moved = trio.Event()
        logger.info("the gate was trained anew on %d lessons", lessons)

    async def _go_over(self, gate: Gate, held: Sequence[Kept], times: int, anew: _Anew) -> int:
        """Have a gate learn lessons, and go over them, while that is what is to be done; how many it has."""
        learned = 0
        for order, again in practice(len(held), times, self._seed):
            for start in range(0, len(order), _PAGE):
                some = [held[at] for at in order[start : start + _PAGE]]
                new = await trio.to_thread.run_sync(self._learn_all, gate, some, again)
                learned += 0 if again else new
                if self._anew != anew:
                    return learned
        return learned

    def _look_for_later(self, page: Lessons, anew: _Anew) -> None:
        for one in page.lessons:
            if one.retrains and one.position > anew.position:
                self._train(self._told_by(one))

    def _told_by(self, one: Kept) -> _Anew:
        return _Anew(
            position=one.position,
            oldest=one.oldest,
            lessons=one.number - one.oldest,
            seeing=bool(self._experts),
        )

    def _learn_all(self, gate: Gate, lessons: Sequence[Kept], again: bool = False) -> int:
        """Have a gate that is made anew learn these; how many it has. For a thread."""
        learned = 0
        for one in lessons:
            learned += self._learn(gate, one, again)
            give_way()
        return learned

    # ---- saving

    async def save(self) -> bool:
        """Keep the gate on disk, where it has learned; False: not now, it is trained anew. Raises OSError."""
        if self._folder is None or self._position == self._saved:
            return True
        async with self._changing:
            if self._anew is not None:
                return False  # what is not saved is followed again, and so is that it is to be trained anew
            position, lessons, foreign = self._position, self.lessons, self._foreign
            made = [await trio.to_thread.run_sync(self.gate.snapshot)]
        kept = {
            "embedder": str(self._identity),
            "state": self._state.identity,
            "position": position,
            "lessons": lessons,
            "foreign": foreign,
        }
        await trio.to_thread.run_sync(_write, self._folder / "gate", kept, made)
        self._saved = position
        return True

    def status(self) -> dict[str, Any]:
        """What was learned, and what the gate says of itself."""
        return {
            "lessons": self.lessons,
            "foreign": self._foreign,
            "position": self._position,
            "saved": self._saved,
            "dropped": self._dropped,
            "retrained": self.retrained,
            "gate": self.gate.status(),
        }


def _write(path: pathlib.Path, kept: dict[str, Any], made: list[bytes]) -> None:
    """Keep a gate. What was made is let go of here, in a thread: to free so much memory takes a while."""
    write_kept(path, kept, gate=made.pop())


def _stale() -> Any:
    from flowcore.state import ReadLevel

    return ReadLevel.STALE
