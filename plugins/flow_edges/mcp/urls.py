"""The error "URL elicitation required" of 2025-11-25, as what it is in 2026-07-28: a question."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from flowcore.errors import CallError
from flowcore.mcp import URL_ELICITATION_REQUIRED, question_for

ELICIT = "elicitation/create"


class _Required(msgspec.Struct, gc=False):
    elicitations: list[Raw] = []


def as_questions(error: CallError) -> dict[str, tuple[str, Raw]]:
    """What a 2025-11-25 error "URL elicitation required" asks, as questions of 2026-07-28, which has no such
    error; {} if it is another error."""
    if error.wire_code != URL_ELICITATION_REQUIRED:
        return {}
    try:
        required = msgspec.json.decode(msgspec.json.encode(error.data), type=_Required)
    except (msgspec.MsgspecError, TypeError):
        return {}
    return {
        f"elicitation-{number}": (ELICIT, question_for(ELICIT, params, modern=True))
        for number, params in enumerate(required.elicitations, start=1)
    }
