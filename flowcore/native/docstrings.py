"""What a docstring says: of the function, and of each of its parameters."""

from __future__ import annotations

import inspect
import re

_SECTION = re.compile(r"(Args|Arguments|Parameters|Params):\s*$")
_PARAMETER = re.compile(r"(\s+)\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
_FIELD = re.compile(r":param\s+(?:[^:]*\s)?(\w+)\s*:\s*(.*)$")


def described(docstring: str | None) -> tuple[str, dict[str, str]]:
    """The text without its parameters, and what it says of each parameter by name.

    Knows Google's `Args:` section and Sphinx's `:param name:` fields.
    """
    if not docstring:
        return "", {}
    kept: list[str] = []
    found: dict[str, str] = {}
    current: str | None = None
    inside: int | None = None  # the indentation of the parameters of an `Args:` section
    for line in inspect.cleandoc(docstring).splitlines():
        field = _FIELD.match(line)
        if field is not None:
            current, inside = field[1], None
            found[current] = field[2]
            continue
        if _SECTION.match(line):
            current, inside = None, 0
            continue
        indented = line[:1].isspace()
        if inside is not None and (indented or not line.strip()):
            parameter = _PARAMETER.match(line)
            depth = len(line) - len(line.lstrip())
            if parameter is not None and (inside == 0 or depth <= inside):
                inside, current = depth, parameter[2]
                found[current] = parameter[3]
            elif current is not None and line.strip():
                found[current] = f"{found[current]} {line.strip()}".strip()
            continue
        if inside is None and current is not None and indented:
            found[current] = f"{found[current]} {line.strip()}".strip()
            continue
        current = inside = None
        kept.append(line)
    return "\n".join(kept).strip(), {name: text for name, text in found.items() if text}
