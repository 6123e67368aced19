"""An upstream on stdio that lies, in one way at a time. Standard library only.

Usage: liar.py LIE, the name of a class below. It behaves until the moment of its lie comes.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

OUT = sys.stdout.buffer


def write(data: bytes) -> None:
    OUT.write(data)
    OUT.flush()


def answer(request: dict[str, Any], result: Any) -> None:
    write(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}).encode() + b"\n")


def initialized(request: dict[str, Any]) -> None:
    answer(
        request,
        {
            "protocolVersion": request["params"]["protocolVersion"],
            "capabilities": {"tools": {"listChanged": True}},
            "serverInfo": {"name": "liar", "version": "1"},
        },
    )


def tools(request: dict[str, Any], *more: Any, **members: Any) -> None:
    entry = {"name": "lie", "inputSchema": {"type": "object"}}
    answer(request, {"tools": [entry, *more], **members})


class Liar:
    """Answers `initialize` and `tools/list` as it should; a subclass or lie replaces a method."""

    def initialize(self, request: dict[str, Any]) -> None:
        initialized(request)

    def tools_list(self, request: dict[str, Any]) -> None:
        tools(request)

    def tools_call(self, request: dict[str, Any]) -> None:
        answer(request, {"content": [{"type": "text", "text": "truth"}]})

    def ping(self, request: dict[str, Any]) -> None:
        answer(request, {})

    def run(self) -> None:
        for line in sys.stdin.buffer:
            message = json.loads(line)
            method = message.get("method", "").replace("/", "_")
            if "id" not in message:
                continue
            handler = getattr(self, method, None)
            if handler is None:
                error = {"code": -32601, "message": "unknown"}
                write(
                    json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error}).encode()
                    + b"\n"
                )
            else:
                handler(message)


class Mute(Liar):
    """It never answers anything."""

    def run(self) -> None:
        for _ in sys.stdin.buffer:
            pass


class Gone(Liar):
    """It ends at once, with last words."""

    def run(self) -> None:
        sys.stderr.write("no configuration found\n")
        sys.exit(7)


class Babbler(Liar):
    """It writes a banner and logs where only messages should be, and works."""

    def run(self) -> None:
        write(b"Welcome to the server!\n\n{'level': 'info'}\n{\"level\": \"info\"}\n\xff\xfe\n")
        super().run()

    def tools_call(self, request: dict[str, Any]) -> None:
        write(b"called\n")
        super().tools_call(request)


class Endless(Liar):
    """It writes lines without end instead of an answer."""

    def tools_call(self, request: dict[str, Any]) -> None:
        while True:
            write(b"y\n" * 1000)


class EndlessAtOnce(Liar):
    """It writes lines without end from the beginning."""

    def run(self) -> None:
        while True:
            write(b"y\n" * 1000)


class LongLine(Liar):
    """It answers with a line of 100 MB."""

    def tools_call(self, request: dict[str, Any]) -> None:
        for _ in range(100):
            write(b"x" * 1_000_000)
        write(b"\n")


class Broken(Liar):
    """It answers with what would be a message if it were JSON."""

    def tools_call(self, request: dict[str, Any]) -> None:
        write(b'{"jsonrpc":"2.0","id":%d,"result":{"content":[}\n' % request["id"])


class Deep(Liar):
    """It answers with 100,000 levels of nesting."""

    def tools_call(self, request: dict[str, Any]) -> None:
        depth = 100_000
        write(
            b'{"jsonrpc":"2.0","id":%d,"result":%b%b}\n'
            % (request["id"], b'{"a":' * depth + b"1", b"}" * depth)
        )


class NotUtf8(Liar):
    """It answers with bytes that are no UTF-8."""

    def tools_call(self, request: dict[str, Any]) -> None:
        write(b'{"jsonrpc":"2.0","id":%d,"result":{"content":"\xff"}}\n' % request["id"])


class Batch(Liar):
    """It answers in a batch, after something nobody asked for."""

    def tools_call(self, request: dict[str, Any]) -> None:
        note = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info"}}
        reply = {"jsonrpc": "2.0", "id": request["id"], "result": {"content": []}}
        write(json.dumps([note, reply]).encode() + b"\n")


class BrokenBatch(Liar):
    def tools_call(self, request: dict[str, Any]) -> None:
        write(b'[{"jsonrpc":"2.0","id":1,"result":{}},7]\n')


class EmptyBatch(Liar):
    def tools_call(self, request: dict[str, Any]) -> None:
        write(b'[{"jsonrpc":"2.0"]\n')


class NullId(Liar):
    """It answers with an error that names no request."""

    def tools_call(self, request: dict[str, Any]) -> None:
        error = {"code": -32700, "message": "cannot read that"}
        write(json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode() + b"\n")


class StderrFlood(Liar):
    """It writes 20 MB to stderr before it answers."""

    def tools_call(self, request: dict[str, Any]) -> None:
        for _ in range(20):
            sys.stderr.write("e" * 999_999 + "\n")
        sys.stderr.flush()
        super().tools_call(request)


class Circle(Liar):
    """Its list's cursors lead in a circle."""

    def tools_list(self, request: dict[str, Any]) -> None:
        cursor = request["params"].get("cursor", "a")
        tools(request, nextCursor="b" if cursor == "a" else "a")


class Forever(Liar):
    """Its list never ends."""

    number = 0

    def tools_list(self, request: dict[str, Any]) -> None:
        self.number += 1
        tools(request, nextCursor=str(self.number))


class Empty(Forever):
    """Its list never ends, and never has an entry."""

    def tools_list(self, request: dict[str, Any]) -> None:
        self.number += 1
        answer(request, {"tools": [], "nextCursor": str(self.number)})


class Heavy(Liar):
    """Its list is of many large pages."""

    number = 0

    def tools_list(self, request: dict[str, Any]) -> None:
        self.number += 1
        tools(
            request,
            {"name": f"t{self.number}", "description": "d" * 900_000},
            nextCursor=str(self.number),
        )


class NoList(Liar):
    def tools_list(self, request: dict[str, Any]) -> None:
        answer(request, {"tools": "many"})


class SlowList(Liar):
    """It never lists anything."""

    def tools_list(self, request: dict[str, Any]) -> None:
        pass


class FailingList(Liar):
    def tools_list(self, request: dict[str, Any]) -> None:
        error = {"code": -32603, "message": "the database is away"}
        write(json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}).encode() + b"\n")


class Sloppy(Liar):
    """Some entries of its list are none, or stand twice; its resources are declared, but not listed."""

    def initialize(self, request: dict[str, Any]) -> None:
        answer(
            request,
            {
                "protocolVersion": "2024-11-05",
                "capabilities": {"tools": {}, "resources": {}, "prompts": {}},
                "serverInfo": {"name": "liar", "version": "1"},
            },
        )

    def tools_list(self, request: dict[str, Any]) -> None:
        tools(
            request,
            {"title": "nameless"},
            7,
            {"name": "lie", "description": "again"},
            {"name": "hints", "annotations": {"readOnlyHint": "yes"}},
            {"name": "odd", "annotations": 7},
            nextCursor="",
        )

    def prompts_list(self, request: dict[str, Any]) -> None:
        answer(request, {})


class LaterCircle(Liar):
    """Its list is right at first, and says that it changed, and is none then."""

    lists = 0

    def tools_list(self, request: dict[str, Any]) -> None:
        self.lists += 1
        if self.lists == 1:
            tools(request)
        else:
            tools(request, nextCursor="again")

    def tools_call(self, request: dict[str, Any]) -> None:
        note = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
        write(json.dumps(note).encode() + b"\n")
        super().tools_call(request)


class LaterFailure(LaterCircle):
    """The second listing fails, the third does not."""

    def tools_list(self, request: dict[str, Any]) -> None:
        self.lists += 1
        if self.lists == 2:
            error = {"code": -32603, "message": "the database is away"}
            write(
                json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}).encode() + b"\n"
            )
        else:
            tools(request, {"name": f"number-{self.lists}"})


class Refreshed(Liar):
    """Its list changes, and it never says so."""

    lists = 0

    def tools_list(self, request: dict[str, Any]) -> None:
        self.lists += 1
        tools(request, {"name": f"number-{self.lists}"})


class Refusing(Liar):
    def initialize(self, request: dict[str, Any]) -> None:
        error = {"code": -32000, "message": "no licence"}
        write(json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}).encode() + b"\n")


class Odd(Liar):
    def initialize(self, request: dict[str, Any]) -> None:
        answer(request, {"protocolVersion": 7})


class Future(Liar):
    def initialize(self, request: dict[str, Any]) -> None:
        answer(request, {"protocolVersion": "2031-01-01", "capabilities": {}})


class Silent(Liar):
    """It answers nothing that it does not know."""

    def server_discover(self, request: dict[str, Any]) -> None:
        pass


class OddDiscovery(Liar):
    """It answers a discovery with something else, as servers may that answer everything."""

    def server_discover(self, request: dict[str, Any]) -> None:
        answer(request, {"ok": True})


class Picky(Liar):
    """It knows 2026-07-28 well enough to say what it would rather speak."""

    def server_discover(self, request: dict[str, Any]) -> None:
        error = {"code": -32022, "message": "no", "data": {"supported": ["2025-06-18"]}}
        write(json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}).encode() + b"\n")


class PickyModern(Liar):
    """It refuses a version that it says it supports, once."""

    asked = 0

    def server_discover(self, request: dict[str, Any]) -> None:
        self.asked += 1
        if self.asked > 1:
            answer(
                request,
                {
                    "resultType": "complete",
                    "supportedVersions": ["2026-07-28"],
                    "capabilities": {"tools": {}},
                },
            )
            return
        error = {"code": -32022, "message": "no", "data": {"supported": ["2026-07-28"]}}
        write(json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}).encode() + b"\n")


class OtherTimes(Liar):
    """It is of an era that we do not know."""

    def server_discover(self, request: dict[str, Any]) -> None:
        error = {"code": -32022, "message": "no", "data": {"supported": ["2031-01-01"]}}
        write(json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}).encode() + b"\n")


class OddRefusal(Liar):
    """Its error has the code of an unsupported version, and means something else."""

    def server_discover(self, request: dict[str, Any]) -> None:
        error = {"code": -32022, "message": "no", "data": "whatever"}
        write(json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}).encode() + b"\n")


class Mismatch(Liar):
    """It is modern, and finds fault with the question."""

    def server_discover(self, request: dict[str, Any]) -> None:
        error = {"code": -32020, "message": "headers, on stdio?"}
        write(json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}).encode() + b"\n")


class Changing(PickyModern):
    """It speaks 2026-07-28 until it is called."""

    asked = 1

    def tools_call(self, request: dict[str, Any]) -> None:
        error = {"code": -32022, "message": "no more", "data": {"supported": ["2025-11-25"]}}
        write(json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}).encode() + b"\n")


class Crashing(Liar):
    """It ends at the point that a second word names, with half an answer on the wire if that is `half`."""

    def run(self) -> None:
        self.point = sys.argv[2]
        super().run()

    def at(self, point: str) -> None:
        if self.point == point:
            sys.stderr.write(f"crashing at {point}\n")
            sys.stderr.flush()
            os._exit(9)

    def server_discover(self, request: dict[str, Any]) -> None:
        self.at("discover")
        error = {"code": -32601, "message": "unknown"}
        write(json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}).encode() + b"\n")

    def initialize(self, request: dict[str, Any]) -> None:
        self.at("initialize")
        super().initialize(request)
        self.at("initialized")

    def tools_list(self, request: dict[str, Any]) -> None:
        self.at("list")
        super().tools_list(request)
        self.at("listed")

    def tools_call(self, request: dict[str, Any]) -> None:
        self.at("call")
        if self.point == "half":
            write(b'{"jsonrpc":"2.0","id":%d,"result":{"content":[' % request["id"])
            self.at("half")
        super().tools_call(request)
        self.at("answered")


class HandshakeDies(PickyModern):
    """It speaks 2026-07-28, and dies of a handshake."""

    asked = 1

    def initialize(self, request: dict[str, Any]) -> None:
        sys.exit("what is that?")


class Closing(Liar):
    """It closes its output and lives on."""

    def tools_call(self, request: dict[str, Any]) -> None:
        OUT.flush()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        while True:
            time.sleep(3600)


class Deaf(Liar):
    """It closes its input and lives on."""

    def tools_call(self, request: dict[str, Any]) -> None:
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        super().tools_call(request)
        while True:
            time.sleep(3600)


class Hanging(Liar):
    """It answers one call, and nothing after that."""

    def tools_call(self, request: dict[str, Any]) -> None:
        super().tools_call(request)
        while True:
            time.sleep(3600)


class Asking(Liar):
    """It asks before anything was asked of it, and many things at a time."""

    def initialize(self, request: dict[str, Any]) -> None:
        super().initialize(request)
        for number, method in enumerate(("roots/list", "ping", "elicitation/create")):
            question = {"jsonrpc": "2.0", "id": number, "method": method, "params": {}}
            write(json.dumps(question).encode() + b"\n")

    def run(self) -> None:
        self.answers: dict[int, Any] = {}
        for line in sys.stdin.buffer:
            message = json.loads(line)
            if "method" not in message:
                self.answers[message["id"]] = message.get("result", message.get("error"))
            elif message["method"] == "tools/call":
                kept = [self.answers.get(number) for number in range(3)]
                answer(message, {"content": [{"type": "text", "text": json.dumps(kept)}]})
            elif "id" in message:
                handler = getattr(self, message["method"].replace("/", "_"), None)
                if handler is None:
                    error = {"code": -32601, "message": "unknown"}
                    reply = {"jsonrpc": "2.0", "id": message["id"], "error": error}
                    write(json.dumps(reply).encode() + b"\n")
                else:
                    handler(message)


if __name__ == "__main__":
    globals()[sys.argv[1]]().run()
