"""A small MCP server on stdio with a tool for each thing an upstream may do. Standard library only.

Usage: stdio_server.py [--era handshake|modern|both] [--version VERSION] [--slow-start SECONDS] [--no-lists]
[--log-on-ping]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from typing import Any

META = "io.modelcontextprotocol/"
TOOLS: list[dict[str, Any]] = [
    {
        "name": name,
        "description": f"does {name}",
        "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}},
        "x-unknown": {"kept": [1, 2.50, "\u00e9"]},
        **more,
    }
    for name, more in {
        "echo": {"annotations": {"readOnlyHint": True, "idempotentHint": True}},
        "meta": {},
        "hang": {},
        "progress": {},
        "log": {},
        "ask": {},
        "fail": {},
        "crash": {},
        "large": {},
        "grow": {},
        "touch": {},
        "wait": {},
        "cancelled": {},
        "twice": {},
        "untyped": {},
        "badly": {},
        "stray": {},
        "level": {},
        "withdraw": {},
        "unknown_question": {},
    }.items()
]


class Server:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.lock = threading.Lock()
        self.tools = list(TOOLS)
        self.cancelled: list[Any] = []
        self.waiting: dict[Any, threading.Event] = {}
        self.questions: dict[Any, tuple[threading.Event, list[Any]]] = {}
        self.next_question = 0
        self.subscribed: set[str] = set()
        self.listening: dict[Any, dict[str, Any]] = {}
        self.level = "none"
        self.later: dict[str, Any] = {}

    # ---- the wire

    def send(self, message: dict[str, Any]) -> None:
        line = json.dumps({"jsonrpc": "2.0", **message}, ensure_ascii=False) + "\n"
        with self.lock:
            sys.stdout.buffer.write(line.encode())
            sys.stdout.buffer.flush()

    def notify(self, method: str, params: dict[str, Any]) -> None:
        self.send({"method": method, "params": params})

    def ask(self, method: str, params: dict[str, Any], *, wait: bool = True) -> Any:
        self.next_question += 1
        number = f"question-{self.next_question}"
        event, answer = self.questions[number] = (threading.Event(), [])
        self.send({"id": number, "method": method, "params": params})
        if not wait:
            return number
        event.wait()
        return answer[0]

    def run(self) -> None:
        if self.options.slow_start:
            time.sleep(self.options.slow_start)
        for line in sys.stdin.buffer:
            message = json.loads(line)
            if "method" not in message:
                event, answer = self.questions[message["id"]]
                answer.append(
                    message["result"] if "result" in message else {"error": message["error"]}
                )
                event.set()
            elif "id" not in message:
                self.noticed(message["method"], message.get("params", {}))
            elif message["method"] == "tools/call":
                threading.Thread(target=self.request, args=(message,), daemon=True).start()
            else:
                self.request(message)

    def noticed(self, method: str, params: dict[str, Any]) -> None:
        if method == "notifications/cancelled":
            number = params["requestId"]
            self.cancelled.append(number)
            self.listening.pop(number, None)
            if number in self.waiting:
                self.waiting.pop(number).set()

    # ---- requests

    def request(self, message: dict[str, Any]) -> None:
        number, method, params = message["id"], message["method"], message.get("params", {})
        meta = params.get("_meta", {})
        modern = META + "protocolVersion" in meta
        era = self.options.era
        if modern and era == "handshake":
            self.send({"id": number, "error": {"code": -32601, "message": "what is that"}})
            return
        if not modern and era == "modern":
            self.send({"id": number, "error": {"code": -32602, "message": "no _meta"}})
            return
        try:
            result = self.result(number, method, params, meta, modern)
        except Failure as failure:
            self.send({"id": number, "error": failure.error})
            return
        if result is not None:
            if modern and params.get("name") != "untyped":
                result.setdefault("resultType", "complete")
                result.setdefault("_meta", {})[META + "serverInfo"] = {"name": "s", "version": "1"}
            self.send({"id": number, "result": result})

    def result(
        self, number: Any, method: str, params: dict[str, Any], meta: dict[str, Any], modern: bool
    ) -> dict[str, Any] | None:
        capabilities = {
            "tools": {"listChanged": True},
            "resources": {"listChanged": True, "subscribe": True},
            "prompts": {},
            "logging": {},
            "completions": {},
        }
        if self.options.no_lists:
            capabilities = {"tools": {}}
        match method:
            case "initialize":
                return {
                    "protocolVersion": params["protocolVersion"]
                    if "," in self.options.version
                    else self.options.version or params["protocolVersion"],
                    "capabilities": capabilities,
                    "serverInfo": {"name": "s", "version": "1"},
                    "instructions": "be kind",
                }
            case "server/discover":
                versions = (
                    ["2026-07-28"] if self.options.era != "both" else ["2026-07-28", "2025-11-25"]
                )
                return {
                    "supportedVersions": self.options.version.split(",")
                    if self.options.version
                    else versions,
                    "capabilities": capabilities,
                    "instructions": "be kind",
                }
            case "ping":
                if self.options.log_on_ping:
                    self.notify("notifications/message", {"level": "info", "data": "a ping"})
                return {}
            case "tools/list":
                half = len(self.tools) // 2
                if "cursor" not in params:
                    return {"tools": self.tools[:half], "nextCursor": "second"}
                return {"tools": self.tools[half:]}
            case "resources/list":
                return {"resources": [{"uri": "file:///a", "name": "a"}]}
            case "resources/templates/list":
                return {"resourceTemplates": [{"uriTemplate": "file:///{x}", "name": "t"}]}
            case "prompts/list":
                return {"prompts": [{"name": "greet", "arguments": [{"name": "who"}]}]}
            case "resources/read":
                return {
                    "contents": [{"uri": params["uri"], "text": "content"}],
                    "ttlMs": 5,
                    "cacheScope": "public",
                }
            case "prompts/get":
                return {"messages": [{"role": "user", "content": {"type": "text", "text": "hi"}}]}
            case "completion/complete":
                return {"completion": {"values": ["one", "two"]}}
            case "logging/setLevel":
                self.level = params["level"]
                return {}
            case "resources/subscribe":
                if params["uri"] == "file:///secret":
                    raise Failure(-32002, "no such resource")
                self.subscribed.add(params["uri"])
                return {}
            case "resources/unsubscribe":
                self.subscribed.discard(params["uri"])
                return {}
            case "subscriptions/listen":
                wanted = dict(params["notifications"])
                if "file:///secret" in wanted.get("resourceSubscriptions", []):
                    wanted["resourceSubscriptions"].remove("file:///secret")
                self.listening[number] = wanted
                self.notify(
                    "notifications/subscriptions/acknowledged",
                    {"_meta": {META + "subscriptionId": number}, "notifications": wanted},
                )
                return None
            case "tools/call":
                return self.call(number, params, meta, modern)
        raise Failure(-32601, f"no method {method}", {"method": method})

    def announce(self, method: str, filter_name: str, params: dict[str, Any]) -> None:
        if not self.listening:
            self.notify(method, params)
            return
        for number, wanted in tuple(self.listening.items()):
            if wanted.get(filter_name):
                self.notify(method, {**params, "_meta": {META + "subscriptionId": number}})

    def call(
        self, number: Any, params: dict[str, Any], meta: dict[str, Any], modern: bool
    ) -> dict[str, Any] | None:
        arguments = params.get("arguments", {})
        match params["name"]:
            case "echo":
                return text(arguments.get("text", ""))
            case "meta":
                return {
                    "content": [],
                    "structuredContent": {"meta": meta, "params": sorted(params)},
                }
            case "hang" | "wait":
                event = self.waiting[number] = threading.Event()
                self.notify("notifications/message", {"level": "info", "data": f"hanging {number}"})
                event.wait()
                return text("too late") if params["name"] == "hang" else None
            case "progress":
                for step in (1, 2, 3):
                    self.notify(
                        "notifications/progress",
                        {"progressToken": meta["progressToken"], "progress": step, "total": 3},
                    )
                return text("done")
            case "log":
                self.notify(
                    "notifications/message", {"level": "info", "logger": "l", "data": "hello"}
                )
                return text("logged")
            case "freeze":
                self.lock.acquire()  # nothing is written any more
                return None
            case "log_later":
                self.later = {"level": "info", "data": arguments["text"]}
                return text("later")
            case "release":
                self.notify("notifications/message", self.later)
                return text("ok")
            case "level":
                return text(self.level)
            case "ask":
                if modern:
                    if "inputResponses" not in params:
                        return {
                            "resultType": "input_required",
                            "inputRequests": {
                                "q": {
                                    "method": arguments["method"],
                                    "params": arguments.get("params", {"message": "?"}),
                                }
                            },
                            "requestState": "sealed",
                        }
                    assert params["requestState"] == "sealed"
                    return text(json.dumps(params["inputResponses"]))
                answer = self.ask(arguments["method"], arguments.get("params", {"message": "?"}))
                return text(json.dumps(answer))
            case "withdraw":
                asked = self.ask("elicitation/create", {"message": "?"}, wait=False)
                self.notify("notifications/cancelled", {"requestId": asked})
                return text("withdrawn")
            case "unknown_question":
                return text(json.dumps(self.ask("flow/unknown", {})))
            case "fail":
                raise Failure(-32042, "not today", {"why": [1, None, "x"]})
            case "crash":
                sys.stderr.write("about to crash\n")
                sys.stderr.flush()
                os._exit(3)
            case "large":
                return text("x" * int(arguments["size"]))
            case "grow":
                self.tools = [
                    *self.tools,
                    {"name": f"new-{len(self.tools)}", "inputSchema": {"type": "object"}},
                ]
                self.announce("notifications/tools/list_changed", "toolsListChanged", {})
                return text("grown")
            case "touch":
                uri = arguments["uri"]
                listening = any(
                    uri in f.get("resourceSubscriptions", []) for f in self.listening.values()
                )
                if uri in self.subscribed or listening:
                    self.announce(
                        "notifications/resources/updated", "resourceSubscriptions", {"uri": uri}
                    )
                return text(",".join(sorted(self.subscribed)))
            case "cancelled":
                return text(json.dumps(self.cancelled))
            case "twice":
                self.send({"id": number, "result": text("first")})
                return text("second")
            case "untyped":
                return text("no type")
            case "badly":
                self.send({"id": number, "result": {}, "error": {"code": 1, "message": "both"}})
                return None
            case "stray":
                self.send({"id": "never-asked", "result": {}})
                self.send({"id": 10_000_000, "result": {}})
                self.send({"method": "notifications/nobody/knows", "params": {}})
                self.notify("notifications/progress", {"progressToken": 999_999, "progress": 1})
                return text("ok")
        raise Failure(-32602, f"no tool {params['name']}")


class Failure(Exception):
    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.error: dict[str, Any] = {"code": code, "message": message}
        if data is not None:
            self.error["data"] = data


def text(value: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": value}]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--era", default="handshake", choices=["handshake", "modern", "both"])
    parser.add_argument("--version", default="")
    parser.add_argument("--slow-start", type=float, default=0.0)
    parser.add_argument("--log-on-ping", action="store_true")
    parser.add_argument("--no-lists", action="store_true")
    Server(parser.parse_args()).run()


if __name__ == "__main__":
    main()
