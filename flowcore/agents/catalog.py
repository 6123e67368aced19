"""What an agent offers: its tools, resources, templates and prompts, as raw JSON it wrote itself."""

from __future__ import annotations

import attrs
from msgspec import Raw


@attrs.frozen(kw_only=True)
class Tool:
    """A tool under the name its agent gives it.

    `definition` is the whole JSON object as the agent sent it (name, description, inputSchema,
    annotations, and fields we do not know). `read_only` and `idempotent` are its annotations' hints;
    they decide whether a call may be repeated. Arguments of more than `most` bytes are refused unread.
    """

    name: str
    definition: Raw
    input_schema: Raw | None = None
    read_only: bool = False
    idempotent: bool = False
    most: int | None = None


@attrs.frozen(kw_only=True)
class Resource:
    uri: str
    definition: Raw


@attrs.frozen(kw_only=True)
class Template:
    """A resource template (RFC 6570) with its whole JSON object."""

    uri_template: str
    definition: Raw


@attrs.frozen(kw_only=True)
class Prompt:
    name: str
    definition: Raw


@attrs.frozen(kw_only=True)
class Catalog:
    """Everything one agent offers, each list in the agent's own order."""

    tools: tuple[Tool, ...] = ()
    resources: tuple[Resource, ...] = ()
    templates: tuple[Template, ...] = ()
    prompts: tuple[Prompt, ...] = ()
    completions: bool = False
    """Whether `completion/complete` is answered."""
    subscriptions: bool = False
    """Whether `resources/subscribe` is answered and `resources/updated` announced."""
    logging: bool = False
    """Whether `logging/setLevel` is answered."""
    instructions: str | None = None


EMPTY = Catalog()
