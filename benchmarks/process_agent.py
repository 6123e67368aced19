"""A process agent with one tool that says what it was told: `python -m benchmarks.process_agent`."""

from __future__ import annotations

import sys

import msgspec

TOOLS = [
    {
        "name": "echo",
        "description": "Say it again.",
        "inputSchema": {
            "type": "object",
            "properties": {"text": {"type": "string"}},
            "required": ["text"],
        },
        "annotations": {"readOnlyHint": True},
    }
]


def main() -> None:
    """Answer each line with one."""
    out = sys.stdout.buffer
    for line in sys.stdin.buffer:
        request = msgspec.json.decode(line)
        if request.get("id") is None:
            continue
        method = request["method"]
        if method == "describe":
            result: object = {"tools": TOOLS}
        elif method == "call":
            result = request["params"]["arguments"]["text"]
        else:
            result = {}
        out.write(
            msgspec.json.encode({"jsonrpc": "2.0", "id": request["id"], "result": result}) + b"\n"
        )
        out.flush()


if __name__ == "__main__":
    main()
