"""What can be learned from: a lesson whose numbers are what they should be."""

from __future__ import annotations

import math

from flowcore.errors import WrongLesson
from flowcore.routing import Lesson


def checked_lesson(lesson: Lesson) -> None:
    """Raise WrongLesson for a number out of its range, or for an expert without a name."""
    if not lesson.expert:
        raise WrongLesson("expected the name of an expert in a lesson, not an empty one")
    if not 0 <= lesson.reward <= 1:
        raise WrongLesson(f"expected a reward between 0 and 1, not {lesson.reward!r}")
    if not 0 < lesson.propensity <= 1:
        raise WrongLesson(f"expected a propensity above 0, at most 1, not {lesson.propensity!r}")
    if not (math.isfinite(lesson.weight) and lesson.weight >= 0):
        raise WrongLesson(f"expected a weight of at least 0, not {lesson.weight!r}")
