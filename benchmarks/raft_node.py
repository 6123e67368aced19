"""One node of a Raft cluster behind HTTP: `python -m benchmarks.raft_node FOLDER PORT NAME LINKS OTHER ...`.

`FOLDER` has certificates, and takes the node's data; `LINKS` is its port for links, an `OTHER` is NAME=PORT.
The node is a flow like any other: links of mutual TLS, a log and a state on disk. Tables of `settings.json`
in `FOLDER`, where there is one, are set beside those of its configuration, or in their place.

| request | answer |
|---|---|
| `POST /put` | `{"key": .., "value": ..}`, kept by the state; answered when it is applied here |
| `POST /propose` | `{"clients": .., "seconds": ..}`: so many propose in this process; what each took |
| `GET /leader` | who leads, in the status of the engine |
"""

from __future__ import annotations

import contextlib
import functools
import json
import pathlib
import sys
from typing import Any

import msgspec
import trio

import flowcore
from flowcore.config import Address
from flowcore.errors import CallError
from flowcore.http import Limits, Request, Response, open_http_server
from flowcore.state import Consensus, Entry, PutPattern, PutPatterns, encode_entry

SIZE = 256
"""Bytes of a value."""


class Put(msgspec.Struct):
    """The body of `POST /put`."""

    key: str
    value: str


class Many(msgspec.Struct):
    """The body of `POST /propose`."""

    clients: int
    seconds: float


def config(folder: pathlib.Path, name: str, links: str, others: list[str]) -> dict[str, Any]:
    """The node's configuration: what is not in it is as it is by default."""
    names = {name: links} | dict(one.split("=") for one in others)
    settings = folder / "settings.json"
    more = json.loads(settings.read_text()) if settings.exists() else {}
    return {
        "node": {"name": name, "data_dir": str(folder / name)},
        "swarm": {
            "bind": f"127.0.0.1:{links}",
            "seeds": [f"127.0.0.1:{port}" for port in names.values()],
            "tls": {
                "cert": str(folder / f"{name}.pem"),
                "key": str(folder / f"{name}.key"),
                "ca": str(folder / "ca.pem"),
            },
            "membership": {"type": "swim", "profile": "local"},
        },
        "consensus": {"type": "raft", "voters": sorted(names)},
        **more,
    }


async def propose(flow: flowcore.Flow, asked: Many) -> list[float]:
    """Seconds that each of the commands took, of clients that propose one after the other."""
    took: list[float] = []
    ends = trio.current_time() + asked.seconds
    pattern = PutPattern(namespace="b", key="proposed", text="v" * SIZE)
    command = encode_entry(Entry(time=0.0, command=PutPatterns((pattern,))))

    async def client(engine: Consensus) -> None:
        while (began := trio.current_time()) < ends or not took:
            with contextlib.suppress(CallError):  # such as while another leader is elected
                await engine.propose(command)
                took.append(trio.current_time() - began)

    async with trio.open_nursery() as nursery:
        for _ in range(asked.clients):
            nursery.start_soon(client, flow.state.consensus)
    return took


async def answer(flow: flowcore.Flow, request: Request) -> Response:
    """Do what is asked."""
    try:
        if request.path == "/put":
            put = msgspec.json.decode(request.body, type=Put)
            pattern = PutPattern(namespace="b", key=put.key, text=put.value)
            await flow.state.do(PutPatterns((pattern,)))
            return Response(200, body=b"{}")
        if request.path == "/propose":
            took = await propose(flow, msgspec.json.decode(request.body, type=Many))
            return Response(200, body=msgspec.json.encode(took))
        return Response(200, body=json.dumps(flow.state.consensus.status()).encode())
    except CallError as error:
        return Response(503, body=msgspec.json.encode(error.wire()))


async def main(folder: pathlib.Path, port: str, name: str, links: str, others: list[str]) -> None:
    """Serve for ever."""
    async with (
        flowcore.open_flow(config(folder, name, links, others)) as flow,
        open_http_server(
            functools.partial(answer, flow), Address("127.0.0.1", int(port)), limits=Limits()
        ),
    ):
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:])
