"""TOML to attrs: strict, all problems at once with their places, secrets that stay secret."""

from flowcore.config.document import Document, as_path, load
from flowcore.config.lines import dotted
from flowcore.config.problems import ConfigError, Problem, Where
from flowcore.config.render import (
    differences,
    json_schema,
    reference_markdown,
    settings_table,
    show,
)
from flowcore.config.settings import Selection, about, reference, references, selection, setting
from flowcore.config.shapes import Listing, Lookup
from flowcore.config.structure import Attempt, NothingKnown, attempt, settings_from, structure
from flowcore.config.tables import check_class
from flowcore.config.values import Address, Duration, Given, Secret, Size

__all__ = [
    "Address",
    "Attempt",
    "ConfigError",
    "Document",
    "Duration",
    "Given",
    "Listing",
    "Lookup",
    "NothingKnown",
    "Problem",
    "Secret",
    "Selection",
    "Size",
    "Where",
    "about",
    "as_path",
    "attempt",
    "check_class",
    "differences",
    "dotted",
    "json_schema",
    "load",
    "reference",
    "reference_markdown",
    "references",
    "selection",
    "setting",
    "settings_from",
    "settings_table",
    "show",
    "structure",
]
