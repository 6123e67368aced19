"""What holds for every gate: it ranks who is there, learns what can be learned, and repeats itself."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from zlib import crc32

import attrs
import msgspec
import numpy as np

from flowcore.errors import DamagedState, WrongLesson, WrongVector
from flowcore.routing import Expert, Gate, Gates, Identity, Lesson, Near, Query, Ranking
from flowcore.testing.bench import Bench
from flowcore.testing.findings import Wrong

_IDENTITY = Identity(name="trial", version="1", dimensions=32)
_SAID = {
    "weather.forecast": "the weather forecast for a city, rain sun and wind",
    "bank.transfer": "transfer money to another account",
    "music.play": "play a song or an album",
    "mail.send": "send an electronic mail to somebody",
    "git.log": "show the history of commits",
}
_ODD = {
    "no text": "",
    "white space": " \t\n\u2003",
    "signs": "!?.,;:-()[]{}",
    "lone surrogates": "\ud800 a \udfff b",
    "all bytes": bytes(range(256)).decode("latin-1") * 20,
    "one long word": "abcdefghij" * 2000,
    "16 MiB": "never ending " * (16 * 1024 * 1024 // 13),
}


def _vector(text: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """A vector of the words of a text: enough that texts with words in common are near."""
    vector = np.zeros(_IDENTITY.dimensions, np.float32)
    for word in text.lower().split():
        drawn = np.random.default_rng(crc32(word.encode("utf-8", "surrogatepass")))
        vector += drawn.standard_normal(_IDENTITY.dimensions, np.float32)
    length = float(np.linalg.norm(vector))
    return vector / np.float32(length or 1.0)


def _expert(name: str, text: str) -> Expert:
    texts = (name, text)
    return Expert(name=name, texts=texts, vectors=np.stack([_vector(one) for one in texts]))


def _query(text: str) -> Query:
    return Query(text=text, vector=_vector(text))


def _lesson(text: str, expert: str, reward: float = 1.0) -> Lesson:
    return Lesson(text=text, vector=_vector(text), expert=expert, reward=reward)


def _experts() -> list[Expert]:
    return [_expert(name, text) for name, text in _SAID.items()]


def _made(gates: Gates, seed: int = 3) -> Gate:
    gate = gates.make(_IDENTITY, seed)
    gate.set_experts(_experts())
    return gate


def _lessons(count: int) -> Iterator[Lesson]:
    """What a gate may be told, in turns: right and wrong, sure and unsure, of who is there or not."""
    names = [*_SAID, "nobody.here"]
    for number in range(count):
        name = names[number % len(names)]
        text = f"{_SAID.get(name, 'something else')} number {number % 7}"
        yield attrs.evolve(
            _lesson(text, name, (1.0, 0.0, 1.0, 0.5)[number % 4]),
            propensity=(1.0, 0.25)[number % 2],
            exclusive=number % 3 > 0,
            weight=(1.0, 0.1, 1e9)[number % 3],
        )


def _ranked(gate: Gate, query: Query, k: int, names: Sequence[str] = tuple(_SAID)) -> Ranking:
    """A ranking of the right form, of these experts alone."""
    ranking = gate.rank(query, k)
    chosen = [choice.expert for choice in ranking.choices]
    if len(chosen) > k or len(set(chosen)) < len(chosen) or not set(chosen) <= set(names):
        raise Wrong(f"asked for {k} of {sorted(names)}, it gives {chosen}")
    total = 0.0
    for choice in ranking.choices:
        if not 0 <= choice.probability <= 1:
            raise Wrong(f"it gives {choice.expert} the probability {choice.probability!r}")
        if not all(math.isfinite(reason) for reason in choice.reasons.values()):
            raise Wrong(f"its reasons for {choice.expert} are {choice.reasons}")
        total += choice.probability
    if total > 1.001:
        raise Wrong(f"its probabilities add up to {total:g}")
    if not math.isfinite(ranking.known) or not math.isfinite(ranking.threshold):
        raise Wrong(f"it knows {ranking.known!r}, with the threshold {ranking.threshold!r}")
    return ranking


def _first(gate: Gate, text: str) -> str:
    choices = _ranked(gate, attrs.evolve(_query(text), explore=False), 1).choices
    return choices[0].expert if choices else ""


async def ranks_by_what_they_say(bench: Bench) -> None:
    """before it learned anything, a request in an expert's own words finds that expert first"""
    async with bench.opened() as gates:
        gate = _made(gates)
        for name, text in _SAID.items():
            if _first(gate, text) != name:
                raise Wrong(f"for {text!r} it chooses {_first(gate, text)!r}")


async def takes_any_text(bench: Bench) -> None:
    """texts that are empty, huge, binary or not well formed are ranked and learned, whatever their vector"""
    async with bench.opened() as gates:
        gate = _made(gates)
        nothing = np.zeros(_IDENTITY.dimensions, np.float32)
        for name, text in _ODD.items():
            for vector in (nothing, _vector("money")):
                try:
                    _ranked(gate, Query(text=text, vector=vector), 3)
                    gate.learn(Lesson(text=text, vector=vector, expert="git.log", reward=1.0))
                except Exception as error:
                    raise Wrong(f"{name}: {type(error).__name__}: {error}") from error
        huge = np.full(_IDENTITY.dimensions, 3e38, np.float32)
        _ranked(gate, Query(text="huge", vector=huge), 3)
        gate.learn(Lesson(text="huge", vector=huge, expert="git.log", reward=1.0))
        _ranked(gate, _query("money"), 3)


async def ranks_only_who_may_be_chosen(bench: Bench) -> None:
    """a query's `allowed` bounds who is ranked; nearby patterns and load of whoever else count for nothing"""
    async with bench.opened() as gates:
        gate = _made(gates)
        near = [
            Near(id=0, expert="nobody.here", similarity=1.0),
            Near(id=1, expert="git.log", similarity=math.nan),
            Near(id=2, expert="git.log", similarity=0.9, weight=math.inf),
            Near(id=3, expert="git.log", similarity=0.9, weight=-1.0),
        ]
        load = {"nobody.here": 1.0, "git.log": math.nan, "mail.send": math.inf, "bank.transfer": 1}
        query = Query(text="send", vector=_vector("send"), near=near, load=load)
        _ranked(gate, query, 8)
        for allowed in ([], ["nobody.here"], ["git.log"], ["git.log", "mail.send", "git.log"]):
            ranking = _ranked(gate, attrs.evolve(query, allowed=allowed), 8, allowed)
            if len(ranking.choices) != len(set(allowed) & _SAID.keys()):
                raise Wrong(f"of {allowed} it gives {[one.expert for one in ranking.choices]}")
            if not ranking.choices and ranking.in_scope:
                raise Wrong("it says that somebody is there for it when nobody is")


async def follows_who_is_there(bench: Bench) -> None:
    """an expert that comes can be chosen at once, one that goes never is, and none at all is no error"""
    async with bench.opened() as gates:
        gate = gates.make(_IDENTITY, 1)
        _ranked(gate, _query("anything"), 8, ())
        gate.set_experts(_experts()[:2])
        for lesson in _lessons(30):
            gate.learn(lesson)
        gate.set_experts(_experts())
        if _first(gate, _SAID["music.play"]) != "music.play":
            raise Wrong("one that came is not found by its own words")
        gate.set_experts(_experts()[1:])
        for lesson in _lessons(30):
            gate.learn(lesson)
        there = list(_SAID)[1:]
        if len(_ranked(gate, _query(_SAID["weather.forecast"]), 8, there).choices) != len(there):
            raise Wrong("it does not rank all that are there")
        gate.set_experts([])
        if _ranked(gate, _query("anything"), 8, ()).in_scope:
            raise Wrong("without experts it says that somebody is there")
        gate.set_experts(_experts())
        _ranked(gate, _query("anything"), 8)


async def refuses_what_would_poison_it(bench: Bench) -> None:
    """vectors and numbers that cannot be are refused by typed errors, and leave it as it was"""
    async with bench.opened() as gates:
        gate = _made(gates)
        for lesson in _lessons(20):
            gate.learn(lesson)
        before = gate.snapshot()
        good = _lesson("transfer", "bank.transfer")
        vectors = (
            np.full(_IDENTITY.dimensions, math.nan, np.float32),
            np.full(_IDENTITY.dimensions, math.inf, np.float32),
            np.zeros(_IDENTITY.dimensions + 1, np.float32),
            np.zeros((1, _IDENTITY.dimensions), np.float32),
        )
        for vector in vectors:
            _refused(WrongVector, lambda v=vector: gate.learn(attrs.evolve(good, vector=v)))
            _refused(WrongVector, lambda v=vector: gate.rank(Query(text="x", vector=v), 1))
            wrong = Expert(name="x", texts=("x",), vectors=vector[np.newaxis])
            _refused(WrongVector, lambda one=wrong: gate.set_experts([*_experts(), one]))
        for change in (
            *({"reward": one} for one in (math.nan, math.inf, -0.1, 1.1)),
            *({"weight": one} for one in (math.nan, math.inf, -1.0)),
            *({"propensity": one} for one in (math.nan, 0.0, -1.0, 1.1)),
            {"expert": ""},
        ):
            wrong_lesson = attrs.evolve(good, **change)  # type: ignore[arg-type]
            _refused(WrongLesson, lambda one=wrong_lesson: gate.learn(one))
        _refused(ValueError, lambda: gate.rank(_query("x"), 0))
        _refused(ValueError, lambda: gate.set_experts([*_experts(), *_experts()]))
        if gate.snapshot() != before:
            raise Wrong("what it refused has changed it")
        if len(_ranked(gate, _query("x"), 8).choices) != len(_SAID):
            raise Wrong("what it refused has changed who is there")


def _refused(kind: type[Exception], act: object) -> None:
    assert callable(act)
    try:
        act()
    except kind as error:
        if not str(error):
            raise Wrong(f"its {kind.__name__} says nothing") from None
    except Exception as error:
        raise Wrong(f"it raises {type(error).__name__}, not {kind.__name__}: {error}") from error
    else:
        raise Wrong(f"it raises no {kind.__name__}")


async def learns_what_it_says(bench: Bench) -> None:
    """its status is plain data; what it is taught changes whom it chooses, or the status says so"""
    text = "qwertz uiop"
    async with bench.opened() as gates:
        gate = _made(gates)
        msgspec.json.encode(gate.status())
        before = msgspec.json.encode(gate.status())
        for name in ("git.log", "music.play"):
            for _ in range(60):
                gate.learn(_lesson(text, name))
                gate.learn(_lesson(text, "bank.transfer", 0.0))
            if gate.status().get("learns") is not False and _first(gate, text) != name:
                raise Wrong(
                    f"60 times told that {name!r} is right, it chooses {_first(gate, text)!r}"
                )
            gate.consolidate()
        if msgspec.json.encode(gate.status()) == before:
            raise Wrong("its status is the same before and after")


async def repeats_itself(bench: Bench) -> None:
    """the same experts, lessons and seed in the same order give the same snapshot and rankings"""
    told = []
    for _ in range(2):
        async with bench.opened() as gates:
            gate = _made(gates, seed=5)
            rankings = []
            for number, lesson in enumerate(_lessons(200)):
                gate.learn(lesson)
                if number % 50 == 25:
                    gate.consolidate()
                rankings.append(gate.rank(_query(lesson.text), 3))
            told.append((gate.snapshot(), rankings))
    if told[0] != told[1]:
        raise Wrong("they differ; take chance from the seed, and no time from anywhere")


async def is_kept(bench: Bench) -> None:
    """restored from its snapshot it ranks and learns on as before; one that is damaged is refused"""
    async with bench.opened() as gates:
        gate = _made(gates)
        for lesson in _lessons(100):
            gate.learn(lesson)
        data = gate.snapshot()
        other = gates.make(_IDENTITY, 3)
        other.restore(data)
        other.set_experts(_experts())
        for lesson in _lessons(20):
            for text in _SAID.values():
                if _first(gate, text) != _first(other, text):
                    raise Wrong("the restored one chooses others")
            gate.learn(lesson)
            other.learn(lesson)
        if gate.snapshot() != other.snapshot():
            raise Wrong("the restored one learns on in another way")
        before = other.snapshot()
        step = max(len(data) // 400, 1)
        broken = [data[:0], data[: len(data) // 2], data + b"\x00", data[1:]]
        broken += [
            data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
            for place in range(0, len(data), step)
        ]
        for one in broken:
            _refused(DamagedState, lambda one=one: other.restore(one))
        if other.snapshot() != before:
            raise Wrong("a damaged snapshot has changed it")
        elsewhere = gates.make(attrs.evolve(_IDENTITY, dimensions=16), 3)
        _refused(DamagedState, lambda: elsewhere.restore(data))
