"""Questions to an etcd: one member at a time, another one when it fails, by a user where there are any."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

import msgspec
import trio

from flow_consensus.etcd import messages
from flow_consensus.etcd.failures import (
    AnswerTooLarge,
    EtcdFailure,
    NotSignedIn,
    Refused,
    Unanswered,
)
from flow_consensus.etcd.messages import Header, RangeAnswer, Request, Token, TxnAnswer
from flow_consensus.etcd.settings import EtcdSettings
from flowcore.http import BodyTooLarge, Client, ClientStream, ConnectFailed, HttpError

T = TypeVar("T")
Answer = TypeVar("Answer", RangeAnswer, TxnAnswer)

ANSWER = 16 * 2**20
"""Bytes of an answer at most: 4 MiB of gRPC are less than 6 as JSON."""
_LINE = 16 * 2**20
"""Bytes of one line of a stream at most."""
_LARGE = 128 * 1024
"""Bytes from which on JSON is read and written in a thread."""
_JSON = ((b"content-type", b"application/json"),)


class EtcdClient:
    """The members of one etcd, as one. Several tasks may ask at a time."""

    def __init__(
        self,
        settings: EtcdSettings,
        http: Client,
        chance: random.Random,
        tell: Callable[[str], None],
    ) -> None:
        """`tell` is told what the trouble is, and "" when it is over."""
        self._settings = settings
        self._http = http
        self._random = chance.random
        self._tell = tell
        self._at = 0
        self._failures = 0
        self._token = b""
        self._signing_in = trio.Lock()
        self._cluster = 0
        self._revision = 0
        self.trouble = "it has not been asked yet"
        """Why it does not answer; "" while it does."""
        self._requests = self._failed = self._tokens = 0

    @property
    def endpoint(self) -> str:
        """Who is asked now."""
        return self._settings.endpoints[self._at]

    def status(self) -> dict[str, Any]:
        """Who is asked, and what came of it."""
        return {
            "endpoint": self.endpoint,
            "endpoints": list(self._settings.endpoints),
            "etcd_cluster": f"{self._cluster:x}" if self._cluster else "",
            "revision": self._revision,
            "trouble": self.trouble,
            "requests": self._requests,
            "failed_requests": self._failed,
            "tokens": self._tokens,
        }

    # ---- asking once

    async def ask(self, path: str, request: Request, type_: type[T]) -> T:
        """The answer of the member whose turn it is. Raises EtcdFailure; after Unanswered another is next."""
        endpoint = self.endpoint
        try:
            answer = await self._signed_in(lambda: self._ask(endpoint, path, request, type_))
            self._belongs(answer)
        except Unanswered as error:
            self._has_failed(endpoint, error)
            raise
        self._has_answered()
        return answer

    async def read(self, request: Request) -> RangeAnswer:
        """A linearizable read: all that was committed when it was asked is in it. Raises as `ask`."""
        return await self._fresh(messages.RANGE, request, RangeAnswer)

    async def write(self, request: Request) -> TxnAnswer:
        """A transaction. Raises as `ask`."""
        return await self._fresh(messages.TXN, request, TxnAnswer)

    async def _fresh(self, path: str, request: Request, type_: type[Answer]) -> Answer:
        """An answer of a moment after it was asked for: the revision cannot be older than any seen before."""
        seen = self._revision
        endpoint = self.endpoint
        answer = await self.ask(path, request, type_)
        if answer.header.revision < seen:
            error = Unanswered(
                f"it is at revision {answer.header.revision}, and {seen} was seen before: was it put back"
                " from an older copy?"
            )
            self._has_failed(endpoint, error)
            raise error
        self.saw(answer.header.revision)
        return answer

    def saw(self, revision: int) -> None:
        """So much is committed."""
        self._revision = max(self._revision, revision)

    async def until_answered(self, once: Callable[[], Awaitable[T]]) -> T:
        """What `once` gives, asked again until it is answered. Raises the other EtcdFailures."""
        while True:
            try:
                return await once()
            except Unanswered:
                await self.pause()

    async def pause(self) -> None:
        """Wait as one does before asking again: not for another member, longer when all have failed."""
        rounds, left = divmod(self._failures, len(self._settings.endpoints))
        if left or not rounds:
            await trio.lowlevel.checkpoint()
            return
        settings = self._settings
        longest = min(settings.backoff_most, settings.backoff * 2.0 ** min(rounds - 1, 30))
        await trio.sleep(longest * (0.5 + self._random() / 2))

    # ---- streams

    @asynccontextmanager
    async def lines(
        self, path: str, request: Request, type_: type[T]
    ) -> AsyncGenerator[AsyncGenerator[T]]:
        """The answers of a stream as they come, from the member whose turn it is. Raises EtcdFailure within
        the block."""
        endpoint, token = self.endpoint, self._token

        async def answers() -> AsyncGenerator[T]:
            try:
                async with self._http.stream(
                    "POST",
                    endpoint.rstrip("/") + path,
                    headers=self._headers(),
                    body=msgspec.json.encode(request),
                ) as stream:
                    if stream.status != 200:
                        raise messages.failure(stream.status, await stream.read(64 * 1024))
                    async with aclosing(_lines(stream)) as lines:
                        async for line in lines:
                            answer = await _off_loop(messages.decode_line, line, type_)
                            self._belongs(answer)
                            yield answer
                raise Unanswered("a stream has ended")
            except HttpError as error:
                raise _unanswered(error) from error

        try:
            async with aclosing(answers()) as stream:
                yield stream
        except NotSignedIn:
            await self._sign_in_again(token)
            raise
        except Unanswered as error:
            self._has_failed(endpoint, error)
            raise

    # ---- users

    async def _signed_in(self, once: Callable[[], Awaitable[T]]) -> T:
        """Once more with a new token, if the old one is not good any more."""
        if self._settings.user is not None and not self._token:
            await self._sign_in_again(b"")
        token = self._token
        try:
            return await once()
        except NotSignedIn as error:
            if self._settings.user is None:
                raise Refused(f"{error}: it wants a user and a password") from None
            await self._sign_in_again(token)
        try:
            return await once()
        except NotSignedIn as error:
            raise Unanswered(f"a new token is not taken: {error}", sent=False) from None

    async def _sign_in_again(self, old: bytes) -> None:
        """Get a token, unless another task has done so meanwhile. Raises Refused, Unanswered."""
        user, password = self._settings.user, self._settings.password
        if user is None or password is None:
            raise Refused("it wants a user and a password")
        async with self._signing_in:
            if self._token != old:
                return
            self._token = b""
            request = {"name": user, "password": password.reveal()}
            try:
                answer = await self._ask(self.endpoint, messages.AUTHENTICATE, request, Token)
            except NotSignedIn as error:
                raise Refused(str(error)) from None
            except Unanswered as error:  # the token is for what was to be asked: that was not sent
                raise Unanswered(str(error), sent=False) from error
            if not answer.token.isascii() or not answer.token.isprintable() or not answer.token:
                raise Unanswered("what came is no token", sent=False)
            self._token = answer.token.encode()
            self._tokens += 1

    # ----

    def _headers(self) -> tuple[tuple[bytes, bytes], ...]:
        return (*_JSON, (b"authorization", self._token)) if self._token else _JSON

    async def _ask(self, endpoint: str, path: str, request: Request, type_: type[T]) -> T:
        self._requests += 1
        body = await _encoded(request)
        try:
            with trio.fail_after(self._settings.timeout):
                answer = await self._http.request(
                    "POST", endpoint.rstrip("/") + path, headers=self._headers(), body=body
                )
        except trio.TooSlowError:
            raise Unanswered(f"no answer within {self._settings.timeout:g} s") from None
        except BodyTooLarge as error:
            if path == messages.RANGE:
                raise AnswerTooLarge(str(error)) from error
            raise Unanswered(str(error)) from error
        except HttpError as error:
            raise _unanswered(error) from error
        if answer.status != 200:
            raise messages.failure(answer.status, answer.body)
        if path == messages.KEEP_ALIVE:  # a stream, which ends after the one answer
            return messages.decode_line(answer.body, type_)
        return await _off_loop(messages.decode, answer.body, type_)

    def _belongs(self, answer: object) -> None:
        """Raises Unanswered for the answer of another etcd."""
        header: Header | None = getattr(answer, "header", None)
        if header is None or header.cluster_id == 0:
            raise Unanswered("what came is no answer of etcd: it does not say of which cluster")
        if not self._cluster:
            self._cluster = header.cluster_id
        elif header.cluster_id != self._cluster:
            raise Unanswered(
                f"it belongs to cluster {header.cluster_id:x}, and the others to {self._cluster:x}"
            )

    def _has_failed(self, endpoint: str, error: EtcdFailure) -> None:
        self._failed += 1
        self._failures += 1
        if endpoint == self.endpoint:  # else others have moved on already
            self._at = (self._at + 1) % len(self._settings.endpoints)
        why = f"{endpoint}: {error}"
        if not self.trouble:
            self._tell(why)
        self.trouble = why

    def _has_answered(self) -> None:
        self._failures = 0
        if self.trouble:
            self.trouble = ""
            self._tell("")


async def _lines(stream: ClientStream) -> AsyncGenerator[bytes]:
    """The lines of a stream, without those that are empty. Raises Unanswered for one that is too long."""
    held: list[bytes] = []
    size = 0
    while piece := await stream.receive():
        first, *others = piece.split(b"\n")
        held.append(first)
        size += len(first)
        if size > _LINE:
            raise Unanswered(f"a line of a stream has more than {_LINE} bytes")
        if others:
            *lines, rest = (b"".join(held), *others)
            held, size = [rest], len(rest)
            for line in lines:
                if line:
                    yield line


async def _off_loop(decode: Callable[[bytes, type[T]], T], body: bytes, type_: type[T]) -> T:
    """What `decode` makes of it; of much, in a thread."""
    if len(body) < _LARGE:
        return decode(body, type_)
    return await trio.to_thread.run_sync(decode, body, type_)


async def _encoded(request: Request) -> bytes:
    """A request as JSON; one that puts much, in a thread."""
    puts = (one.get("request_put") for one in request.get("success", ()))
    if sum(len(one["value"]) for one in puts if one is not None) < _LARGE:
        return msgspec.json.encode(request)
    return await trio.to_thread.run_sync(msgspec.json.encode, request)


def _unanswered(error: HttpError) -> Unanswered:
    return Unanswered(str(error), sent=not isinstance(error, ConnectFailed))
