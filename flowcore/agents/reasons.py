"""Errors in a line, for a person who reads a status."""

from __future__ import annotations

from flowcore.errors import FlowError

LONGEST_REASON = 500


def reason_of(error: BaseException) -> str:
    """What went wrong: of a group each member's own, then what caused it where that says more."""
    return _reason(error)[:LONGEST_REASON]


def _reason(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(dict.fromkeys(_reason(one) for one in error.exceptions))
    said = str(error)
    if isinstance(error, FlowError) and said:
        text = said
    else:
        text = f"{type(error).__name__}: {said}" if said else type(error).__name__
    cause = error.__cause__
    if cause is None or str(cause) in text:
        return text
    return f"{text} ({_reason(cause)})"
