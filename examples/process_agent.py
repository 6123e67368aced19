"""A process agent in plain Python, with nothing installed: `[agent.sums] type = "process"`, and either
`command = ["python", "-I", "-S", "examples/process_agent.py"]`, which starts it anew for each process, or
`template = "examples/process_agent.py:main"`, which imports it once and forks its processes.

One JSON object a line comes in on stdin, one goes out on stdout for each; see docs/agents-process.md.
"""

import json
import sys
from typing import Any

TOOLS = [
    {
        "name": "add",
        "description": "Add two numbers",
        "inputSchema": {
            "type": "object",
            "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
            "required": ["a", "b"],
        },
        "annotations": {"readOnlyHint": True},
    },
    {
        "name": "count",
        "description": "Count to a number, telling how far it is",
        "inputSchema": {
            "type": "object",
            "properties": {"to": {"type": "integer", "maximum": 100}},
            "required": ["to"],
        },
    },
]


def send(**message: Any) -> None:
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def call(number: int, tool: str, arguments: dict[str, Any]) -> Any:
    if tool == "add":
        return {"sum": arguments["a"] + arguments["b"]}
    for done in range(1, arguments["to"] + 1):
        send(method="progress", params={"id": number, "progress": done, "total": arguments["to"]})
    return f"counted to {arguments['to']}"


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        number, method, params = request.get("id"), request["method"], request.get("params", {})
        if method == "describe":
            send(id=number, result={"tools": TOOLS})
        elif method == "call":
            try:
                send(id=number, result=call(number, params["tool"], params["arguments"]))
            except Exception as error:
                send(
                    id=number, error={"code": -32000, "message": f"{type(error).__name__}: {error}"}
                )
        elif method == "ping":
            send(id=number, result={})


if __name__ == "__main__":
    main()
