"""What can be set of an MCP edge."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Literal

import attrs

from flowcore.config import Address, Duration, Size, setting
from flowcore.config import validators as v
from flowcore.http import Limits, TlsSettings


@attrs.frozen(kw_only=True)
class ReplaySettings:
    """Streams of sessions that clients can go on with after their connection broke (`Last-Event-ID`)."""

    messages: int = setting(
        100,
        validator=v.ge(0),
        help="most messages of a stream kept to be sent again. 0: a broken stream is over",
    )
    size: Size = setting(
        16 * 2**20,
        validator=v.ge(0),
        help="most bytes kept to be sent again, of all streams together",
    )
    within: Duration = setting(
        30.0,
        validator=v.ge(0),
        help="how long a call whose stream broke goes on before it is cancelled",
    )
    retry: Duration = setting(
        1.0, validator=v.gt(0), help="how long a client is asked to wait before it comes back"
    )


@attrs.frozen(kw_only=True)
class SessionSettings:
    """Sessions of clients that shake hands (versions up to 2025-11-25)."""

    max: int = setting(
        10_000,
        validator=v.ge(0),
        help="most sessions at a time; beyond it the one idle for longest ends. 0: no sessions",
    )
    idle_timeout: Duration = setting(
        1800.0, validator=v.gt(0), help="how long a session may be idle before it ends"
    )
    replay: ReplaySettings = setting(
        factory=ReplaySettings, help="what a client can have again whose connection broke"
    )


@attrs.frozen(kw_only=True)
class LimitSettings:
    """What one client may not exceed."""

    nesting: int = setting(
        128, validator=v.in_range(8, 500), help="how deeply a message's JSON may be nested"
    )
    values: int = setting(
        100_000,
        validator=v.ge(100),
        help="most values in a message and names they have, by its commas, colons and opening brackets"
        " (those in texts do not count)",
    )
    escapes: int = setting(
        2_500_000,
        validator=v.ge(1000),
        help="most escapes in a message's texts, by its backslashes",
    )
    batch: int = setting(
        100, validator=v.ge(1), help="most messages in a batch (version 2025-03-26 only)"
    )
    streams: int = setting(
        1000, validator=v.ge(1), help="most streams of change notifications open at a time"
    )
    backlog: int = setting(
        1000,
        validator=v.ge(1),
        help="most notifications that wait for one slow reader; further ones are dropped",
    )
    subscriptions: int = setting(
        1000, validator=v.ge(0), help="most resources that one session or stream is told about"
    )
    parked: int = setting(
        1000, validator=v.ge(0), help="most calls that wait for a client's retry with its input"
    )


@attrs.frozen(kw_only=True)
class ServiceSettings:
    """What is the same over HTTP and stdio."""

    title: str = setting("flowcore", help="the name that clients show for this server")
    instructions: str = setting("", help="a text that tells a model how to use this server")
    deadline: Duration = setting(
        300.0,
        validator=v.gt(0),
        help="how long a request may take at most, whatever its agent allows",
    )
    input_timeout: Duration = setting(
        600.0,
        validator=v.gt(0),
        help="how long a call waits for an answer to what it asked of the client",
    )
    task_after: Duration = setting(
        10.0,
        validator=v.ge(0),
        help="how long a call may take before it goes on as a task, for clients that know tasks",
    )
    expose: Literal["all", "search"] = setting(
        "all",
        help="what clients are shown: all tools, or only those by which they find, call and remember"
        " (`find_tools`, `call_tool`, `memory.*`), which asks for a `[router]`",
    )
    page_size: int = setting(
        5000, validator=v.ge(1), help="entries in a page of a list; longer lists get a cursor"
    )
    list_ttl: Duration = setting(
        5.0, validator=v.ge(0), help="how long a client may take a list for fresh"
    )
    limits: LimitSettings = setting(factory=LimitSettings, help="what no client may exceed")


@attrs.frozen(kw_only=True)
class McpSettings(ServiceSettings):
    """An MCP endpoint over Streamable HTTP."""

    bind: Address = setting(Address("127.0.0.1", 7300), help="the address to listen on")
    path: str = setting(
        "/mcp", validator=v.matches(r"/[A-Za-z0-9._~/-]*"), help="the endpoint's path"
    )
    public_url: str = setting(
        "",
        validator=v.matches(r"(https?://[^\s/?#@]+(/[^\s?#]*)?)?"),
        help="the URL under which clients reach this endpoint, if it is another than that of `bind` and"
        " `path`: tokens must be meant for it",
    )
    allowed_hosts: tuple[str, ...] = setting(
        (), help="further host names under which clients reach this endpoint"
    )
    allowed_origins: tuple[str, ...] = setting(
        (), help="web origins, such as https://app.example, whose pages may call this endpoint"
    )
    sessions: SessionSettings = setting(factory=SessionSettings, help="sessions of older clients")
    tls: TlsSettings | None = setting(None, help="TLS 1.3; unset: plain HTTP")
    http: Limits = setting(factory=Limits, help="what the HTTP server takes, and how long it waits")
    drain: Duration = setting(
        10.0, validator=v.ge(0), help="how long requests may go on when the edge closes"
    )
    keep_alive: Duration = setting(
        15.0, validator=v.gt(0), help="how often a quiet stream shows that it is alive"
    )


@attrs.frozen(kw_only=True)
class StdioSettings(ServiceSettings):
    """An MCP server on flowserve's own standard input and output."""

    line: Size = setting(16 * 2**20, validator=v.ge(1024), help="longest message, in bytes")
    calls: int = setting(
        1000, validator=v.ge(1), help="most requests at a time; further ones are refused"
    )
    settle: Duration = setting(
        5.0,
        validator=v.ge(0),
        help="how long the first requests wait at most for agents that are still starting",
    )
    drain: Duration = setting(
        2.0, validator=v.ge(0), help="how long requests may go on after the end of the input"
    )
    stop_at_end: bool = setting(
        True, help="whether flowserve stops when its standard input has ended"
    )


def mentions(config: ServiceSettings) -> Iterator[tuple[str, str]]:
    """What these settings speak of that must be there."""
    if config.expose == "search":
        yield "router", "router"


def is_loopback(host: str) -> bool:
    """Whether an address reaches this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
