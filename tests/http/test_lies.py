"""Servers that lie: each lie is a typed error, of bounded memory, and spoils no later request."""

from __future__ import annotations

import tracemalloc

import pytest
import trio

from flowcore.http import BodyTooLarge, HttpError, ProtocolFailure, open_client
from support.lying_server import Asked, lying

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

LIES: dict[str, tuple[type[HttpError], str, bytes]] = {
    "nothing": (ProtocolFailure, "ended before the answer", b""),
    "garbage": (ProtocolFailure, "does not begin as HTTP", b"nonsense\r\n\r\n"),
    "half a status line": (ProtocolFailure, "ended before the answer", b"HTTP/1.1 20"),
    "half a head": (ProtocolFailure, "ended before the answer", HEAD + b"A: b\r\n"),
    "another protocol": (ProtocolFailure, "does not begin as HTTP", b"SSH-2.0-x\r\n\r\n"),
    "HTTP/2": (ProtocolFailure, "does not begin as HTTP", b"HTTP/2 200 OK\r\n\r\n"),
    "a status of two digits": (ProtocolFailure, "does not begin", b"HTTP/1.1 20 OK\r\n\r\n"),
    "a status of 000": (ProtocolFailure, "does not begin", b"HTTP/1.1 000 OK\r\n\r\n"),
    "a status of letters": (ProtocolFailure, "does not begin", b"HTTP/1.1 abc OK\r\n\r\n"),
    "bare LF": (ProtocolFailure, "ended before", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
    "a bare LF in a header": (ProtocolFailure, "does not begin", HEAD + b"a: b\nc: d\r\n\r\n"),
    "a NUL in a header": (ProtocolFailure, "does not begin", HEAD + b"a: \0\r\n\r\n"),
    "a folded header": (ProtocolFailure, "header of the answer", HEAD + b"a: b\r\n c\r\n\r\n"),
    "a header without a colon": (ProtocolFailure, "header of the answer", HEAD + b"abc\r\n\r\n"),
    "201 headers": (ProtocolFailure, "more than 200 headers", HEAD + b"a: b\r\n" * 201 + b"\r\n"),
    "a switch of protocols": (
        ProtocolFailure,
        "come to its point",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
    ),
    "21 informational answers": (
        ProtocolFailure,
        "come to its point",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 21 + OK,
    ),
    "two lengths": (
        ProtocolFailure,
        "more than one Content-Length",
        HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    ),
    "a length of letters": (
        ProtocolFailure,
        "no number of bytes",
        HEAD + b"Content-Length: two\r\n\r\nok",
    ),
    "length and chunks": (
        ProtocolFailure,
        "ambiguous",
        HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    "an unknown coding": (
        ProtocolFailure,
        "ambiguous",
        HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    ),
    "less than was announced": (
        ProtocolFailure,
        "ended within the answer",
        HEAD + b"Content-Length: 100\r\n\r\nok",
    ),
    "an end within the chunks": (ProtocolFailure, "ended within", CHUNKED + b"5\r\nab"),
    "an end before the last chunk": (ProtocolFailure, "ended within", CHUNKED + b"2\r\nab\r\n"),
    "an end within the trailers": (ProtocolFailure, "ended within", CHUNKED + b"0\r\na: b\r\n"),
    "a chunk without a size": (ProtocolFailure, "chunk's size", CHUNKED + b"xyz\r\n"),
    "a chunk of 2^72": (ProtocolFailure, "the body has more", CHUNKED + b"1" + b"0" * 18 + b"\r\n"),
    "an announced giant": (
        BodyTooLarge,
        "more than 1000 bytes",
        HEAD + b"Content-Length: 99999999999\r\n\r\n",
    ),
    "a giant in chunks": (
        BodyTooLarge,
        "more than 1000 bytes",
        CHUNKED + b"800\r\n" + b"x" * 2048 + b"\r\n",
    ),
    "a giant until the end": (BodyTooLarge, "more than 1000 bytes", HEAD + b"\r\n" + b"x" * 1001),
}


@pytest.mark.parametrize(("kind", "says", "lie"), LIES.values(), ids=LIES)
@pytest.mark.parametrize("whole", [True, False], ids=["at once", "in pieces"])
async def test_a_lie_is_a_typed_error_and_spoils_nothing(
    kind: type[HttpError], says: str, lie: bytes, whole: bool
) -> None:
    async def script(asked: Asked) -> None:
        if b"GET /lie" not in asked.raw:
            await asked.answer(OK)
            return
        for start in range(0, len(lie), len(lie) if whole and lie else 7):
            await asked.answer(lie[start:] if whole else lie[start : start + 7])
        await asked.stream.aclose()

    async with lying(script) as server, open_client(body=1000) as client:
        with pytest.raises(kind, match=says) as caught:
            await client.request("GET", server.url + "lie")
        assert caught.value.sent
        assert (await client.request("GET", server.url)).body == b"ok"


@pytest.mark.parametrize(
    ("begin", "flood", "kind"),
    [
        (b"", b"x" * 65536, ProtocolFailure),
        (HEAD, b"a: b\r\n" * 1000, ProtocolFailure),
        (HEAD + b"a: ", b"x" * 65536, ProtocolFailure),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 10, ProtocolFailure),
        (HEAD + b"\r\n", b"x" * 65536, BodyTooLarge),
        (CHUNKED, b"1000\r\n" + b"x" * 4096 + b"\r\n", BodyTooLarge),
        (CHUNKED, b"1\r\nx\r\n" * 1000, ProtocolFailure),
        (CHUNKED, b"1;" + b"x" * 4000 + b"\r\nx\r\n", ProtocolFailure),
        (CHUNKED + b"0\r\n", b"a: b\r\n" * 1000, ProtocolFailure),
    ],
    ids=[
        "bytes",
        "headers",
        "a header",
        "1xx",
        "a body",
        "chunks",
        "tiny chunks",
        "extensions",
        "trailers",
    ],
)
async def test_a_flood_is_left_with_little_memory(
    begin: bytes, flood: bytes, kind: type[HttpError]
) -> None:
    async def script(asked: Asked) -> None:
        await asked.answer(begin)
        await asked.flood(flood)

    async with lying(script) as server, open_client() as client:
        tracemalloc.start()
        try:
            with pytest.raises(kind):
                await client.request("GET", server.url)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 64 << 20  # the bound of a body is 16 MiB


async def test_informational_answers_are_passed_over() -> None:
    async def script(asked: Asked) -> None:
        await asked.answer(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\na: b\r\n\r\n")
        await asked.answer(OK)

    async with lying(script) as server, open_client() as client:
        for _ in range(2):
            response = await client.request("GET", server.url)
            assert (response.status, response.body) == (200, b"ok")
        assert server.connections == 1


async def test_more_than_was_announced_is_not_the_next_answer() -> None:
    async def script(asked: Asked) -> None:
        await asked.answer(OK + (OK if asked.connection == 0 else b""))

    async with lying(script) as server, open_client() as client:
        for _ in range(3):
            assert (await client.request("GET", server.url)).body == b"ok"
        assert server.connections == 2


async def test_what_comes_unasked_is_not_the_next_answer() -> None:
    async def script(asked: Asked) -> None:
        await asked.answer(OK)
        if asked.connection == 0:
            await asked.answer(OK)

    async with lying(script) as server, open_client() as client:
        assert (await client.request("GET", server.url)).body == b"ok"
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert (await client.request("GET", server.url)).body == b"ok"
        assert server.connections == 2


async def test_a_body_may_end_with_the_connection() -> None:
    async with lying(HEAD + b"\r\nall of it") as server, open_client() as client:
        assert (await client.request("GET", server.url)).body == b"all of it"
    async with lying(b"HTTP/1.0 200 OK\r\n\r\n") as server, open_client() as client:
        assert (await client.request("GET", server.url)).body == b""


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 204\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
async def test_a_status_without_body_has_none_whatever_is_announced(answer: bytes) -> None:
    async def script(asked: Asked) -> None:
        await asked.answer(answer)

    async with lying(script) as server, open_client() as client:
        for _ in range(2):
            assert (await client.request("GET", server.url)).body == b""
        assert server.connections == 1


async def test_a_slow_drip_ends_with_the_callers_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def script(asked: Asked) -> None:
        await asked.answer(CHUNKED)
        while True:
            await trio.sleep(9)
            await asked.answer(b"1\r\nx\r\n")

    async with lying(script) as server, open_client() as client:
        with pytest.raises(trio.TooSlowError), trio.fail_after(30):
            await client.request("GET", server.url)


async def test_a_reset_within_the_answer_is_a_failure() -> None:
    import socket
    import struct

    async def script(asked: Asked) -> None:
        await asked.answer(HEAD + b"Content-Length: 100\r\n\r\nab")
        no_linger = struct.pack("ii", 1, 0)
        asked.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
        await asked.stream.aclose()

    async with lying(script) as server, open_client() as client:
        with pytest.raises(ProtocolFailure, match="the answer"):
            await client.request("GET", server.url)
        async with client.stream("GET", server.url) as response:
            with pytest.raises(ProtocolFailure, match="within the answer"):
                while await response.receive():
                    pass
