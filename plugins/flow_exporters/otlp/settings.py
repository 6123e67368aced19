"""The settings of `otlp`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import attrs

from flowcore.config import Secret, setting
from flowcore.config import validators as v
from flowcore.http import ClientTlsSettings, split_url

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_OURS = frozenset({"content-type", "content-length", "content-encoding", "host", "connection"})
_SECRET = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key", "api-key"})


def _check_url(url: str) -> bool:
    split_url(url)
    return "#" not in url and "?" not in url


def _check_headers(headers: Mapping[str, str | Secret]) -> bool:
    for name, value in headers.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"expected the name of a header, not {name!r}")
        if name.lower() in _OURS:
            raise ValueError(f"the header {name!r} is flowcore's own to set")
        if name.lower() in _SECRET and not isinstance(value, Secret):
            raise ValueError(
                f'the header {name!r} is a secret: expected {{ env = "VARIABLE" }} or {{ file = "path" }}'
            )
        said = value.reveal() if isinstance(value, Secret) else value
        if not said.isprintable() or not said.isascii():
            raise ValueError(f"the value of the header {name!r} is not printable ASCII")
    return True


@attrs.frozen(kw_only=True)
class OtlpConfig:
    """A collector that speaks OTLP, and what it is given."""

    endpoint: str = setting(
        "http://127.0.0.1:4318",
        validator=v.Check(_check_url, "an http or https URL without a query"),
        help="the collector; of `http`, what `/v1/traces`, `/v1/metrics` and `/v1/logs` are appended to",
    )
    protocol: Literal["http", "grpc"] = setting(
        "http", help="protobuf over HTTP, or gRPC, which needs the extra `grpc`"
    )
    signals: tuple[Literal["traces", "metrics", "logs"], ...] = setting(
        ("traces", "metrics"), validator=v.non_empty(), help="what the collector is given"
    )
    headers: dict[str, str | Secret] = setting(
        factory=dict,
        validator=v.Check(_check_headers, "headers"),
        help="sent with each request, such as a key",
    )
    compression: Literal["none", "gzip"] = setting("none", help="how requests are compressed")
    attributes: dict[str, str] = setting(
        factory=dict,
        help="said of this node besides `service.name`, `service.instance.id` and `service.version`, or in"
        ' their place, such as `"deployment.environment.name" = "test"`',
    )
    tls: ClientTlsSettings | None = setting(
        None, help="TLS 1.3 towards an https `endpoint`; unset: believed are the system's CAs"
    )

    def __attrs_post_init__(self) -> None:
        if self.tls is not None and not self.endpoint.lower().startswith("https:"):
            raise ValueError("expected `tls` only beside an https `endpoint`")
        more = self.tls is not None and (self.tls.cert or self.tls.server_name)
        if self.protocol == "grpc" and more:
            raise ValueError("expected of `tls` only `ca` where the protocol is grpc")
