"""Our MCP server over HTTP as a program of its own. Usage: http_program.py PORT [exit | shout]"""

from __future__ import annotations

import os
import pathlib
import sys

import trio

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from support.upstreams.http_server import HttpUpstream, serving


async def main(port: int, then: str) -> None:
    upstream = HttpUpstream(modern=True)
    async with serving(upstream, port):
        print("serving", flush=True)
        await upstream.until(lambda: any(b"tools/call" in one.body for one in upstream.seen))
        if then == "exit":
            os._exit(4)
        if then == "shout":
            print("x" * 100_000, flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "")
