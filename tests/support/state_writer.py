"""A process that writes to a hard state as fast as it can, and says what was acknowledged. To be killed.

    python -m support.state_writer FOLDER < {"client": [session, next sequence], ...}

Each client adds 1 to the weight of its own pattern, again and again. Lines: `session CLIENT ID`, `done
CLIENT SEQUENCE`, `refused CLIENT ERROR`; the process ends when a client is refused.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys

import trio

from flowcore.errors import CallError
from flowcore.state import OpenSession, PutPattern, PutPatterns, StateSettings
from support.keeping import Kept, keeping

SETTINGS = StateSettings(weight=1e9, compact_after=200)


def count(client: str, padding: int = 0) -> PutPatterns:
    """The command that adds one."""
    value = json.dumps("x" * padding).encode()
    return PutPatterns((PutPattern(namespace="counts", text=client, value=value, weight=1.0),))


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def write(kept: Kept, client: str, session: int, sequence: int, padding: int) -> None:
    try:
        if not session:
            session = (await kept.state.do(OpenSession(client))).session
            say("session", client, session)
        while True:
            await kept.state.do(count(client, padding), session=session, sequence=sequence)
            say("done", client, sequence)
            sequence += 1
    except CallError as error:
        say("refused", client, type(error).__name__, error.message)


async def main() -> None:
    folder, padding = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    clients = json.load(sys.stdin)
    async with keeping(folder, SETTINGS) as kept, trio.open_nursery() as nursery:
        for client, (session, sequence) in clients.items():
            nursery.start_soon(write, kept, client, session, sequence, padding)


if __name__ == "__main__":
    trio.run(main)
