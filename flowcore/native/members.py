"""Marking functions and methods as tools, resources, templates, prompts and completions.

    class Notes:
        @tool(read_only=True)
        async def search(self, text: str, limit: int = 10) -> list[str]:
            "Find notes that hold a text."

A decorator only leaves a mark: the function stays what it was, and can be called and tested as such.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar, overload

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
    output_schema: Any = None
    """A JSON schema, or a type to make one of."""
    annotations: dict[str, Any] = attrs.field(factory=dict)
    extra: dict[str, Any] = attrs.field(factory=dict)
    """Further members of the definition, such as `icons`."""


def _mark(mark: Mark) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        setattr(function, MARK, mark)
        return function

    return decorate


@overload
def tool(function: F, /) -> F: ...
@overload
def tool(
    name: str | None = None,
    /,
    *,
    title: str | None = None,
    description: str | None = None,
    read_only: bool = False,
    idempotent: bool = False,
    destructive: bool | None = None,
    open_world: bool | None = None,
    task: Literal["optional", "required", "forbidden"] | None = None,
    input_schema: dict[str, Any] | None = None,
    output_schema: dict[str, Any] | type | None = None,
    **extra: Any,
) -> Callable[[F], F]: ...
def tool(
    name: Any = None,
    /,
    *,
    title: str | None = None,
    description: str | None = None,
    read_only: bool = False,
    idempotent: bool = False,
    destructive: bool | None = None,
    open_world: bool | None = None,
    task: Literal["optional", "required", "forbidden"] | None = None,
    input_schema: dict[str, Any] | None = None,
    output_schema: dict[str, Any] | type | None = None,
    **extra: Any,
) -> Any:
    """A tool. Name and description are the function's own where they are not given.

    The schema of the arguments is made from the annotations (and the descriptions in the docstring) unless
    `input_schema` is given; then the function is called with the arguments as they come. A type given as
    `output_schema` is also checked: a result that does not fit becomes an error. `read_only` and `idempotent`
    allow that a call is repeated after a failure. `task` says whether a call may go on as a task.
    """
    if callable(name):
        return _mark(Mark(kind="tool"))(name)
    hints = {
        "readOnlyHint": read_only or None,
        "idempotentHint": idempotent or None,
        "destructiveHint": destructive,
        "openWorldHint": open_world,
    }
    if task is not None:
        extra = {"execution": {"taskSupport": task}, **extra}
    return _mark(
        Mark(
            kind="tool",
            name=name,
            title=title,
            description=description,
            input_schema=input_schema,
            output_schema=output_schema,
            annotations={key: value for key, value in hints.items() if value is not None},
            extra=extra,
        )
    )


def resource(
    uri: str,
    /,
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
    /,
    *,
    title: str | None = None,
    description: str | None = None,
    mime_type: str | None = None,
    **extra: Any,
) -> Callable[[F], F]:
    """Resources of a URI template; the function's parameters are its variables.

    `{name}` stands for one segment, `{+name}` for a path of them (RFC 6570, levels 1 and 2). Values come
    percent-decoded and are whatever the caller wrote: `../` in them is the function's to refuse.
    """
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


@overload
def prompt(function: F, /) -> F: ...
@overload
def prompt(
    name: str | None = None,
    /,
    *,
    title: str | None = None,
    description: str | None = None,
    **extra: Any,
) -> Callable[[F], F]: ...
def prompt(
    name: Any = None,
    /,
    *,
    title: str | None = None,
    description: str | None = None,
    **extra: Any,
) -> Any:
    """A prompt; the function's parameters are its arguments, it returns a text, messages or blocks."""
    if callable(name):
        return _mark(Mark(kind="prompt"))(name)
    return _mark(Mark(kind="prompt", name=name, title=title, description=description, extra=extra))


@overload
def completion(function: F, /) -> F: ...
@overload
def completion() -> Callable[[F], F]: ...
def completion(function: Any = None, /) -> Any:
    """Answers `completion/complete`: called with `ref`, `argument` and `context` (as MCP has them; it may
    leave any of them out), returns the values, best first."""
    decorate = _mark(Mark(kind="completion"))
    return decorate if function is None else decorate(function)
