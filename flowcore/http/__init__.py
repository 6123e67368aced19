"""HTTP/1.1 on trio: a strict server, a pooled client, server-sent events."""

from flowcore.http.client import (
    BodyTooLarge,
    Client,
    ClientResponse,
    ClientStream,
    ConnectFailed,
    HttpError,
    ProtocolFailure,
    open_client,
    split_url,
)
from flowcore.http.fields import HeaderMap
from flowcore.http.limits import Limits
from flowcore.http.messages import Handler, Request, Response, Send, Stream, Tls
from flowcore.http.server import CannotListen, Server, open_http_server
from flowcore.http.sse import EventTooLarge, ServerEvent, SseDecoder, encode_event
from flowcore.http.state import ServerStatistics

__all__ = [
    "BodyTooLarge",
    "CannotListen",
    "Client",
    "ClientResponse",
    "ClientStream",
    "ConnectFailed",
    "EventTooLarge",
    "Handler",
    "HeaderMap",
    "HttpError",
    "Limits",
    "ProtocolFailure",
    "Request",
    "Response",
    "Send",
    "Server",
    "ServerEvent",
    "ServerStatistics",
    "SseDecoder",
    "Stream",
    "Tls",
    "encode_event",
    "open_client",
    "open_http_server",
    "split_url",
]
