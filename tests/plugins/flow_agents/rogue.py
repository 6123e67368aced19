"""A process agent whose tools are all that a process can do, right and wrong. The name of the tool says it.

Arguments of the program: how it describes itself (a key of DESCRIPTIONS, ROGUE in the environment where it
is a template's), and further words.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

NAMES = (
    "value error content exit exit_within_a_message close_output close_input not_json not_utf8 "
    "not_an_object wrong_id text_id duplicate null_id ask unknown_notification bad_progress "
    "bad_level long_line endless chatter hang log_to_all log_to_caller progress nested change "
    "hold release echo_meta stderr sleep_then_answer half_a_line in_pieces crlf empty_line binary "
    "no_result both no_version bad_error freeze daemon exit_leaving_a_child unread"
)


def tools(*names: str) -> dict[str, Any]:
    return {"tools": [{"name": name, "description": name} for name in names]}


DESCRIPTIONS: dict[str, Any] = {
    "well": tools(*NAMES.split()),
    "stubborn": tools(*NAMES.split()),
    "concurrent": {**tools(*NAMES.split()), "concurrent": True, "instructions": "ask nicely"},
    "no_tools": {},
    "no_object": [1],
    "nameless": {"tools": [{"description": "x"}]},
    "empty_name": tools(""),
    "twice": tools("a", "a"),
    "bad_schema": {"tools": [{"name": "a", "inputSchema": 7}]},
}
MODE = os.environ.get("ROGUE") or (sys.argv[1] if len(sys.argv) > 1 else "well")
held: list[int] = []
out = sys.stdout.buffer


def write(data: bytes) -> None:
    out.write(data)
    out.flush()


def send(**message: Any) -> None:
    write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")


def call(number: int, tool: str, arguments: Any, params: Any) -> None:
    result: Any = "done"
    match tool:
        case "value":
            result = arguments.get("value")
        case "echo_meta":
            result = {key: params[key] for key in ("meta", "request", "deadline")}
        case "error":
            send(id=number, error={"code": 77, "message": "no luck", "data": {"why": "rain"}})
            return
        case "content":
            result = {"content": [{"type": "text", "text": "as is"}], "isError": True, "own": 1}
        case "exit":
            print("about to exit", file=sys.stderr, flush=True)
            os._exit(3)
        case "exit_within_a_message":
            write(b'{"jsonrpc":"2.0","id":')
            os._exit(0)
        case "close_output":
            os.close(1)
            signal.pause()
        case "close_input":
            os.close(0)
            send(id=number, result="closed")
            signal.pause()
        case "not_json":
            write(b"Hello! I am a log line on stdout\n")
            signal.pause()
        case "not_utf8":
            write(b'{"jsonrpc":"2.0","id":1,"result":"\xff"}\n')
            signal.pause()
        case "not_an_object":
            write(b"[1]\n")
            signal.pause()
        case "wrong_id":
            send(id=number + 1000, result={})
            signal.pause()
        case "text_id":
            send(id=str(number), result={})
            signal.pause()
        case "duplicate":
            send(id=number, result="once")
            send(id=number, result="twice")
            signal.pause()
        case "null_id":
            send(id=None, error={"code": 1, "message": "whom?"})
            signal.pause()
        case "ask":
            send(id=1, method="sampling/createMessage", params={})
            signal.pause()
        case "unknown_notification":
            send(method="hello")
            signal.pause()
        case "bad_progress":
            send(method="progress", params={"id": number, "progress": "half"})
            signal.pause()
        case "bad_level":
            send(method="log", params={"data": 1, "level": "shouting"})
            signal.pause()
        case "nested":
            write(b'{"jsonrpc":"2.0","id":%d,"result":%b}\n' % (number, b"[" * 1000 + b"]" * 1000))
            signal.pause()
        case "long_line":
            write(b'{"jsonrpc":"2.0","id":%d,"result":"' % number + b"x" * 100_000_000)
            signal.pause()
        case "endless":
            while True:
                out.write(b"x" * 1_000_000)
        case "chatter":
            while True:
                send(method="log", params={"data": "la"})
        case "hang":
            while True:
                signal.pause()
        case "stderr":
            while True:
                sys.stderr.write("spam\n" * 1000)
        case "log_to_all":
            send(method="log", params={"data": {"a": 1}, "level": "warning", "logger": "me"})
        case "log_to_caller":
            send(method="log", params={"data": "psst", "id": number})
        case "progress":
            send(
                method="progress", params={"id": number, "progress": 1, "total": 2, "message": "so"}
            )
            send(method="progress", params={"id": number, "progress": 2})
            send(method="progress", params={"id": number + 1000, "progress": 2})
        case "change":
            DESCRIPTIONS[MODE] = tools("change", arguments["name"])
            send(method="changed")
        case "half_a_line":
            write(b'{"jsonrpc":"2.0","id":%d,"resu' % number)
            signal.pause()
        case "in_pieces":
            for byte in json.dumps({"jsonrpc": "2.0", "id": number, "result": "whole"}).encode():
                write(bytes([byte]))
            write(b"\n")
            return
        case "crlf":
            write(b'{"jsonrpc":"2.0","id":%d,"result":"crlf"}\r\n' % number)
            return
        case "empty_line":
            write(b"\n")
            signal.pause()
        case "binary":
            write(bytes(range(256)) + b"\n")
            signal.pause()
        case "no_result":
            send(id=number)
            signal.pause()
        case "both":
            send(id=number, result=1, error={"code": 1, "message": "also"})
            signal.pause()
        case "no_version":
            write(b'{"id":%d,"result":"x"}\n' % number)
            signal.pause()
        case "bad_error":
            send(id=number, error={"code": "1", "message": "a text for a code"})
            signal.pause()
        case "freeze":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "daemon":
            send(id=number, result=daemon())
            return
        case "exit_leaving_a_child":
            child = os.fork()
            if child == 0:
                while True:  # with the streams of its parent
                    signal.pause()
            print(child, file=sys.stderr, flush=True)
            os._exit(3)
        case "unread":
            send(id=number, result="and no more")
            while True:  # without reading what it is asked
                signal.pause()
        case "hold":
            held.append(number)
            return
        case "release":
            while held:
                send(id=held.pop(), result="released")
        case "sleep_then_answer":
            signal.sigtimedwait([signal.SIGUSR1], arguments["seconds"])
    send(id=number, result=result)


def daemon() -> int:
    """Start a process that does all it can to outlive us; its id."""
    heard, ready = os.pipe()
    middle = os.fork()
    if middle == 0:
        os.setsid()
        if os.fork() == 0:
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            for fd in (0, 1, 2):
                os.close(fd)
            os.write(ready, str(os.getpid()).encode())
            while True:
                signal.pause()
        os._exit(0)
    os.waitpid(middle, 0)
    pid = int(os.read(heard, 100))
    os.close(heard)
    os.close(ready)
    return pid


def main() -> None:
    if MODE == "exit":
        print("cannot go on", file=sys.stderr)
        sys.exit(4)
    if MODE == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for line in sys.stdin:
        request = json.loads(line)
        number, method, params = request.get("id"), request["method"], request.get("params", {})
        if method == "describe":
            if MODE == "refuses":
                send(id=number, error={"code": 1, "message": "rather not"})
            else:
                send(id=number, result=DESCRIPTIONS[MODE])
        elif method == "call":
            call(number, params["tool"], params["arguments"], params)
        elif method == "ping":
            if "deaf" in sys.argv:
                continue
            send(id=number, result="pong")
        elif method == "cancel" and params["id"] in held:
            held.remove(params["id"])
            print(f"cancelled {params['id']}", file=sys.stderr, flush=True)
            send(id=params["id"], error={"code": -1, "message": "cancelled"})


if __name__ == "__main__":
    main()
