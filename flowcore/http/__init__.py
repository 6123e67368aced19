"""HTTP/1.1 on trio: a strict server, a pooled client, server-sent events."""

from flowcore.http.answers import ClientResponse, ClientStream
from flowcore.http.client import Client, open_client
from flowcore.http.failures import BodyTooLarge, ConnectFailed, HttpError, ProtocolFailure
from flowcore.http.fields import HeaderMap
from flowcore.http.forwarded import NETWORKS, Forwarding
from flowcore.http.limits import Limits
from flowcore.http.measures import measure_server
from flowcore.http.messages import Handler, Hopeless, Request, Response, Send, Stream, Tls
from flowcore.http.server import Admits, CannotListen, Server, open_http_server
from flowcore.http.sse import EventTooLarge, ServerEvent, SseDecoder, encode_event
from flowcore.http.state import ServerStatistics
from flowcore.http.tls import (
    Certificates,
    ClientCertificates,
    ClientTlsSettings,
    TlsSettings,
    client_context,
)
from flowcore.http.url import split_url

__all__ = [
    "NETWORKS",
    "Admits",
    "BodyTooLarge",
    "CannotListen",
    "Certificates",
    "Client",
    "ClientCertificates",
    "ClientResponse",
    "ClientStream",
    "ClientTlsSettings",
    "ConnectFailed",
    "EventTooLarge",
    "Forwarding",
    "Handler",
    "HeaderMap",
    "Hopeless",
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
    "TlsSettings",
    "client_context",
    "encode_event",
    "measure_server",
    "open_client",
    "open_http_server",
    "split_url",
]
