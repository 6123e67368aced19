"""One request to the endpoint, with its attempts."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import trio

from flow_embedders.http.answers import Unsuccessful, question, refused, vectors
from flowcore.http import BodyTooLarge, Client, ClientResponse, HttpError

if TYPE_CHECKING:
    from flow_embedders.http.settings import HttpConfig
    from flowcore.routing import Vectors

_FACTOR = 2.0
_CAP = 5.0
"""Seconds of the longest wait that nobody asked for."""
_IN_PLACE = 32 << 10
"""Bytes of an answer that is read where it is; a longer one is read in a thread."""


class Endpoint:
    """Asks for vectors."""

    def __init__(self, config: HttpConfig, client: Client, chance: random.Random) -> None:
        self._config = config
        self._client = client
        self._random = chance
        self._limiter = trio.CapacityLimiter(1)
        self._headers = [
            (b"content-type", b"application/json"),
            (b"accept", b"application/json"),
            (b"user-agent", b"flowcore"),
        ]
        if config.key is not None:
            self._headers.append((b"authorization", f"Bearer {config.key.reveal()}".encode()))
        self.requests = 0
        self.retries = 0

    async def vectors(self, texts: Sequence[str]) -> Vectors:
        """Shape (n, dimensions), of length one. Raises Unsuccessful, at the deadline at the latest."""
        config = self._config
        last = Unsuccessful("it did not answer", again=False)
        with trio.move_on_after(config.deadline) as scope:
            for attempt in range(1, config.attempts + 1):
                try:
                    return await self._once(texts)
                except Unsuccessful as error:
                    last = error
                if not last.again or attempt == config.attempts:
                    break
                # with full jitter, and later than asked: those told the same do not return together
                wait = last.after + self._random.uniform(
                    0, min(_CAP, config.backoff * _FACTOR ** (attempt - 1))
                )
                if trio.current_time() + wait >= scope.deadline:
                    last = Unsuccessful(
                        f"{last}; it is to be asked again in {wait:.1f} s", again=True
                    )
                    break
                self.retries += 1
                await trio.sleep(wait)
        within = f" within {config.deadline:g} s" if scope.cancelled_caught else ""
        raise Unsuccessful(f"{config.url}: no vectors{within}: {last}", again=last.again) from last

    async def _once(self, texts: Sequence[str]) -> Vectors:
        config = self._config
        body = question(config.model, texts, config.dimensions if config.shorten else None)
        self.requests += 1
        try:
            # asking twice is as good as once
            answer = await self._client.request(
                "POST", config.url, headers=self._headers, body=body, idempotent=True
            )
        except BodyTooLarge as error:
            raise Unsuccessful(str(error), again=False) from error
        except HttpError as error:
            raise Unsuccessful(str(error), again=True) from error
        if not 200 <= answer.status < 300:
            raise self._refused(answer)
        if len(answer.body) <= _IN_PLACE:
            return vectors(answer.body, len(texts), config.dimensions)
        return await trio.to_thread.run_sync(
            vectors, answer.body, len(texts), config.dimensions, limiter=self._limiter
        )

    def _refused(self, answer: ClientResponse) -> Unsuccessful:
        body = answer.body
        if self._config.key is not None:  # some tell whoever asks which key was wrong
            body = body.replace(self._config.key.reveal().encode(), b"***")
        after = answer.headers.get(b"retry-after")
        text = None if after is None else after.decode("latin-1")
        return refused(answer.status, body, text, time.time())
