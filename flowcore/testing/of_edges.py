"""What holds for every edge."""

from __future__ import annotations

import contextlib
from ipaddress import IPv4Address
from typing import Any

import attrs
import trio

from flowcore.assembly import Status
from flowcore.assembly.plan import plan_problems
from flowcore.config import Address
from flowcore.config.tables import shaped_fields
from flowcore.http import split_url
from flowcore.testing.bench import NAME, Bench
from flowcore.testing.findings import Wrong


def _addresses(bench: Bench) -> list[str]:
    """The keys that say where it listens."""
    config = bench.made()
    return [
        name
        for name, field, _ in shaped_fields(bench.factory.config)
        if isinstance(getattr(config, field.name), Address)
    ]


def _free(bench: Bench) -> dict[str, Any]:
    """Settings by which the system chooses its ports."""
    return dict.fromkeys(_addresses(bench), "127.0.0.1:0")


async def says_where_it_is(bench: Bench) -> None:
    """it serves in a flow, says where it can be reached, and can be connected to there"""
    async with bench.flow(**_free(bench)) as flow:
        endpoints: object = flow.endpoints[NAME]
        if not isinstance(endpoints, tuple) or not endpoints or not all(endpoints):
            raise Wrong(f"its endpoints are {endpoints!r:.100}")
        for endpoint in endpoints:
            if endpoint.startswith(("http://", "https://")):
                origin, _ = split_url(endpoint)
                stream = await trio.open_tcp_stream(origin.host, origin.port)
                await stream.aclose()


async def survives_strangers(bench: Bench) -> None:
    """nonsense, half a request and a closed connection end nothing but themselves"""
    async with bench.flow(**_free(bench)) as flow:
        for endpoint in flow.endpoints[NAME]:
            if not endpoint.startswith("http://"):
                continue
            origin, _ = split_url(endpoint)
            for data in (b"", b"\x00\xff" * 2000, b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"):
                stream = await trio.open_tcp_stream(origin.host, origin.port)
                with contextlib.suppress(trio.BrokenResourceError):  # it may have hung up by now
                    await stream.send_all(data)
                await stream.aclose()
            await (await trio.open_tcp_stream(origin.host, origin.port)).aclose()
        status = {one.component: one for one in flow.components()}[bench.path]
        if status.status not in (Status.OK, Status.DEGRADED):
            raise Wrong(f"it is {status.status.value}: {status.reason}")


async def closes_in_a_flow(bench: Bench) -> None:
    """it can be closed and opened again and again at ports that the system chooses"""
    for _ in range(2):
        async with bench.flow(**_free(bench)):
            pass


async def claims_what_it_takes(bench: Bench) -> None:
    """two that would listen at one address are refused before they are opened"""
    for name in _addresses(bench):
        config = attrs.evolve(bench.made(), **{name: Address("127.0.0.1", 4711)})
        two = [bench.selection(config), bench.selection(config, "other")]
        if not any("claimed" in one.message for one in plan_problems(two, bench.registry)):
            raise Wrong(f"they are not; Factory(claims=lambda config: config.{name}.claims())")


async def asks_who_comes_in(bench: Bench) -> None:
    """beyond this machine it is refused without authentication"""
    for name in _addresses(bench):
        config = attrs.evolve(bench.made(), **{name: Address(str(IPv4Address(0)), 4711)})
        problems = plan_problems([bench.selection(config)], bench.registry)
        if not any("without authentication" in one.message for one in problems):
            raise Wrong(f"it is not; Factory(exposed=lambda config: config.{name}.host)")
