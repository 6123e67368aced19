"""Checking arguments against a tool's input schema, compiled once per schema."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from flowcore.agents.catalog import Tool
from flowcore.errors import InvalidArguments

logger = logging.getLogger(__name__)

MAX_KNOWN = 10_000
MAX_SCHEMA = 1 << 20


class SchemaCheck:
    """Validators by schema text. A schema that cannot be compiled is named once and not enforced."""

    def __init__(self) -> None:
        self._validators: dict[bytes, Any] = {}
        self.unusable: dict[str, str] = {}
        """Tools whose schema is not enforced, and why."""

    def check(self, agent: str, tool: Tool, arguments: msgspec.Raw | None) -> None:
        """Raise InvalidArguments, naming the place, if the arguments do not fit the tool's schema."""
        if tool.input_schema is None:
            return
        text = bytes(tool.input_schema)
        known = self._validators.get(text, self)
        if known is self:
            known = self._compile(f"{agent}.{tool.name}", text)
        value = {} if arguments is None else msgspec.json.decode(arguments)
        if known is None or known.is_valid(value):
            return
        for error in known.iter_errors(value):
            place = "".join(
                f"[{p}]" if isinstance(p, int) else f".{p}" for p in error.instance_path
            )
            message = error.message if len(error.message) <= 300 else error.message[:300] + "…"
            raise InvalidArguments(
                f"arguments{place} of {tool.name!r}: {message}",
                data={"path": [str(part) for part in error.instance_path], "tool": tool.name},
            )

    def _compile(self, name: str, text: bytes) -> Any:
        import jsonschema_rs

        try:
            if len(text) > MAX_SCHEMA:
                raise ValueError(f"the schema has more than {MAX_SCHEMA} bytes")
            validator = jsonschema_rs.validator_for(
                msgspec.json.decode(text),
                offline=True,  # nothing outside a schema is fetched
                pattern_options=jsonschema_rs.RegexOptions(),  # linear time: none runs for ever
            )
        except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
            logger.warning("the input schema of %s is not enforced: %s", name, error)
            self.unusable[name] = str(error)[:300]
            validator = None
        if len(self._validators) >= MAX_KNOWN:
            self._validators.clear()
        self._validators[text] = validator
        return validator
