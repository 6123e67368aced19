"""One tool of an HTTP agent: its settings, its definition, and the request it makes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal

import attrs

from flow_agents.http.templates import (
    MISSING,
    Text,
    body_names,
    compile_body,
    encode_query,
    fill_body,
    fill_path,
    fill_query,
    parameters,
    parse,
)
from flowcore.config import Secret, setting
from flowcore.config import validators as v
from flowcore.errors import InvalidArguments

WITH_BODY = ("POST", "PUT", "PATCH")
SECRET_HEADERS = frozenset(
    {"authorization", "proxy-authorization", "cookie", "x-api-key", "api-key"}
)
OUR_HEADERS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "upgrade", "te"}
)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def check_headers(headers: Mapping[str, str | Secret]) -> bool:
    """A validator: names and values that can be headers, and no secret in clear."""
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"expected the name of a header, not {name!r}")
        if name.lower() in OUR_HEADERS:
            raise ValueError(f"the header {name!r} is flowcore's own to set")
        if name.lower() in SECRET_HEADERS and not isinstance(value, Secret):
            raise ValueError(
                f'the header {name!r} is a secret: expected {{ env = "VARIABLE" }} or {{ file = "path" }}'
            )
        text = value.reveal() if isinstance(value, Secret) else value
        if not text.isprintable() or not text.isascii():
            raise ValueError(f"the value of the header {name!r} is not printable ASCII")
    return True


HEADERS = v.Check(check_headers, "headers")


@attrs.frozen(kw_only=True)
class HttpTool:
    """A request that can be made, as a tool."""

    description: str = setting("", help="what it does, for whoever chooses among tools")
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = setting(
        "GET", help="the request's method"
    )
    path: str = setting(
        "", help='appended to the url; "{name}" is an argument, percent-encoded: "/users/{id}"'
    )
    query: dict[str, str | Secret] | None = setting(
        None,
        help='the query\'s parameters: "{name}" is an argument, left out where it is not given; unset:'
        " without a body, every argument that is not in the path",
    )
    body: Any = setting(
        None,
        help='the body, any value: a text "{name}" in it becomes the argument\'s JSON value; unset: POST,'
        " PUT and PATCH send an object of every argument that is not in path or query",
    )
    encoding: Literal["json", "form"] = setting("json", help="how the body is written")
    headers: dict[str, str | Secret] = setting(
        factory=dict,
        validator=HEADERS,
        help='headers besides those of the agent: "{name}" is an argument, a header left out where it is'
        " not given",
    )
    input: dict[str, Any] | None = setting(
        None, help="JSON schema of the arguments; unset: those in the templates, of any type"
    )
    read_only: bool | None = setting(
        None, help="whether it changes nothing, and may be repeated; unset: GET does not"
    )
    idempotent: bool | None = setting(
        None, help="whether once is as good as twice; unset: for GET, PUT and DELETE it is"
    )

    def __attrs_post_init__(self) -> None:
        compile_tool("", self)


@attrs.frozen(kw_only=True)
class CompiledTool:
    """A tool, ready to make requests."""

    name: str
    settings: HttpTool
    path: Text
    query: Mapping[str, Text] | None
    body: Any
    fixed: Mapping[str, str | Secret]
    """Headers that are the same in every request."""
    varying: Mapping[str, Text]
    """Headers that hold arguments."""
    schema: Mapping[str, Any]
    read_only: bool
    idempotent: bool

    def definition(self) -> bytes:
        """The tool as clients see it, in JSON."""
        hints = {"readOnlyHint": self.read_only, "idempotentHint": self.idempotent}
        definition: dict[str, Any] = {"name": self.name, "inputSchema": self.schema}
        if self.settings.description:
            definition["description"] = self.settings.description
        return json.dumps({**definition, "annotations": hints}).encode()

    def target(self, arguments: Mapping[str, Any]) -> str:
        """Path and query of a request. Raises InvalidArguments."""
        path = fill_path(self.path, arguments)
        if self.query is not None:
            query = encode_query(fill_query(self.query, arguments))
        elif self.settings.method in WITH_BODY or self.body is not None:
            query = ""
        else:
            rest = self._besides(arguments, self.path.names | _names(self.varying))
            query = encode_query(
                pair for name, value in rest.items() for pair in parameters(name, value)
            )
        return f"{path}?{query}" if query else path

    def content(self, arguments: Mapping[str, Any]) -> tuple[bytes, bytes] | None:
        """Type and bytes of a request's body; None if it has none. Raises InvalidArguments."""
        if self.body is not None:
            value = fill_body(self.body, arguments)
        elif self.settings.method in WITH_BODY:
            used = self.path.names | _names(self.query or {}) | _names(self.varying)
            value = self._besides(arguments, used)
        else:
            return None
        if value is MISSING:
            return None
        if self.settings.encoding == "form":
            form = encode_query(pair for name in value for pair in parameters(name, value[name]))
            return b"application/x-www-form-urlencoded", form.encode()
        return b"application/json", json.dumps(value).encode()

    def headers(self, arguments: Mapping[str, Any]) -> dict[bytes, bytes]:
        """The headers that hold arguments. Raises InvalidArguments for what a header cannot hold."""
        filled: dict[bytes, bytes] = {}
        for name, template in self.varying.items():
            value = template.fill(arguments)
            if value is MISSING:
                continue
            if not value.isascii() or not value.isprintable():
                raise InvalidArguments(f"the header {name!r} can hold printable ASCII only")
            filled[name.lower().encode()] = value.encode()
        return filled

    def _besides(self, arguments: Mapping[str, Any], used: frozenset[str]) -> dict[str, Any]:
        return {name: value for name, value in arguments.items() if name not in used}


def compile_tool(name: str, settings: HttpTool) -> CompiledTool:
    """A tool from its settings. Raises ValueError for what cannot be, or does not fit together."""
    if settings.path and not settings.path.startswith("/"):
        raise ValueError(f'expected a path that begins with "/", not {settings.path!r}')
    if "?" in settings.path or "#" in settings.path:
        raise ValueError("expected a path without a query, which has its own key")
    path = parse(settings.path)
    for part in path.parts:
        if isinstance(part, str) and not (
            part.isascii() and part.isprintable() and " " not in part
        ):
            raise ValueError(f"expected a path of visible ASCII, not {settings.path!r}")
    query = None
    if settings.query is not None:
        query = {
            key: Text((one.reveal(),)) if isinstance(one, Secret) else parse(one)
            for key, one in settings.query.items()
        }
    body = None if settings.body is None else compile_body(settings.body)
    if settings.body is not None and settings.method not in (*WITH_BODY, "DELETE"):
        raise ValueError(f"a {settings.method} request has no body")
    if settings.encoding == "form" and settings.body is not None and not isinstance(body, dict):
        raise ValueError("a form is a table")
    headers = {
        key: Text((one.reveal(),)) if isinstance(one, Secret) else parse(one)
        for key, one in settings.headers.items()
    }
    varying = {key: one for key, one in headers.items() if one.names}
    names = {
        "path": path.names,
        "query": _names(query or {}),
        "body": frozenset(body_names(body)),
        "headers": _names(varying),
    }
    schema = _derived(names) if settings.input is None else settings.input
    _check_schema(schema, names)
    safe = settings.method == "GET"
    return CompiledTool(
        name=name,
        settings=settings,
        path=path,
        query=query,
        body=body,
        fixed={
            key: one if isinstance(one, Secret) else headers[key].fill({})
            for key, one in settings.headers.items()
            if key not in varying
        },
        varying=varying,
        schema=schema,
        read_only=safe if settings.read_only is None else settings.read_only,
        idempotent=(settings.method in ("GET", "PUT", "DELETE"))
        if settings.idempotent is None
        else settings.idempotent,
    )


def _names(templates: Mapping[str, Text]) -> frozenset[str]:
    """The arguments in any of them."""
    return frozenset().union(*(one.names for one in templates.values()))


def _derived(names: Mapping[str, frozenset[str]]) -> dict[str, Any]:
    """A schema that knows the arguments' names only."""
    every = sorted(frozenset().union(*names.values()))
    schema: dict[str, Any] = {"type": "object", "properties": {name: {} for name in every}}
    if names["path"]:
        schema["required"] = sorted(names["path"])
    return schema


def _check_schema(schema: Mapping[str, Any], names: Mapping[str, frozenset[str]]) -> None:
    if schema.get("type") != "object":
        raise ValueError('input: expected a JSON schema with type = "object"')
    properties, required = schema.get("properties"), schema.get("required", [])
    for where, used in names.items():
        for name in sorted(used):
            if isinstance(properties, Mapping) and name not in properties:
                known = ", ".join(sorted(properties)) or "none"
                raise ValueError(f"{where}: {{{name}}} is no property of input (known: {known})")
            if where == "path" and name not in required:
                raise ValueError(f"path: {{{name}}} must be among the required properties of input")
