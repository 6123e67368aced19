"""What can be set of an upstream MCP server."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping
from typing import Literal

import attrs

from flowcore.config import Duration, Secret, Size, setting
from flowcore.config import validators as v
from flowcore.http import ClientTlsSettings, split_url

Question = Literal["elicitation", "sampling", "roots"]
Protocol = Literal["auto", "2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"]

_OURS = frozenset(
    {
        "accept",
        "connection",
        "content-length",
        "content-type",
        "host",
        "last-event-id",
        "mcp-method",
        "mcp-name",
        "mcp-protocol-version",
        "mcp-session-id",
        "te",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that belong to the protocol."""

_SECRET = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})
"""Headers whose values are secrets, whatever they look like."""

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")


PORT = "{port}"
"""In `command`, `env` and `url`: a free port, another one for each worker."""


def _is_url(url: str) -> None:
    split_url(url.replace(PORT, "1"))


def _are_headers(headers: Mapping[str, str | Secret]) -> None:
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"expected the name of a header, not {name!r}")
        if name.lower() in _OURS or name.lower().startswith("mcp-param-"):
            raise ValueError(f"the header {name!r} is written by the protocol itself")
        if isinstance(value, str) and name.lower() in _SECRET:
            raise ValueError(
                f'expected the header {name!r} as a secret: {{ env = "VARIABLE" }} or {{ file = "path" }}'
            )
        if not _VALUE.fullmatch(value if isinstance(value, str) else value.reveal()):
            raise ValueError(f"expected visible ASCII as the value of the header {name!r}")


@attrs.frozen(kw_only=True)
class McpSettings:
    """An upstream MCP server: give `command` (stdio), `url` (HTTP) or both (started here, then HTTP)."""

    command: tuple[str, ...] = setting(
        (),
        help='the server\'s program and its arguments, spoken to over stdio; a first word "python" means the '
        "interpreter that flowserve runs on",
    )
    env: dict[str, str | Secret] = setting(
        factory=dict,
        help="environment variables of the program besides HOME, PATH, USER and the like, "
        "which are the only ones it inherits",
    )
    cwd: pathlib.Path | None = setting(
        None, help="the program's working directory; unset: flowserve's own"
    )
    url: str | None = setting(
        None,
        validator=_is_url,
        help="the server's endpoint, spoken to over Streamable HTTP; beside `command`: that of the server "
        "that the command starts, where {port} in both is a free port, another one for each worker",
    )
    headers: dict[str, str | Secret] = setting(
        factory=dict, validator=_are_headers, help="HTTP headers of every request to `url`"
    )
    tls: ClientTlsSettings | None = setting(
        None, help="TLS 1.3 towards an https `url`; unset: believed are the system's CAs"
    )
    protocol: Protocol = setting(
        "auto",
        help="the protocol version to speak; auto: 2026-07-28 if the server knows it, and beside it "
        "a version with a handshake for clients that shook hands and can be asked; else the newest "
        "version with a handshake that it does know",
    )
    questions: tuple[Question, ...] = setting(
        ("elicitation", "sampling", "roots"),
        help="what the server may ask of the clients that call it",
    )
    roots: tuple[str, ...] = setting(
        (),
        help="file:// URIs that the server is told when it asks for roots; "
        "unset: those of the client that calls it",
    )
    logs: Literal["owner", "everyone"] = setting(
        "owner",
        help="who is told a log message that may be of several calls, as on stdio: with owner nobody, unless "
        "all of them are of one principal (without authentication: of one session); with everyone all that "
        "listen, which is for servers that never log what a call was about",
    )
    linger: Duration = setting(
        30.0,
        validator=v.ge(0),
        help="how long a call that has ended may still be what the server logs, or asks, about",
    )
    refresh: Duration | None = setting(
        None,
        validator=v.gt(0),
        help="how often to list anew what the server offers, if it does not announce changes",
    )
    probe_timeout: Duration = setting(
        3.0,
        validator=v.gt(0),
        help="how long the server may take to say whether it knows 2026-07-28, before it is greeted the "
        "older way",
    )
    list_timeout: Duration = setting(
        20.0, validator=v.gt(0), help="how long it may take to list all that the server offers"
    )
    most_entries: int = setting(
        10_000,
        validator=v.ge(1),
        help="most tools, resources, templates and prompts that are listed, each",
    )
    most_listed: Size = setting(
        64 << 20, validator=v.ge(1 << 10), help="most bytes of a list, all pages together"
    )
    message: Size = setting(
        16 << 20, validator=v.ge(1 << 10), help="longest message taken from the server"
    )
    connect_timeout: Duration = setting(
        5.0, validator=v.gt(0), help="how long it may take to connect to `url`"
    )

    def environment(self) -> dict[str, str]:
        """`env` with its secrets revealed, for the process alone."""
        return {
            name: value.reveal() if isinstance(value, Secret) else value
            for name, value in self.env.items()
        }

    def on_port(self, number: int) -> McpSettings:
        """The same with this port wherever `{port}` stands."""

        def put(text: str) -> str:
            return text.replace(PORT, str(number))

        return attrs.evolve(
            self,
            command=tuple(map(put, self.command)),
            env={k: put(v) if isinstance(v, str) else v for k, v in self.env.items()},
            url=None if self.url is None else put(self.url),
        )

    def claims(self) -> tuple[str, ...]:
        """What each worker takes for itself: the port of a server that it starts, if that is a fixed one."""
        if not self.command or self.url is None or PORT in self.url:
            return ()
        origin, _ = split_url(self.url)
        return (f"tcp {origin.host}:{origin.port}",)

    def __attrs_post_init__(self) -> None:
        if not self.command and self.url is None:
            raise ValueError("expected `command`, `url` or both")
        if self.tls is not None and not (self.url or "").lower().startswith("https:"):
            raise ValueError("expected `tls` only beside an https `url`")
        if self.url is None and self.headers:
            raise ValueError("expected `headers` only beside `url`")
        if not self.command and (self.env or self.cwd is not None):
            raise ValueError("expected `env` and `cwd` only beside `command`")
        if self.url is not None and PORT in self.url:
            values = [value for value in self.env.values() if isinstance(value, str)]
            if not any(PORT in word for word in (*self.command, *values)):
                raise ValueError(
                    "expected {port} in `command` or `env`, too, as it stands in `url`"
                )
        for root in self.roots:
            if not root.startswith("file://"):
                raise ValueError(f"expected roots as file:// URIs, not {root!r}")
