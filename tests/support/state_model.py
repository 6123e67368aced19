"""The state machine once more, in plain dictionaries: what the one over SQLite is compared with."""

from __future__ import annotations

from typing import Any

import attrs
import msgspec

from flowcore.state import (
    CloseSession,
    Command,
    Done,
    Entry,
    Feedback,
    GiveFeedback,
    Learned,
    Limits,
    OpenSession,
    PutPattern,
    PutPatterns,
    Reembed,
    Reembedded,
    ReembedFeedback,
    Refusal,
    Removed,
    RemovePatterns,
    Result,
    Retrain,
    SessionOpened,
    SetLimits,
    Stored,
    StoredPattern,
    Tidy,
    Touch,
    Touched,
)

CONFLICT, QUOTA, EXPIRED = -31061, -31060, -31062


@attrs.define(kw_only=True)
class Row:
    id: int
    namespace: str
    key: str
    same: tuple[Any, ...] | None
    text: str
    value: bytes | None
    vector: bytes
    embedder: str
    expert: str
    reward: float
    weight: float
    time: float
    used: float
    expires: float | None
    owner: tuple[str, str]
    version: int

    @property
    def size(self) -> int:
        texts = (self.namespace, self.key, self.expert, *self.owner, self.text, self.embedder)
        return (
            200
            + sum(len(one.encode()) for one in texts)
            + len(self.value or b"")
            + len(self.vector)
        )


class Wrong(Exception):
    def __init__(self, code: int, version: int | None = None) -> None:
        self.code, self.version = code, version


@attrs.define
class Session:
    used: int
    floor: int = 0


@attrs.define
class Model:
    """Nothing in it is shared with the implementation but the commands."""

    limits: Limits
    position: int = 0
    time: float = 0.0
    next_id: int = 1
    rows: dict[int, Row] = attrs.field(factory=dict)
    removed: list[tuple[int, int]] = attrs.field(factory=list)
    removed_to: int = 0
    lessons: list[tuple[int, Any]] = attrs.field(factory=list)
    taught: int = 0
    feedback_to: int = 0
    sessions: dict[int, Session] = attrs.field(factory=dict)
    answers: dict[tuple[int, int], Result] = attrs.field(factory=dict)

    def apply(self, entry: Entry) -> Result:
        self.position += 1
        self.time = max(self.time, entry.time)
        due = [
            one
            for one in self.rows.values()
            if one.expires is not None and one.expires <= self.time
        ]
        for one in sorted(due, key=lambda one: (one.expires, one.id))[:1000]:
            self.remove(one)
        place = (entry.session, entry.sequence)
        if entry.session:
            session = self.sessions.get(entry.session)
            if session is None:
                return self.refusal(EXPIRED)
            if place in self.answers:
                return self.answers[place]
            if entry.sequence <= session.floor:
                return self.refusal(EXPIRED)
        before = (self.next_id, dict(self.rows), list(self.removed), self.removed_to)
        rows = {one: attrs.evolve(row) for one, row in self.rows.items()}
        try:
            result = self.do(entry.command)
        except Wrong as error:
            self.next_id, _, self.removed, self.removed_to = before
            self.rows = rows
            result = self.refusal(error.code, error.version)
        if entry.session in self.sessions:
            self.sessions[entry.session].used = self.position
            self.answers[place] = result
            while len(self.answers) > max(1, self.limits.answers):
                oldest = next(iter(self.answers))
                del self.answers[oldest]
                of = self.sessions[oldest[0]]
                of.floor = max(of.floor, oldest[1])
        return result

    def refusal(self, code: int, version: int | None = None) -> Refusal:
        return Refusal(position=self.position, code=code, message="", version=version)

    def do(self, command: Command) -> Result:
        at = self.position
        match command:
            case PutPatterns():
                stored = tuple(self.put(one) for one in command.patterns)
                spaces = sorted({one.namespace for one in command.patterns})
                return Stored(
                    position=at, patterns=stored, evicted=self.shrink(spaces, len(stored))
                )
            case RemovePatterns():
                return Removed(position=at, ids=self.take_away(command))
            case Touch():
                there = [self.rows[one] for one in dict.fromkeys(command.ids) if one in self.rows]
                for row in there:
                    row.used = max(row.used, self.time)
                return Touched(position=at, count=len(there))
            case GiveFeedback():
                kept = tuple(self.learn(one) for one in command.lessons)
                self.let_go()
                return Learned(position=at, kept=kept)
            case Retrain():
                oldest = str(self.taught + 1 - len(self.lessons))
                marked = Feedback(source="retrain", text=oldest, expert="", reward=0.0)
                self.lessons.append((at, marked))
                self.taught += 1
                self.let_go()
                return Learned(position=at, kept=(True,))
            case Reembed():
                return self.reembed(command)
            case ReembedFeedback():
                return self.reembed_lessons(command)
            case OpenSession():
                self.sessions[at] = Session(at)
                while len(self.sessions) > self.limits.sessions:
                    self.forget(min(self.sessions, key=lambda one: (self.sessions[one].used, one)))
                return SessionOpened(position=at, session=at)
            case CloseSession():
                self.forget(command.session)
            case SetLimits():
                self.limits = command.limits
            case Tidy():
                self.shrink([], 0)
        return Done(position=at)

    def put(self, one: PutPattern) -> StoredPattern:
        same = None
        if one.key is None:
            alone = b"" if one.text else (one.value or b"")
            same = (one.namespace, one.expert, one.text, one.owner, alone)
        found = next(
            (
                row
                for row in self.rows.values()
                if (
                    row.same == same
                    if same
                    else (row.namespace, row.key) == (one.namespace, one.key)
                )
            ),
            None,
        )
        if found is not None and found.expires is not None and found.expires <= self.time:
            self.remove(found)
            found = None
        if one.if_version is not None and one.if_version != (found.version if found else 0):
            raise Wrong(CONFLICT, found.version if found else 0)
        row = Row(
            id=self.next_id,
            namespace=one.namespace,
            key=one.key or "",
            same=same,
            text=one.text,
            value=one.value,
            vector=one.vector,
            embedder=one.embedder,
            expert=one.expert,
            reward=one.reward,
            weight=min(one.weight, self.limits.weight),
            time=self.time if one.time is None else one.time,
            used=self.time,
            expires=None if one.ttl is None else self.time + one.ttl,
            owner=one.owner,
            version=self.position,
        )
        if found is None:
            taken = {other.key for other in self.rows.values() if other.namespace == one.namespace}
            while not row.key:
                if str(row.id) in taken:
                    row.id += 1
                else:
                    row.key = str(row.id)
            self.next_id = row.id + 1
        else:
            row.id, row.key = found.id, found.key
            if same is not None:
                both = found.weight + row.weight
                if both > 0:
                    row.reward = (found.reward * found.weight + row.reward * row.weight) / both
                row.weight = min(both, self.limits.weight)
                row.time = max(row.time, found.time)
                row.value = found.value if row.value is None else row.value
                if not row.vector:
                    row.vector, row.embedder = found.vector, found.embedder
                ends = [one for one in (found.expires, row.expires) if one is not None]
                row.expires = max(ends) if len(ends) == 2 else None
        self.room(row, found.size if found else 0, found is None)
        self.rows[row.id] = row
        return StoredPattern(row.id, row.key, row.version, found is None)

    def room(self, row: Row, held: int, new: bool) -> None:
        inside = [one for one in self.rows.values() if one.namespace == row.namespace]
        more = row.size - held
        if more > 0 and sum(one.size for one in inside) + more > self.limits.namespace_bytes:
            raise Wrong(QUOTA)
        if more > 0 and sum(one.size for one in self.rows.values()) + more > self.limits.bytes:
            raise Wrong(QUOTA)
        spaces = {one.namespace for one in self.rows.values()}
        if new and not inside and len(spaces) >= self.limits.namespaces:
            raise Wrong(QUOTA)

    def shrink(self, spaces: list[str], more: int) -> int:
        gone = 0

        def oldest(name: str) -> Row:
            inside = [one for one in self.rows.values() if one.namespace == name]
            return min(inside, key=lambda one: (one.used, one.id))

        def held() -> dict[str, int]:
            count: dict[str, int] = {}
            for one in self.rows.values():
                count[one.namespace] = count.get(one.namespace, 0) + 1
            return count

        for name in spaces:
            while held().get(name, 0) > self.limits.namespace_patterns and gone < more + 1000:
                self.remove(oldest(name))
                gone += 1
        while len(self.rows) > self.limits.patterns and gone < more + 1000:
            count = held()
            self.remove(oldest(min(count, key=lambda name: (-count[name], name))))
            gone += 1
        return gone

    def remove(self, row: Row) -> None:
        del self.rows[row.id]
        self.removed.append((self.position, row.id))
        while len(self.removed) > self.limits.removed:
            self.removed_to = self.removed[0][0]
            self.removed = [one for one in self.removed if one[0] != self.removed_to]

    def take_away(self, command: RemovePatterns) -> tuple[int, ...]:
        found = [
            self.rows[one]
            for one in command.ids
            if one in self.rows and command.namespace in ("", self.rows[one].namespace)
        ]
        for key in command.keys:
            found += [
                one
                for one in self.rows.values()
                if (one.namespace, one.key) == (command.namespace, key)
            ]
        found = list({one.id: one for one in found}.values())
        for one in found:
            if command.if_version not in (None, one.version):
                raise Wrong(CONFLICT, one.version)
        for one in found:
            self.remove(one)
        return tuple(one.id for one in found)

    def learn(self, one: Any) -> bool:
        about = (one.request, one.source, one.expert, one.owner)
        said = [(old.request, old.source, old.expert, old.owner) for _, old in self.lessons]
        new = not one.request or about not in said
        if new:
            self.lessons.append((self.position, one))
            self.taught += 1
        return new

    def let_go(self) -> None:
        while len(self.lessons) > self.limits.feedback:
            self.feedback_to = self.lessons.pop(0)[0]

    def reembed(self, command: Reembed) -> Reembedded:
        skipped, count = [], 0
        for id_, version, vector in command.items:
            row = self.rows.get(id_)
            if row is None or row.version != version:
                skipped.append(id_)
                continue
            made = attrs.evolve(
                row, vector=vector, embedder=command.embedder, version=self.position
            )
            self.room(made, row.size, False)
            self.rows[id_] = made
            count += 1
        return Reembedded(position=self.position, count=count, skipped=tuple(skipped))

    def reembed_lessons(self, command: ReembedFeedback) -> Reembedded:
        skipped, count = [], 0
        first = self.taught + 1 - len(self.lessons)
        for number, vector in command.items:
            at = number - first
            if not 0 <= at < len(self.lessons) or not self.lessons[at][1].expert:
                skipped.append(number)
                continue
            place, one = self.lessons[at]
            made = msgspec.structs.replace(one, vector=vector, embedder=command.embedder)
            self.lessons[at] = (place, made)
            count += 1
        return Reembedded(position=self.position, count=count, skipped=tuple(skipped))

    def forget(self, session: int) -> None:
        self.sessions.pop(session, None)
        self.answers = {place: one for place, one in self.answers.items() if place[0] != session}
