"""Feedback in the state: lessons in their order, bounded, so that a gate can go on from where it stood."""

from __future__ import annotations

from flowcore.state.commands import Feedback, GiveFeedback, ReembedFeedback
from flowcore.state.results import Learned, Reembedded
from flowcore.state.tables import Tables

RETRAIN = "retrain"
"""The source of what stands among the lessons and is none: from where on gates are trained anew."""


def give_feedback(tables: Tables, command: GiveFeedback) -> Learned:
    """Keep lessons; of each request, one for each source, expert and owner."""
    meta = tables.meta
    kept = []
    for lesson in command.lessons:
        new = not lesson.request or not _said(tables, lesson)
        kept.append(new)
        if new:
            _keep(tables, lesson)
    _shrink(tables)
    return Learned(position=meta.position, kept=tuple(kept))


def retrain(tables: Tables) -> Learned:
    """Have gates trained anew when they come to here, on the lessons that are kept now."""
    meta = tables.meta
    oldest = meta.next_feedback - meta.feedback  # their numbers have no gaps
    _keep(tables, Feedback(source=RETRAIN, text=str(oldest), expert="", reward=0.0))
    _shrink(tables)
    return Learned(position=meta.position, kept=(True,))


def reembed_feedback(tables: Tables, command: ReembedFeedback) -> Reembedded:
    """Vectors of another embedder for lessons; they stay where they are."""
    count, skipped = 0, []
    for number, vector in command.items:
        row = tables.get("feedback", "WHERE number = ?", (number,))
        if row is None or not row[8]:  # what tells to train anew is no lesson
            skipped.append(number)
            continue
        tables.put("feedback", (*row[:6], vector, command.embedder, *row[8:]))
        count += 1
    return Reembedded(position=tables.meta.position, count=count, skipped=tuple(skipped))


def _shrink(tables: Tables) -> None:
    meta = tables.meta
    while meta.feedback > meta.limits.feedback:
        oldest = tables.get("feedback", "", ())
        assert oldest is not None
        meta.feedback -= tables.delete("feedback", "WHERE number = ?", (oldest[0],))
        meta.feedback_to = oldest[1]


def _said(tables: Tables, lesson: Feedback) -> bool:
    return (
        tables.get(
            "feedback",
            "WHERE request = ? AND source = ? AND expert = ? AND scheme = ? AND owner = ? AND request <> ''",
            (lesson.request, lesson.source, lesson.expert, *lesson.owner),
        )
        is not None
    )


def _keep(tables: Tables, lesson: Feedback) -> None:
    meta = tables.meta
    tables.put(
        "feedback",
        (
            *(meta.next_feedback, meta.position, meta.time),
            *(
                lesson.request,
                lesson.source,
                lesson.text,
                lesson.vector,
                lesson.embedder,
                lesson.expert,
            ),
            *(
                lesson.reward + 0.0,
                lesson.propensity + 0.0,
                int(lesson.exclusive),
                lesson.weight + 0.0,
            ),
            *lesson.owner,
        ),
    )
    meta.next_feedback += 1
    meta.feedback += 1
