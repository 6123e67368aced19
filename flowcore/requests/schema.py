"""Checking arguments against a tool's input schema, compiled once per schema."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from flowcore.agents.catalog import Catalog, Tool
from flowcore.errors import SchemaViolation, TooLarge
from flowcore.mcp import containers
from flowcore.requests.expansion import expansion
from flowcore.requests.glance import Glance, glance_at

logger = logging.getLogger(__name__)

MAX_KNOWN = 10_000
MAX_SCHEMA = 1 << 20
"""Bytes."""
MAX_EXPANSION = 10_000
"""Schemas that one value may be held against: about half a millisecond of one check."""
MAX_CONTAINERS = 50_000
"""Arrays and objects in the arguments of a call that can be checked: more take long to take apart."""
_EXPLAINED = 1 << 16
"""Bytes of arguments up to which a refusal names the place: finding it costs as much as they are large."""
_MAX_MESSAGE = 300
_UNFIT = "they do not fit its schema"

_decode = msgspec.json.Decoder().decode


class ToolCheck:
    """One tool of one agent, with its validator once it has been called."""

    __slots__ = ("_checks", "_name", "_ready", "_validator", "tool")

    def __init__(self, tool: Tool, agent: str, checks: SchemaChecks) -> None:
        self.tool = tool
        self._name = f"{agent}.{tool.name}"
        self._checks = checks
        self._validator: Any = None
        self._ready = tool.input_schema is None

    def check(self, arguments: msgspec.Raw | None) -> None:
        """Raise SchemaViolation, naming the place, if the arguments do not fit the tool's schema.

        Raise TooLarge, without a look at them, if they are more than it takes.
        """
        most = self.tool.most
        if most is not None and arguments is not None:
            size = memoryview(arguments).nbytes
            if size > most:
                raise TooLarge(
                    f"the arguments of {self.tool.name!r} have {size} bytes, more than the {most} it takes",
                    data={"limit": most, "tool": self.tool.name},
                )
        if not self._ready:
            assert self.tool.input_schema is not None
            self._validator = self._checks.validator(self._name, bytes(self.tool.input_schema))
            self._ready = True
        validator = self._validator
        if validator is None:
            return
        try:
            if arguments is not None and memoryview(arguments).nbytes > _EXPLAINED:
                self._check_large(validator, arguments)
                return
            value = {} if arguments is None else _decode(arguments)
            if not validator.is_valid(value):
                self._refuse(validator, value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._violation(str(error)) from None

    def _check_large(self, validator: Any, arguments: msgspec.Raw) -> None:
        """The same, without naming the place, and without a look into texts that may be anything."""
        glance = self._checks.glance(bytes(self.tool.input_schema or b""))
        members = {"": arguments} if glance is None else glance.members(arguments)
        if members is None:
            raise self._violation(_UNFIT)
        self._bound([bytes(member) for member in members.values()])
        value = {name: _decode(member) for name, member in members.items()}
        if not validator.is_valid(value[""] if glance is None else value):
            raise self._violation(_UNFIT)

    def _bound(self, parts: list[bytes]) -> None:
        if (
            sum(part.count(b"[") + part.count(b"{") for part in parts) > MAX_CONTAINERS
            and sum(containers(part) for part in parts) > MAX_CONTAINERS
        ):
            raise self._violation(f"expected at most {MAX_CONTAINERS} arrays and objects in them")

    def _violation(self, what: str) -> SchemaViolation:
        name = self.tool.name
        return SchemaViolation(f"arguments of {name!r}: {what}", data={"tool": name})

    def _refuse(self, validator: Any, value: Any) -> None:
        for error in validator.iter_errors(value):
            path = error.instance_path
            place = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in path)
            raise SchemaViolation(
                f"arguments{_cut(place)} of {self.tool.name!r}: {_cut(error.message)}",
                data={"path": [_cut(str(one)) for one in path], "tool": self.tool.name},
            )


class SchemaChecks:
    """Validators by schema text. A schema that cannot be compiled is named once and not enforced."""

    def __init__(self) -> None:
        self._validators: dict[bytes, Any] = {}
        self._glances: dict[bytes, Glance | None] = {}
        self.unusable: dict[str, str] = {}
        """Tools whose schema is not enforced, and why."""

    def of(self, agent: str, catalog: Catalog) -> dict[str, ToolCheck]:
        """A check for each tool of an agent, by the tool's name."""
        return {tool.name: ToolCheck(tool, agent, self) for tool in catalog.tools}

    def validator(self, name: str, text: bytes) -> Any:
        """The compiled form of a schema; None if it cannot be compiled."""
        if text in self._validators:
            return self._validators[text]
        try:
            validator = _compiled(text)
        except Exception as error:
            # somebody else's schema: whatever is wrong with it, calls go on without it
            logger.warning("the input schema of %s is not enforced: %s", name, error)
            if len(self.unusable) < MAX_KNOWN:
                self.unusable[name] = _cut(str(error))
            validator = None
        if len(self._validators) >= MAX_KNOWN:
            self._validators.clear()
        self._validators[text] = validator
        return validator

    def glance(self, text: bytes) -> Glance | None:
        """What can be told of large arguments at a glance, by a schema that could be compiled."""
        if text not in self._glances:
            if len(self._glances) >= MAX_KNOWN:
                self._glances.clear()
            self._glances[text] = glance_at(_decode(text))
        return self._glances[text]


def _compiled(text: bytes) -> Any:
    import jsonschema_rs

    if len(text) > MAX_SCHEMA:
        raise ValueError(f"it has more than {MAX_SCHEMA} bytes")
    schema = _decode(text)
    if expansion(schema) > MAX_EXPANSION:
        raise ValueError(f"it holds one value against more than {MAX_EXPANSION} schemas")
    return jsonschema_rs.validator_for(
        schema,
        retriever=_refuse_to_fetch,
        pattern_options=jsonschema_rs.RegexOptions(),  # linear time: none runs for ever
    )


def _refuse_to_fetch(uri: str) -> Any:
    raise ValueError(f"a schema may not refer to {uri[:200]!r}: nothing outside it is fetched")


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_MESSAGE else text[:_MAX_MESSAGE] + "…"
