"""flowctl: look at a running node, and steer it, over its `api` edge."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from flowcore.cli.tables import seconds, table

EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2
DEFAULT_URL = "http://127.0.0.1:7301"
URL_VARIABLE = "FLOWCTL_URL"


class Unreachable(Exception):
    """There is no node, or what answers is none."""


class Refused(Exception):
    """The node answered with an error."""

    def __init__(self, status: int, error: dict[str, Any]) -> None:
        super().__init__(str(error.get("message", f"HTTP {status}")))
        self.status = status
        self.error = error


def parser() -> argparse.ArgumentParser:
    """The command line of flowctl."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print JSON", default=argparse.SUPPRESS)
    common.add_argument(
        "--url",
        help=f"the node's api edge (default: ${URL_VARIABLE}, or {DEFAULT_URL})",
        default=argparse.SUPPRESS,
    )
    common.add_argument("--timeout", type=float, metavar="SECONDS", default=argparse.SUPPRESS)
    top = argparse.ArgumentParser(
        prog="flowctl",
        description="Look at a running node, and steer it.",
        parents=[common],
        epilog="exit codes: 0 done, 1 the node refused, is not ready or cannot be reached, 2 wrong usage",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("status", parents=[common], help="the node and its components")
    agents = commands.add_parser("agents", parents=[common], help="the agents; or steer one")
    agents.add_argument(
        "action", nargs="?", choices=["list", "show", "pause", "resume", "restart"], default="list"
    )
    agents.add_argument("name", nargs="?", help="an agent's name")
    call = commands.add_parser("call", parents=[common], help="call a tool")
    call.add_argument("tool", help="its public name, such as time.get_current_time")
    call.add_argument(
        "arguments", nargs="*", metavar="KEY=VALUE", help="JSON values; other text is text"
    )
    call.add_argument(
        "--arguments", dest="whole", metavar="JSON", help="all arguments as one JSON object"
    )
    call.add_argument("--deadline", type=float, metavar="SECONDS")
    call.add_argument("--idempotency-key", metavar="KEY")
    commands.add_parser("tools", parents=[common], help="the public names of all tools")
    commands.add_parser(
        "tasks",
        parents=[common],
        help="tasks and requests under way, and those that ended lately",
    )
    return top


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point of the command."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run flowctl; its exit code."""
    options = parser().parse_args(arguments)
    options.json = getattr(options, "json", False)
    node = NodeClient(
        getattr(options, "url", None) or os.environ.get(URL_VARIABLE) or DEFAULT_URL,
        getattr(options, "timeout", 60.0),
    )
    try:
        return COMMANDS[options.command](options, node)
    except Unreachable as error:
        print(f"flowctl: {error}", file=sys.stderr)
        return EXIT_FAILED
    except Refused as error:
        if options.json:
            print(json.dumps({"error": error.error}, indent=2))
        print(f"flowctl: {error}", file=sys.stderr)
        return EXIT_FAILED
    except ValueError as error:
        print(f"flowctl: {error}", file=sys.stderr)
        return EXIT_USAGE


class NodeClient:
    """Asks one node, one request a connection."""

    def __init__(self, url: str, timeout: float) -> None:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme != "http" or not parts.hostname:
            raise SystemExit(f"flowctl: expected a URL such as {DEFAULT_URL}, not {url!r}")
        self._url = url
        self._host, self._port = parts.hostname, parts.port or 80
        self._timeout = timeout

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        """GET a path: (status, JSON)."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """POST a path; raises Refused unless it succeeded."""
        status, answer = self._ask("POST", path, body or {})
        return _accepted(status, answer)

    def _ask(
        self, method: str, path: str, body: dict[str, Any] | None
    ) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        try:
            data = None if body is None else json.dumps(body)
            headers = {"content-type": "application/json"} if body is not None else {}
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
        except TimeoutError:
            raise Unreachable(f"{self._url} did not answer within {self._timeout:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise Unreachable(f"no node at {self._url}: {reason}") from None
        except ValueError:
            raise Unreachable(f"what answers at {self._url} is no flowcore node") from None
        finally:
            connection.close()
        if not isinstance(answer, dict):
            raise Unreachable(f"what answers at {self._url} is no flowcore node")
        return response.status, answer


def _accepted(status: int, answer: dict[str, Any]) -> dict[str, Any]:
    if status >= 400:
        raise Refused(status, answer.get("error", {}))
    return answer


def _status(options: argparse.Namespace, node: NodeClient) -> int:
    status = _accepted(*node.get("/status"))
    if options.json:
        print(json.dumps(status, indent=2))
    else:
        requests = status["requests"]
        word = "ready" if status["ready"] else "draining" if status["draining"] else "not ready"
        print(
            f"node {status['node']} (flowcore {status['version']}): {word}, up {seconds(status['uptime'])}"
        )
        for name, urls in status["endpoints"].items():
            print(f"  {name}: {', '.join(urls)}")
        print(
            f"requests: {requests['accepted']} accepted, {requests['running']} running,"
            f" {requests['results']} results, {requests['errors']} errors, {requests['cancelled']} cancelled,"
            f" {requests['expired']} expired, {requests['refused']} refused;"
            f" p50 {seconds(requests['durations']['p50'])}, p99 {seconds(requests['durations']['p99'])}\n"
        )
        rows = [
            [one["component"], one["type"], one["status"], seconds(one["for"]), one["reason"]]
            for one in status["components"]
        ]
        print(table(["component", "type", "status", "for", ""], rows, state=2))
        for text in status["collisions"]:
            print(f"note: {text}")
    return EXIT_OK if status["ready"] else EXIT_FAILED


def _agents(options: argparse.Namespace, node: NodeClient) -> int:
    if options.action == "list":
        return _list_agents(options, node)
    if options.name is None:
        raise ValueError(f"agents {options.action} needs the name of an agent")
    path = f"/agents/{quote(options.name, safe='')}"
    if options.action == "show":
        answer = _accepted(*node.get(path))
        print(json.dumps(answer, indent=2))
    else:
        answer = node.post(f"{path}/{options.action}")
        done = {"pause": "paused", "resume": "resumed", "restart": "restarting"}[options.action]
        print(json.dumps(answer, indent=2) if options.json else f"{options.name}: {done}")
    return EXIT_OK


def _list_agents(options: argparse.Namespace, node: NodeClient) -> int:
    answer = _accepted(*node.get("/agents"))
    if options.json:
        print(json.dumps(answer, indent=2))
        return EXIT_OK
    rows = []
    for one in answer["agents"]:
        pool = one["pool"] or {"workers": 0, "active": 0, "waiting": 0}
        rows.append(
            [
                one["name"],
                one["state"],
                str(one["offers"]["tools"]),
                str(pool["workers"]),
                str(pool["active"]),
                str(pool["waiting"]),
                str(one["calls"]),
                str(one["failed"] + one["faulty"] + one["expired"] + one["lost"]),
                seconds(one["durations"]["p50"]),
                seconds(one["durations"]["p99"]),
                one["reason"],
            ]
        )
    head = [
        "agent",
        "state",
        "tools",
        "workers",
        "active",
        "waiting",
        "calls",
        "failed",
        "p50",
        "p99",
        "",
    ]
    print(table(head, rows, state=1))
    return EXIT_OK


def _call(options: argparse.Namespace, node: NodeClient) -> int:
    body: dict[str, Any] = {"tool": options.tool, "arguments": _call_arguments(options)}
    if options.deadline is not None:
        body["deadline"] = options.deadline
    if options.idempotency_key is not None:
        body["idempotencyKey"] = options.idempotency_key
    answer = node.post("/call", body)
    result = answer["result"]
    if options.json:
        print(json.dumps(answer, indent=2))
    else:
        for block in result.get("content", []):
            kind = block.get("type")
            print(
                block["text"]
                if kind == "text"
                else f"[{kind} {block.get('mimeType', '')}]".replace(" ]", "]")
            )
    return EXIT_FAILED if result.get("isError") else EXIT_OK


def _call_arguments(options: argparse.Namespace) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    if options.whole is not None:
        try:
            whole = json.loads(options.whole)
        except ValueError as error:
            raise ValueError(f"--arguments: expected a JSON object: {error}") from None
        if not isinstance(whole, dict):
            raise ValueError("--arguments: expected a JSON object")
        arguments.update(whole)
    for pair in options.arguments:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise ValueError(f"expected KEY=VALUE, not {pair!r}")
        try:
            arguments[key] = json.loads(text)
        except ValueError:
            arguments[key] = text
    return arguments


def _tools(options: argparse.Namespace, node: NodeClient) -> int:
    answer = _accepted(*node.get("/tools"))
    if options.json:
        print(json.dumps(answer, indent=2))
        return EXIT_OK
    for one in answer["tools"]:
        print(one["name"])
    if answer["missing"]:
        print(f"missing now: {', '.join(answer['missing'])}", file=sys.stderr)
    return EXIT_OK


def _tasks(options: argparse.Namespace, node: NodeClient) -> int:
    answer = _accepted(*node.get("/tasks"))
    if options.json:
        print(json.dumps(answer, indent=2))
        return EXIT_OK
    counts = answer["statistics"]
    names = ("begun", "running", "completed", "failed", "cancelled", "refused", "kept")
    print("tasks: " + ", ".join(f"{counts[name]} {name}" for name in names))
    if answer["tasks"]:
        print(_tasks_table(answer["tasks"]))
    print()
    rows = [
        [
            one["id"],
            one["agent"],
            one["name"],
            one["state"],
            seconds(one["seconds"]),
            one["principal"],
            one["error"],
        ]
        for one in answer["requests"]
    ]
    print(table(["request", "agent", "name", "state", "took", "by", ""], rows, state=3))
    return EXIT_OK


def _tasks_table(tasks: list[dict[str, Any]]) -> str:
    rows = [
        [
            one["request"],
            one["agent"],
            one["name"],
            one["state"],
            seconds(one["seconds"]),
            one["principal"],
            one["message"],
        ]
        for one in tasks
    ]
    return table(["task of request", "agent", "name", "state", "took", "by", ""], rows, state=3)


COMMANDS = {"status": _status, "agents": _agents, "call": _call, "tools": _tools, "tasks": _tasks}
