"""What speaks for experts before anything is learned: their words and vectors, and patterns that are near."""

from flow_gates.evidence.checked import checked_query, checked_vector, finite
from flow_gates.evidence.described import Described
from flow_gates.evidence.nearest import shares
from flow_gates.evidence.texts import WEIGHTS, Texts

__all__ = [
    "WEIGHTS",
    "Described",
    "Texts",
    "checked_query",
    "checked_vector",
    "finite",
    "shares",
]
