"""OTLP over HTTP: a POST for each batch, on kept connections (OTLP specification, OTLP/HTTP)."""

from __future__ import annotations

import gzip
import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from time import time
from typing import Final

import trio

from flow_exporters.otlp.wire import rejected
from flowcore.http import Client, ClientResponse, ConnectFailed, HttpError
from flowcore.telemetry import ExportFailed, Signal

_AGAIN: Final = frozenset({429, 502, 503, 504})
"""What a collector answers that wants the same once more (OTLP specification, retryable response codes)."""
_SERVED: Final = "application/x-protobuf"


class OverHttp:
    """Brings requests to one collector."""

    def __init__(
        self, client: Client, endpoint: str, headers: Mapping[str, str], *, compressed: bool
    ) -> None:
        base = endpoint.rstrip("/")
        self._client = client
        self._urls: dict[Signal, str] = {
            "traces": f"{base}/v1/traces",
            "metrics": f"{base}/v1/metrics",
            "logs": f"{base}/v1/logs",
        }
        own = {"content-type": _SERVED, **({"content-encoding": "gzip"} if compressed else {})}
        self._headers = tuple(
            (name.lower().encode(), value.encode()) for name, value in {**headers, **own}.items()
        )
        self._compressed = compressed

    async def bring(self, signal: Signal, body: bytes | memoryview) -> None:
        """Send one request. Raises ExportFailed."""
        if self._compressed:
            body = await trio.to_thread.run_sync(gzip.compress, body, 1)
        try:
            # not idempotent: what a connection broke under may have arrived
            answer = await self._client.request(
                "POST", self._urls[signal], headers=self._headers, body=body, idempotent=False
            )
        except ConnectFailed as error:
            raise ExportFailed(str(error), again=True) from error
        except HttpError as error:
            raise ExportFailed(str(error)) from error
        judge(answer)


def judge(answer: ClientResponse) -> None:
    """Raises ExportFailed for an answer that is not wholly good."""
    status = answer.status
    if status in _AGAIN:
        wait = retry_after(answer.headers.get(b"retry-after"))
        raise ExportFailed(f"the collector answered {status}", again=True, retry_after=wait)
    if not 200 <= status < 300:
        raise ExportFailed(f"the collector answered {status}")
    try:
        lost, why = rejected(answer.body)
    except ValueError as error:
        raise ExportFailed(f"the collector answered {status} with no OTLP: {error}") from None
    if lost:
        raise ExportFailed(f"the collector did not take {lost}: {why[:200]}", lost=lost)


def retry_after(value: bytes | None) -> float | None:
    """The seconds that a Retry-After asks for (RFC 9110 section 10.2.3); None for what is none."""
    if value is None:
        return None
    said = value.decode("latin-1").strip()
    if said.isascii() and said.isdecimal() and len(said) < 10:
        return float(said)
    try:
        seconds = parsedate_to_datetime(said).timestamp() - time()
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
