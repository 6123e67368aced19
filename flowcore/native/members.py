"""Marking functions and methods as tools, resources, templates, prompts and completions.

class Notes:
    @tool(read_only=True)
    async def search(self, text: str, limit: int = 10) -> list[str]:
        "Find notes that hold a text."
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

import attrs

MARK = "__flowcore_member__"
F = TypeVar("F", bound=Callable[..., Any])
Kind = Literal["tool", "resource", "template", "prompt", "completion"]


@attrs.frozen(kw_only=True)
class Mark:
    """What a decorator says of a function."""

    kind: Kind
    name: str | None = None
    """The tool's or prompt's name, the resource's URI, the template."""
    title: str | None = None
    description: str | None = None
    mime_type: str | None = None
    input_schema: dict[str, Any] | None = None
    output_schema: dict[str, Any] | None = None
    annotations: dict[str, Any] = attrs.field(factory=dict)
    extra: dict[str, Any] = attrs.field(factory=dict)
    """Further members of the definition, such as `icons`."""


def _mark(mark: Mark) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        setattr(function, MARK, mark)
        return function

    return decorate


def tool(
    name: str | None = None,
    *,
    title: str | None = None,
    description: str | None = None,
    read_only: bool = False,
    idempotent: bool = False,
    destructive: bool | None = None,
    open_world: bool | None = None,
    input_schema: dict[str, Any] | None = None,
    output_schema: dict[str, Any] | None = None,
    **extra: Any,
) -> Callable[[F], F]:
    """A tool. Name and description are the function's own where they are not given.

    The schema of the arguments is made from the annotations unless `input_schema` is given; then the
    function is called with the arguments as they come. `read_only` and `idempotent` allow that a call is
    repeated after a failure.
    """
    hints = {
        "readOnlyHint": read_only or None,
        "idempotentHint": idempotent or None,
        "destructiveHint": destructive,
        "openWorldHint": open_world,
    }
    annotations = {key: value for key, value in hints.items() if value is not None}
    return _mark(
        Mark(
            kind="tool",
            name=name,
            title=title,
            description=description,
            input_schema=input_schema,
            output_schema=output_schema,
            annotations=annotations,
            extra=extra,
        )
    )


def resource(
    uri: str,
    *,
    title: str | None = None,
    description: str | None = None,
    mime_type: str | None = None,
    **extra: Any,
) -> Callable[[F], F]:
    """A resource of a fixed URI; the function takes no arguments and returns its text, bytes or Contents."""
    return _mark(
        Mark(
            kind="resource",
            name=uri,
            title=title,
            description=description,
            mime_type=mime_type,
            extra=extra,
        )
    )


def template(
    uri_template: str,
    *,
    title: str | None = None,
    description: str | None = None,
    mime_type: str | None = None,
    **extra: Any,
) -> Callable[[F], F]:
    """Resources of a URI template (RFC 6570 level 1); the function's parameters are its variables."""
    return _mark(
        Mark(
            kind="template",
            name=uri_template,
            title=title,
            description=description,
            mime_type=mime_type,
            extra=extra,
        )
    )


def prompt(
    name: str | None = None,
    *,
    title: str | None = None,
    description: str | None = None,
    **extra: Any,
) -> Callable[[F], F]:
    """A prompt; the function's parameters (texts) are its arguments, it returns a text or messages."""
    return _mark(Mark(kind="prompt", name=name, title=title, description=description, extra=extra))


def completion() -> Callable[[F], F]:
    """Answers `completion/complete`: called with `ref` and `argument` (as MCP has them), returns values."""
    return _mark(Mark(kind="completion"))
