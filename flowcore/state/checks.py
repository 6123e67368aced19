"""What a command must be like to stand in the log: asked by who proposes it, and again by who applies it."""

from __future__ import annotations

import math
import re
import sys
from array import array
from collections.abc import Sized

import msgspec

from flowcore.errors import InvalidArguments, TooLarge
from flowcore.state import limits
from flowcore.state.commands import (
    CloseSession,
    Command,
    Feedback,
    GiveFeedback,
    OpenSession,
    PutPattern,
    PutPatterns,
    Reembed,
    ReembedFeedback,
    RemovePatterns,
    Retrain,
    SetLimits,
    Tidy,
    Touch,
)
from flowcore.state.results import too_large
from flowcore.state.work import (
    AcquireLease,
    CancelTask,
    ClaimTask,
    DeclareLost,
    EndTask,
    ProgressTask,
    Reinstate,
    ReleaseLease,
    RenewClaims,
    RenewLease,
    ReserveKey,
    Revoke,
    SettleKey,
    SetWorkLimits,
    SubmitTask,
    WorkCommand,
    WorkLimits,
)

_NAMESPACE = re.compile(r"[^\x00-\x1f\x7f]+")
_LEAST, _MOST = -(2**63), 2**63 - 1


def check(command: Command) -> None:
    """Raises InvalidArguments, TooLarge, with what is wrong; nothing for a command that can be applied."""
    match command:
        case PutPatterns():
            _some(command.patterns, "patterns")
            for pattern in command.patterns:
                _pattern(pattern)
        case RemovePatterns():
            _some((*command.ids, *command.keys), "ids or keys")
            if command.keys or command.namespace:
                _namespace(command.namespace)
            _ids(command.ids)
            for key in command.keys:
                _text("a key", key, limits.KEY_SIZE)
        case Touch():
            _some(command.ids, "ids")
            _ids(command.ids)
        case GiveFeedback():
            _some(command.lessons, "lessons")
            for lesson in command.lessons:
                _lesson(lesson)
        case ReembedFeedback():
            _some(command.items, "lessons")
            _ids(tuple(one[0] for one in command.items))
            _text("the embedder", command.embedder, limits.NAME_SIZE)
            for _, vector in command.items:
                _vector(vector, command.embedder)
        case Reembed():
            _some(command.items, "patterns")
            _ids(tuple(one[0] for one in command.items))
            _text("the embedder", command.embedder, limits.NAME_SIZE)
            for _, _, vector in command.items:
                _vector(vector, command.embedder)
        case OpenSession():
            _text("the client", command.client, limits.NAME_SIZE)
        case CloseSession():
            _ids((command.session,))
        case SetLimits():
            _limits(command.limits)
        case Retrain() | Tidy():
            pass
        case _:
            _work(command)


def _limits(made: limits.Limits | WorkLimits) -> None:
    for name in made.__struct_fields__:
        value = getattr(made, name)
        if not (math.isfinite(value) and 0 <= value <= _MOST):
            raise InvalidArguments(f"the limit {name!r} is {value!r}, expected at least 0")


def _work(command: WorkCommand) -> None:
    match command:
        case SubmitTask():
            _name("the id of a task", command.id)
            _name("the queue", command.queue)
            _owner(command.owner)
            _bytes("the payload of a task", command.payload)
            if command.ttl is not None:
                _number("ttl", command.ttl, 0, 1e11)
            _number("attempts", command.attempts, 0, 1e9)
            if command.holder:
                _holds(command.holder, command.seconds)
        case RenewClaims():
            _holds(command.holder, command.seconds)
        case ClaimTask():
            _name("the queue", command.queue)
            _holds(command.holder, command.seconds)
        case ProgressTask():
            _name("the id of a task", command.id)
            _ids((command.fence,))
            _number("seconds", command.seconds, 0, 1e9)
            _bytes("the progress of a task", command.progress or b"")
        case EndTask():
            _name("the id of a task", command.id)
            _ids((command.fence,))
            _bytes("the result of a task", command.result)
            if command.state == "queued" and command.result:
                raise InvalidArguments("a task that is given back has no result")
        case CancelTask():
            _name("the id of a task", command.id)
            _owner(command.owner or ("", ""))
        case ReserveKey():
            _key(command.owner, command.scope, command.key)
            if not 0 < len(command.fingerprint) <= limits.FINGERPRINT_SIZE:
                raise InvalidArguments(
                    f"a fingerprint has {len(command.fingerprint)} bytes,"
                    f" expected 1 to {limits.FINGERPRINT_SIZE}"
                )
            _holds(command.holder, command.seconds)
        case SettleKey():
            _key(command.owner, command.scope, command.key)
            _ids((command.fence,))
            _bytes("an outcome", command.outcome)
            if command.state != "settled" and command.outcome:
                raise InvalidArguments(f"a key that is {command.state} has no outcome")
            _number("keep", command.keep, 0, 1e9)
        case AcquireLease():
            _name("the name of a lease", command.name)
            _holds(command.holder, command.seconds)
        case RenewLease():
            _name("the name of a lease", command.name)
            _ids((command.fence,))
            _number("seconds", command.seconds, 0, 1e9)
        case ReleaseLease():
            _name("the name of a lease", command.name)
            _ids((command.fence,))
        case DeclareLost():
            _name("the holder", command.holder)
        case Revoke():
            _some(command.ids, "ids")
            for id_ in command.ids:
                _name("an id", id_)
            if command.ttl is not None:
                _number("ttl", command.ttl, 0, 1e11)
        case Reinstate():
            _some(command.ids, "ids")
            for id_ in command.ids:
                _name("an id", id_)
        case SetWorkLimits():
            _limits(command.limits)


def _name(what: str, text: str) -> None:
    if not text:
        raise InvalidArguments(f"{what} is empty")
    _text(what, text, limits.NAME_SIZE)


def _holds(holder: str, seconds: float) -> None:
    _name("the holder", holder)
    _number("seconds", seconds, 0, 1e9)


def _key(owner: tuple[str, str], scope: str, key: str) -> None:
    _owner(owner)
    _text("the scope of a key", scope, limits.NAME_SIZE)
    _name("a key", key)


def _bytes(what: str, data: bytes) -> None:
    if len(data) > limits.VALUE_SIZE:
        too_large(what, len(data), limits.VALUE_SIZE)


def _some(things: Sized, what: str) -> None:
    if not things:
        raise InvalidArguments(f"there are no {what}: expected at least one")
    if len(things) > limits.COMMAND_ITEMS:
        raise TooLarge(
            f"there are {len(things)} {what} in one command, more than {limits.COMMAND_ITEMS}",
            data={"limit": limits.COMMAND_ITEMS},
        )


def _pattern(one: PutPattern) -> None:
    _namespace(one.namespace)
    if one.key is not None:
        _text("a key", one.key, limits.KEY_SIZE)
        if not one.key:
            raise InvalidArguments("a key is empty; leave it out to have one given")
    elif one.if_version is not None:
        raise InvalidArguments("if_version needs a key: it says which pattern is meant")
    if not one.text and one.value is None and one.key is None:
        raise InvalidArguments("a pattern has neither key, text nor value")
    _text("the text of a pattern", one.text, limits.TEXT_SIZE)
    _text("the expert", one.expert, limits.NAME_SIZE)
    _owner(one.owner)
    if one.value is not None:
        _json(one.value)
    _vector(one.vector, one.embedder)
    _number("reward", one.reward, 0, 1)
    _number("weight", one.weight, 0, 1e9)
    if one.ttl is not None:
        _number("ttl", one.ttl, 0, 1e11)
    if one.time is not None:
        _number("time", one.time, 0, 1e11)
    if one.if_version is not None and not 0 <= one.if_version <= _MOST:
        raise InvalidArguments(f"if_version is {one.if_version}, expected at least 0")


def _lesson(one: Feedback) -> None:
    if not one.expert:
        raise InvalidArguments("feedback names no expert")
    for what, text in (("expert", one.expert), ("request", one.request), ("source", one.source)):
        _text(f"the {what}", text, limits.NAME_SIZE)
    _text("the text of a lesson", one.text, limits.TEXT_SIZE)
    _owner(one.owner)
    _vector(one.vector, one.embedder)
    _number("reward", one.reward, 0, 1)
    _number("weight", one.weight, 0, 1e9)
    if not 0 < one.propensity <= 1:
        raise InvalidArguments(f"propensity is {one.propensity!r}, expected more than 0, at most 1")


def _namespace(name: str) -> None:
    _text("a namespace", name, limits.NAMESPACE_SIZE)
    if not _NAMESPACE.fullmatch(name):
        raise InvalidArguments(
            f"the namespace {name!r:.80} is no name: expected at least one character, none of control"
        )


def _owner(owner: tuple[str, str]) -> None:
    for part in owner:
        _text("an owner", part, limits.NAME_SIZE)


def _ids(ids: tuple[int, ...]) -> None:
    for one in ids:
        if not _LEAST <= one <= _MOST:
            raise InvalidArguments(f"{one!r:.40} is no id: expected a 64-bit integer")


def _text(what: str, text: str, most: int) -> None:
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidArguments(f"{what} has half a surrogate pair at {error.start}") from None
    if size > most:
        too_large(what, size, most)


def _json(value: bytes) -> None:
    if len(value) > limits.VALUE_SIZE:
        too_large("the value of a pattern", len(value), limits.VALUE_SIZE)
    try:
        msgspec.json.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArguments(f"the value of a pattern is no JSON: {error}") from None


def _vector(vector: bytes, embedder: str) -> None:
    if len(vector) > limits.VECTOR_SIZE:
        too_large("a vector", len(vector), limits.VECTOR_SIZE)
    if len(vector) % 4:
        raise InvalidArguments(f"a vector has {len(vector)} bytes: expected float32, 4 bytes each")
    if vector and not embedder:
        raise InvalidArguments("a vector comes without the identity of its embedder")
    _text("the embedder", embedder, limits.NAME_SIZE)
    if vector:
        values = array("f", vector)
        if sys.byteorder == "big":
            values.byteswap()
        if not math.isfinite(sum(values)):  # in doubles, which float32 cannot overflow
            raise InvalidArguments("a vector has a value that is not finite")


def _number(what: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:  # false for what is not a number
        raise InvalidArguments(f"{what} is {value!r}, expected {least:g} to {most:g}")
