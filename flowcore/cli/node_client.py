"""Asking a running node over its `api` edge, and making sure that a node is what answers."""

from __future__ import annotations

import http.client
import json
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

T = TypeVar("T")

FORM = "http://127.0.0.1:7301"


class Unreachable(Exception):
    """There is no node, or what answers is none."""


class Refused(Exception):
    """The node answered with an error."""

    def __init__(self, status: int, error: dict[str, Any]) -> None:
        super().__init__(str(error.get("message", f"HTTP {status}")))
        self.status = status
        self.error = error


class NodeClient:
    """Asks one node, one request a connection. Raises ValueError for a URL that cannot be one."""

    def __init__(self, url: str, timeout: float) -> None:
        try:
            parts = urlsplit(url if "//" in url else f"http://{url}")
            host, port = parts.hostname, parts.port or 80
        except ValueError:
            host, port = None, 0
        plain = host and parts.scheme == "http" and parts.path in ("", "/")
        if not host or not plain or parts.query or parts.fragment or parts.username is not None:
            raise ValueError(f"expected a URL such as {FORM}, not {url!r}")
        if not 0 < timeout < 1e9:
            raise ValueError(f"expected a timeout of more than 0 seconds, not {timeout:g}")
        self._url = url
        self._host, self._port = host, port
        self._timeout = timeout

    def get(self, path: str, of: type[T]) -> tuple[Any, T]:
        """GET a path: the answer as plain data, and what of it is used, checked."""
        return self._ask("GET", path, None, of)

    def post(self, path: str, body: dict[str, Any], of: type[T]) -> tuple[Any, T]:
        """POST a path, likewise. Raises Refused unless it succeeded."""
        return self._ask("POST", path, body, of)

    def _ask(
        self, method: str, path: str, body: dict[str, Any] | None, of: type[T]
    ) -> tuple[Any, T]:
        status, content = self._exchange(method, path, body)
        try:
            answer = json.loads(content)
            if status < 300:
                return answer, msgspec.convert(answer, of)
            error = msgspec.convert(answer, Failure).error
        except (ValueError, RecursionError, msgspec.ValidationError):
            raise Unreachable(f"what answers at {self._url} is no api edge of a node") from None
        if status == 404 and path.count("/") == 1:  # a path that every node has
            raise Unreachable(f"what answers at {self._url} is no api edge of a node")
        raise Refused(status, error)

    def _exchange(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        try:
            data = None if body is None else json.dumps(body)
            headers = {} if body is None else {"content-type": "application/json"}
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except TimeoutError:
            raise Unreachable(f"{self._url} did not answer within {self._timeout:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise Unreachable(f"no node at {self._url}: {reason}") from None
        finally:
            connection.close()


class Failure(msgspec.Struct):
    """An answer that is a refusal."""

    error: dict[str, Any]
