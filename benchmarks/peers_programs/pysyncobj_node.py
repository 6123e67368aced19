"""A node of PySyncObj with its journal on disk, behind HTTP: `pysyncobj_node.py FOLDER PORT OWN OTHER ...`.

Its journal is written without an fsync as it comes; here each entry is one, as it is elsewhere. `POST /put`
takes {"key": .., "value": ..} and answers when it is applied; `GET /leader` gives the leader's address.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from pysyncobj import FAIL_REASON, SyncObj, SyncObjConf, journal, replicated

ADD = journal.FileJournal.add


def _durable(self: Any, command: Any, index: int, term: int) -> None:
    ADD(self, command, index, term)
    self.flush()


journal.FileJournal.add = _durable


class Store(SyncObj):  # type: ignore[misc]
    """Keys and values."""

    def __init__(self, own: str, others: list[str], folder: str) -> None:
        settings = SyncObjConf(journalFile=f"{folder}/journal", fullDumpFile=f"{folder}/dump")
        super().__init__(own, others, settings)
        self.values: dict[str, str] = {}

    @replicated  # type: ignore[untyped-decorator]
    def put(self, key: str, value: str) -> None:
        """Keep a value."""
        self.values[key] = value


async def _put(store: Store, body: bytes) -> int:
    loop, asked = asyncio.get_running_loop(), json.loads(body)
    done: asyncio.Future[int] = loop.create_future()

    def settle(error: int) -> None:
        if not done.done():
            done.set_result(error)

    def told(_: Any, error: int) -> None:
        loop.call_soon_threadsafe(settle, error)

    store.put(asked["key"], asked["value"], callback=told)
    return 200 if await done == FAIL_REASON.SUCCESS else 503


async def _answer(store: Store, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = 0
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            body = await reader.readexactly(length)
            if head.startswith(b"GET"):
                leader = store._getLeader()
                status, said = 200, json.dumps({"leader": str(leader or "")}).encode()
            else:
                status, said = await _put(store, body), b"{}"
            writer.write(
                b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(said), said)
            )
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main(folder: str, port: str, own: str, others: list[str]) -> None:
    """Serve for ever."""
    store = Store(own, others, folder)
    server = await asyncio.start_server(lambda r, w: _answer(store, r, w), "127.0.0.1", int(port))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]))
