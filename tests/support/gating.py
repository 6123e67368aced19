"""Experts, queries and lessons in words, with the vectors of the embedder `hashed`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from flow_embedders.projection import Projection
from flowcore.routing import Expert, Identity, Lesson, Query

if TYPE_CHECKING:
    from flowcore.routing import Vectors

HASHED = Identity(name="hashed", version="test", dimensions=384)
embed = Projection(HASHED.dimensions)

TOOLS = {
    "weather.forecast": "The weather forecast for a city: rain, sun and wind today and tomorrow",
    "bank.transfer": "Transfer money, in euros or dollars, from one account to another",
    "music.play": "Play a song, an album or a playlist",
    "mail.send": "Send an electronic mail with an attachment to somebody",
    "git.log": "Show the history of commits: who changed which file, and when",
    "time.now": "The current time in a time zone or city",
}


def expert(name: str, *said: str, side_effects: bool = True) -> Expert:
    """An expert that says this of itself."""
    texts = (name, *said)
    return Expert(
        name=name,
        texts=texts,
        vectors=np.stack([embed(one) for one in texts]),
        side_effects=side_effects,
    )


def experts(said: dict[str, str] = TOOLS) -> list[Expert]:
    """Experts by their names and descriptions."""
    return [expert(name, text) for name, text in said.items()]


def query(text: str) -> Query:
    """A request in words."""
    return Query(text=text, vector=_embedded(text))


def lesson(text: str, right: str, reward: float = 1.0) -> Lesson:
    """That this expert was right for a text, or was not."""
    return Lesson(text=text, vector=_embedded(text), expert=right, reward=reward)


def _embedded(text: str) -> Vectors:
    return embed(text)
