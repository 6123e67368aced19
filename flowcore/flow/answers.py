"""What several said who were asked the same, and whether that is what was wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import msgspec

from flowcore.envelope import Reply


@attrs.frozen(kw_only=True)
class Answer:
    """What one expert said."""

    expert: str
    seconds: float
    result: dict[str, Any] | None
    """The result as MCP has it; None if there is none."""
    error: str = ""
    """Why there is none, or what the tool says is wrong."""

    @property
    def good(self) -> bool:
        """Whether it is an answer, and no failure."""
        return self.result is not None and not self.error

    def told(self) -> dict[str, Any]:
        """As plain data."""
        told: dict[str, Any] = {"expert": self.expert, "seconds": round(self.seconds, 6)}
        if self.result is not None:
            told["content"] = self.result.get("content", [])
            if "structuredContent" in self.result:
                told["structured"] = self.result["structuredContent"]
        return told | ({"error": self.error} if self.error else {})


def answer_of(expert: str, reply: Reply, seconds: float) -> Answer:
    """A reply as an answer: one in which the tool reports an error is none."""
    result = msgspec.json.decode(reply.result, type=dict[str, Any])
    error = ""
    if result.get("isError"):
        error = text_of(result) or "the tool reports an error"
    return Answer(expert=expert, seconds=seconds, result=result, error=error)


def text_of(result: Mapping[str, Any]) -> str:
    """The texts of a result, one after another."""
    blocks = result.get("content")
    texts = [one.get("text", "") for one in blocks or () if isinstance(one, dict)]
    return "\n".join(text for text in texts if isinstance(text, str))


def _key(answer: Answer) -> bytes:
    """What two answers have in common that say the same."""
    assert answer.result is not None
    structured = answer.result.get("structuredContent")
    if structured is not None:
        return msgspec.json.encode(structured, order="deterministic")
    return " ".join(text_of(answer.result).split()).encode()


def settled(answers: Sequence[Answer], want: str, n: int) -> list[Answer] | None:
    """The answers that are what was wanted; None while they are not there."""
    good = [one for one in answers if one.good]
    if want == "first":
        return good[:1] or None
    if want == "first_n":
        return good[:n] if len(good) >= n else None
    if want == "quorum":
        alike: dict[bytes, list[Answer]] = {}
        for one in good:
            alike.setdefault(_key(one), []).append(one)
        return next((group for group in alike.values() if len(group) >= n), None)
    return None  # all are wanted: there are no fewer than all
