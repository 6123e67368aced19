"""The tree of errors, and the code each has on the wire.

    FlowError
    ├── AssemblyError            the plan cannot be built (see also flowcore.config.ConfigError)
    │   └── PluginError          a plugin broke a rule: it claims a taken name, it misspells a hook
    ├── RoutingError             what a router is made of cannot do what it was asked
    │   ├── EmbeddingFailed      no vector for a text; also an AgentUnavailable, so that callers hear why
    │   ├── WrongVector          a vector that an index cannot take
    │   ├── WrongLesson          a lesson from which nothing can be learned
    │   ├── OtherSpace           what is saved was made by another embedder, or for another metric
    │   └── DamagedState         what is saved cannot be read
    ├── StorageError             what must not be forgotten cannot be kept, or cannot be trusted
    │   ├── StorageFull          the disk is full: nothing was written, and there may be room later
    │   ├── StorageFailed        the disk failed: nothing more is written until a person has looked
    │   ├── UntrustedFile        a file that is damaged, or another one than it should be
    │   └── TooOld               what is asked for goes further back than what is kept
    ├── SwarmError               another node cannot be spoken to
    │   ├── LinkFailed           no link to an address: nobody there, or not who it should be
    │   ├── StreamBroken         a stream has ended before it had said all
    │   └── Unreachable          no way leads to a node now; nothing has begun there
    └── CallError                one request's typed outcome; crosses the wire as code, message, data
        ├── InvalidRequest       -32600  the request is not well formed
        ├── UnknownMethod        -32601
        ├── InvalidArguments     -32602  a parameter is missing or of the wrong form
        │   ├── SchemaViolation  -32602  the arguments do not fit the tool's schema
        │   ├── TooLarge         -32602  larger than anything of its kind may be
        │   └── UnknownTarget    -32602  no such tool, prompt, resource or agent
        ├── InternalError        -32603  a fault of ours; says nothing of its inside
        ├── Overloaded           -31050  a queue is full; `retry_after` seconds
        ├── DeadlineExceeded     -31051
        ├── CallCancelled        -31052
        ├── AgentUnavailable     -31053  failed, paused, draining or stopped; never began
        ├── OutcomeUnknown       -31054  the worker was lost while it ran: it may have happened
        ├── IdempotencyConflict  -31055  this key came with another payload before
        ├── StillRunning         -31056  this key is being worked on
        ├── Unauthenticated      -31057
        ├── PermissionDenied     -31058
        ├── UpstreamFailure      -31059  an upstream broke its protocol
        ├── QuotaExceeded        -31060  there is no more room for what is kept
        ├── VersionConflict      -31061  it has changed since: `data.version` says to what
        ├── SessionExpired       -31062  a session, or its answer, is not known any more
        ├── StateUnavailable     -31063  the hard state takes no commands now; never began
        ├── OtherEmbedder        -31064  what is kept was embedded by another embedder: embed it anew
        └── UpstreamError        (its own code)  an upstream's own JSON-RPC error, passed on as it was

-32700 to -32600 follow JSON-RPC 2.0 section 5.1; -31050 to -31069 are flowcore's. MCP 2026-07-28 (basic,
error codes) keeps -32020 to -32099 to itself and asks for codes outside -32768 to -32000.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, TypeVar


class FlowError(Exception):
    """The root of everything flowcore raises on purpose."""


class AssemblyError(FlowError):
    """The plan cannot be built or opened."""


class PluginError(AssemblyError):
    """A plugin broke a rule of the plugin interface."""


class RoutingError(FlowError):
    """What a router is made of cannot do what it was asked."""


class WrongVector(RoutingError):
    """A vector of other dimensions, with a value that is not finite, or of no length where it needs one."""


class WrongLesson(RoutingError):
    """A lesson without an expert, or with a reward, propensity or weight that cannot be."""


class OtherSpace(RoutingError):
    """What is saved was made by another embedder, or for another metric."""


class DamagedState(RoutingError):
    """What is saved cannot be read, and nothing of it was taken over."""


class StorageError(FlowError):
    """What must not be forgotten cannot be kept, or what was kept cannot be trusted."""


class StorageFull(StorageError):
    """There is no room on the disk. Nothing was written; it may be tried again when there is."""


class StorageFailed(StorageError):
    """The disk failed. Whether the last writing is there nobody knows; nothing more is written."""


class UntrustedFile(StorageError):
    """A file is damaged, of a newer version, or not the one that belongs here; nothing of it was used."""


class TooOld(StorageError):
    """What is asked for goes further back than what is kept: begin anew."""


class SwarmError(FlowError):
    """Another node cannot be spoken to."""


class LinkFailed(SwarmError):
    """No link to an address: nobody is there, or it is not who it should be."""


class StreamBroken(SwarmError):
    """A stream to another node has ended before it had said all: what it was for may have happened.

    Unless it is `unserved`: then nobody has begun with it, and nobody will.
    """

    def __init__(self, message: str, *, unserved: bool = False) -> None:
        super().__init__(message)
        self.unserved = unserved


class Unreachable(SwarmError):
    """No way leads to a node now; nothing has begun there."""


class CallError(FlowError):
    """One request's typed outcome other than a result.

    `message` is for a person, `data` (JSON-able) for a program. `began` tells whether the work may have
    begun: only a call that never began is safe to repeat without knowing the tool. `http_status` is
    what an HTTP face answers where its protocol maps errors to statuses.
    """

    code: ClassVar[int] = -32603
    http_status: ClassVar[int] = 500
    began: bool = False

    def __init__(
        self,
        message: str,
        *,
        data: Any = None,
        retry_after: float | None = None,
        began: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.data = data
        self.retry_after = retry_after
        if began is not None:
            self.began = began

    @property
    def wire_code(self) -> int:
        """The JSON-RPC error code."""
        return self.code

    def wire(self) -> dict[str, Any]:
        """The JSON-RPC error object: code, message, and data where there is any."""
        error: dict[str, Any] = {"code": self.wire_code, "message": self.message}
        if self.retry_after is not None:
            extra = self.data if isinstance(self.data, dict) else {}
            error["data"] = {**extra, "retryAfter": math.ceil(1000 * self.retry_after) / 1000}
        elif self.data is not None:
            error["data"] = self.data
        return error


class InvalidRequest(CallError):
    code = -32600
    http_status = 400


class UnknownMethod(CallError):
    code = -32601
    http_status = 404


class InvalidArguments(CallError):
    code = -32602
    http_status = 400


class SchemaViolation(InvalidArguments):
    pass


class UnknownTarget(InvalidArguments):
    pass


class TooLarge(InvalidArguments):
    http_status = 413


class InternalError(CallError):
    code = -32603
    http_status = 500
    began = True


class Overloaded(CallError):
    code = -31050
    http_status = 429


class DeadlineExceeded(CallError):
    code = -31051
    http_status = 504
    began = True


class CallCancelled(CallError):
    code = -31052
    http_status = 499
    began = True


class AgentUnavailable(CallError):
    code = -31053
    http_status = 503


class EmbeddingFailed(RoutingError, AgentUnavailable):
    """There is no vector for a text: nothing that goes by meaning can be answered, and nothing began."""


class OutcomeUnknown(CallError):
    code = -31054
    http_status = 502
    began = True


class IdempotencyConflict(CallError):
    code = -31055
    http_status = 422


class StillRunning(CallError):
    code = -31056
    http_status = 409


class Unauthenticated(CallError):
    code = -31057
    http_status = 401


class PermissionDenied(CallError):
    code = -31058
    http_status = 403


class UpstreamFailure(CallError):
    code = -31059
    http_status = 502
    began = True


class QuotaExceeded(CallError):
    code = -31060
    http_status = 507


class VersionConflict(CallError):
    code = -31061
    http_status = 409


class SessionExpired(CallError):
    code = -31062
    http_status = 409


class StateUnavailable(CallError):
    code = -31063
    http_status = 503


class OtherEmbedder(CallError):
    code = -31064
    http_status = 409


class UpstreamError(CallError):
    """An upstream's own JSON-RPC error: its code, message and data are passed on unchanged."""

    http_status = 200
    began = True

    def __init__(self, message: str, *, code: int, data: Any = None) -> None:
        super().__init__(message, data=data)
        self._upstream_code = code

    @property
    def wire_code(self) -> int:
        return self._upstream_code


CallErrorT = TypeVar("CallErrorT", bound=CallError)


def fresh(error: CallErrorT) -> CallErrorT:
    """The same error as if it were new: to keep it, or to raise it again, without its tracebacks and causes
    (which hold on to every frame they passed)."""
    made: CallErrorT = type(error).__new__(type(error))
    made.args = error.args
    made.__dict__.update(error.__dict__)
    return made
