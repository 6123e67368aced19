"""The tools of a flow as experts: what each says of itself, in texts and vectors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import trio

from flowcore.agents.catalog import Tool
from flowcore.agents.directory import Directory
from flowcore.agents.offers import Listed, Listing
from flowcore.routing.interfaces import Embedder, Expert

if TYPE_CHECKING:
    from flowcore.routing.interfaces import Vectors

EXAMPLES = "io.flowcore/examples"
"""The member of a tool's `_meta` that lists tasks it is for, in a user's words."""
LONGEST = 4000
"""Characters of each text of an expert; what a tool writes beyond them is not looked at."""
_REQUEST = "i want to ask about {}"
_AT_ONCE = 32
"""New experts that are read without others having their turn: a millisecond."""
_MOST_EXAMPLES = 64
_MOST_PARAMETERS = 64
_RUNS = re.compile(r"[^\W_]+")
_WORDS = re.compile(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+(?:\d+[a-z]*)*|\d+(?:[a-z]+|[A-Z]+(?![a-z]))?")


def words_of(name: str) -> str:
    """A name's words: `git_log`, `gitLog` and `git-log` are "git log"; `base64`, `w2`, `2fa` are one each."""
    runs = _RUNS.findall(name)
    return " ".join(
        word for run in runs for word in (_WORDS.findall(run) if run.isascii() else _humps(run))
    ).lower()


def _humps(run: str) -> list[str]:
    """The words of letters of any script: a capital after a small letter begins one."""
    pairs = zip(f" {run}", run, strict=False)
    return "".join(
        f" {letter}" if letter.isupper() and before.islower() else letter
        for before, letter in pairs
    ).split()


def texts_of(listed: Listed, about_agent: str = "") -> tuple[str, ...]:
    """What a tool says of itself, as `texts_said` has it, whatever its definition is."""
    assert isinstance(listed.offer, Tool)
    try:
        definition = msgspec.json.decode(listed.offer.definition)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        definition = {}
    if not isinstance(definition, dict):
        definition = {}
    return texts_said(listed.name, definition, about_agent)


def texts_said(name: str, definition: Mapping[str, Any], about_agent: str = "") -> tuple[str, ...]:
    """What a tool says of itself, each text on its own: name, title and description, both together,
    parameters, what its agent is, examples. The name is always there and comes first.

    Name and description together are a text of their own because a model of sentences makes another vector
    of them than the mean of theirs, one that is nearer to what users ask.
    """
    words, described = words_of(name), _described(definition)
    both = f"{words}: {described}" if words and described else ""
    texts = [words, described, both, _parameters(definition), about_agent]
    texts += _examples(definition)
    return tuple(text[:LONGEST] for text in texts if text)


def embedded(texts: tuple[str, ...]) -> tuple[str, ...]:
    """What is embedded of an expert: its texts, and a bare name also as a request has it.

    A bare name is no sentence, and lies apart from those that users write: a prompt around it brings it
    nearer (as for class names in Radford et al., "Learning Transferable Visual Models From Natural Language
    Supervision", 2021, section 3.1.4).
    """
    return texts if len(texts) != 1 else (*texts, _REQUEST.format(*texts))


def vectors_of(texts: tuple[str, ...], vectors: Vectors) -> Vectors:
    """One vector for each text, of those of what is embedded: a bare name has the sum of its two."""
    return vectors if len(texts) != 1 else vectors.sum(axis=0, keepdims=True)


def _described(definition: Mapping[str, Any]) -> str:
    annotations = definition.get("annotations")
    titles = [definition.get("title")]
    titles += [annotations.get("title")] if isinstance(annotations, dict) else []
    said = [*dict.fromkeys(_texts(titles)), *_texts([definition.get("description")])]
    return ". ".join(said)


def _parameters(definition: Mapping[str, Any]) -> str:
    schema = definition.get("inputSchema")
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        return ""
    return ". ".join(
        _parameter(str(name), one) for name, one in list(properties.items())[:_MOST_PARAMETERS]
    )


def _parameter(name: str, schema: Any) -> str:
    said = [words_of(name)]
    if isinstance(schema, dict):
        said += _texts([schema.get("description")])
        choices = schema.get("enum")
        said += (
            [str(one) for one in choices[:_MOST_PARAMETERS]] if isinstance(choices, list) else []
        )
    return " ".join(said)


def _examples(definition: Mapping[str, Any]) -> Iterator[str]:
    meta = definition.get("_meta")
    examples = meta.get(EXAMPLES) if isinstance(meta, dict) else None
    if isinstance(examples, list):
        yield from _texts(examples[:_MOST_EXAMPLES])


def _texts(values: Iterable[Any]) -> list[str]:
    return [one.strip() for one in values if isinstance(one, str) and one.strip()]


@attrs.frozen
class Known:
    """A tool that can be routed to."""

    listed: Listed
    about: str
    expert: Expert

    @property
    def own(self) -> str:
        """The agent's own name for it."""
        assert isinstance(self.listed.offer, Tool)
        return self.listed.offer.name


class Experts:
    """The experts of a flow, embedded, as its directory has them: those that are up."""

    def __init__(
        self,
        directory: Directory,
        embedder: Embedder,
        about: Callable[[str], str],
        apart: frozenset[str],
    ) -> None:
        """`about` says what an agent is; the tools of the agents in `apart` are no experts."""
        self._directory = directory
        self._embedder = embedder
        self._about = about
        self._apart = apart
        self._known: dict[str, Known] = {}
        self._listing: Listing | None = None
        self._renewing = trio.Lock()

    @property
    def listing(self) -> Listing | None:
        """The list of tools that they are of: another object whenever it has changed."""
        return self._listing

    def __len__(self) -> int:
        return len(self._known)

    def items(self) -> Iterable[tuple[str, Known]]:
        """All of them by public name, in the order of the directory."""
        return self._known.items()

    def get(self, name: str) -> Known | None:
        """An expert by its public name, if it is there now."""
        return self._known.get(name)

    def all(self) -> tuple[Expert, ...]:
        """All of them, in the order of the directory."""
        return tuple(one.expert for one in self._known.values())

    async def renew(self) -> bool:
        """Be as the directory is; whether anything was different. New texts are embedded, old ones kept."""
        if self._directory.listing("tools") is self._listing:
            return False
        async with self._renewing:
            listing = self._directory.listing("tools")
            if listing is self._listing:
                return False
            before = self._known
            self._known = await self._read(listing)
            self._listing = listing
            return [*before.values()] != [*self._known.values()]

    async def _read(self, listing: Listing) -> dict[str, Known]:
        known: dict[str, Known] = {}
        new: list[tuple[Listed, str, tuple[str, ...]]] = []
        for listed in listing.entries:
            if listed.agent in self._apart or not isinstance(listed.offer, Tool):
                continue
            about = self._about(listed.agent)
            old = self._known.get(listed.name)
            if old is not None and old.listed.offer is listed.offer and old.about == about:
                known[listed.name] = old
            else:
                new.append((listed, about, texts_of(listed, about)))
                if len(new) % _AT_ONCE == 0:
                    await trio.lowlevel.checkpoint()
        vectors = await self._embedder.embed(
            [text for *_, texts in new for text in embedded(texts)]
        )
        start = 0
        for listed, about, texts in new:
            end = start + len(embedded(texts))
            assert isinstance(listed.offer, Tool)
            expert = Expert(
                name=listed.name,
                texts=texts,
                vectors=vectors_of(texts, vectors[start:end]),
                side_effects=not listed.offer.read_only,
            )
            known[listed.name] = Known(listed, about, expert)
            start = end
            if len(known) % _AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        return {one.name: known[one.name] for one in listing.entries if one.name in known}
