"""`otlp` with collectors that answer anything but what they should: nothing waits, all is counted."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from flowcore import open_flow
from flowcore.flow import Flow

CALLS = 40
Answer = Callable[[trio.SocketStream], Awaitable[None]]


async def floods(stream: trio.SocketStream) -> None:
    """100 MB of an answer."""
    await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
    for _ in range(100):
        await stream.send_all(bytes(1_000_000))


async def floods_in_chunks(stream: trio.SocketStream) -> None:
    """Pieces without an end."""
    await stream.send_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    for _ in range(100):
        await stream.send_all(b"f4240\r\n" + bytes(1_000_000) + b"\r\n")


async def floods_heads(stream: trio.SocketStream) -> None:
    """A head without an end."""
    await stream.send_all(b"HTTP/1.1 200 OK\r\n")
    for number in range(1000):
        await stream.send_all(b"x-%d: " % number + b"y" * 10_000 + b"\r\n")


async def drips(stream: trio.SocketStream) -> None:
    """One byte after the other, for ever."""
    await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
    while True:
        await stream.send_all(b"x")
        await trio.sleep(0.03)


async def only_informs(stream: trio.SocketStream) -> None:
    """Nothing but interim answers."""
    while True:
        await stream.send_all(b"HTTP/1.1 102 Processing\r\n\r\n")
        await trio.sleep(0.03)


async def breaks_off(stream: trio.SocketStream) -> None:
    """Half an answer."""
    await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf")


async def says_nothing(stream: trio.SocketStream) -> None:
    """The end."""
    del stream


async def sends_elsewhere(stream: trio.SocketStream) -> None:
    """A redirection to itself."""
    port = stream.socket.getsockname()[1]
    where = f"location: http://127.0.0.1:{port}/v1/traces"
    answer = f"HTTP/1.1 307 X\r\n{where}\r\ncontent-length: 0\r\n\r\n"
    await stream.send_all(answer.encode())


async def wants_it_in_a_thousand_years(stream: trio.SocketStream) -> None:
    """Later, much later."""
    await stream.send_all(
        b"HTTP/1.1 429 X\r\nretry-after: 31536000000\r\ncontent-length: 0\r\n\r\n"
    )


async def is_no_web_server(stream: trio.SocketStream) -> None:
    """Something else."""
    await stream.send_all(b"SSH-2.0-OpenSSH_9.2\r\n")


ALL = (
    *(floods, floods_in_chunks, floods_heads, drips, only_informs, breaks_off, says_nothing),
    *(sends_elsewhere, wants_it_in_a_thousand_years, is_no_web_server),
)


@asynccontextmanager
async def flowing(answer: Answer, **more: Any) -> AsyncGenerator[Flow]:
    """A node that exports to such a collector."""

    async def serve(stream: trio.SocketStream) -> None:
        try:
            async with stream:
                await stream.receive_some()
                await answer(stream)
        except trio.BrokenResourceError:
            pass  # it was left, as it should be

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        exporter = {
            **{"type": "otlp", "endpoint": url, "delay": "5ms", "timeout": "200ms"},
            **{"queue": 64, "batch": 16, "signals": ["traces", "logs"], **more},
        }
        async with open_flow(
            {"telemetry": {"sampling": 1.0}, "exporter": {"to": exporter}}
        ) as flow:
            yield flow
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("answer", ALL)
async def test_all_is_answered_and_what_is_lost_is_counted(answer: Answer) -> None:
    async with flowing(answer) as flow:
        before = await held(flow)
        for _ in range(CALLS):
            assert not (await flow.call("flow.agents", {})).is_error
        logging.getLogger("tests.telemetry").warning("a line")
        with trio.fail_after(20):
            while not flow.telemetry.counts("to")["traces"].failures:  # noqa: ASYNC110
                await trio.sleep(0.005)
        assert await held(flow) - before < 40_000_000
        assert flow.ready
    told = flow.telemetry.counts("to")["traces"]
    assert (told.sent, told.dropped) == (0, 2 * CALLS)
    assert flow.telemetry.counts("to")["logs"].sent == 0
    assert flow.telemetry.counts("to")["logs"].dropped >= 1


async def held(flow: Flow) -> int:
    """Bytes of memory that the process has."""
    found = (await flow.metrics.snapshot()).value("process.memory.usage")
    assert isinstance(found, int)
    return found


async def test_levels_changed_meanwhile_hold_for_the_lines_that_are_exported() -> None:
    from support.collector import collecting

    logger = logging.getLogger("tests.telemetry.levels")
    try:
        with collecting() as collector:
            url = collector.url
            exporter = {"type": "otlp", "endpoint": url, "signals": ["logs"], "delay": "5ms"}
            async with open_flow({"exporter": {"to": exporter}}):
                for level in (logging.INFO, logging.DEBUG, logging.ERROR):
                    logger.setLevel(level)
                    for line in ("debug", "info", "warning", "error"):
                        getattr(logger, line)("%s at %s", line, logging.getLevelName(level))
            said = [
                one.body.string_value for one in collector.lines if " at " in one.body.string_value
            ]
        assert said == [
            *("info at INFO", "warning at INFO", "error at INFO"),
            *("debug at DEBUG", "info at DEBUG", "warning at DEBUG", "error at DEBUG"),
            "error at ERROR",
        ]
    finally:
        logger.setLevel(logging.NOTSET)
