"""flowctl: look at a running node, and steer it, over its `api` edge."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Container, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from flowcore.cli import (
    approve,
    certs,
    doctor,
    fault,
    guards,
    hard_state,
    keys,
    memory,
    nodes,
    offline,
    revoking,
    routing,
    seal,
    watching,
)
from flowcore.cli.answers import (
    AgentLine,
    AgentsAnswer,
    CallAnswer,
    KeptTaskLine,
    RequestLine,
    RouterCounts,
    StateCounts,
    StatusAnswer,
    Steered,
    SwarmCounts,
    TaskLine,
    TasksAnswer,
    ToolsAnswer,
)
from flowcore.cli.connection import add_options, connection
from flowcore.cli.node_client import NodeClient, Refused, Unreachable
from flowcore.cli.tables import seconds, table
from flowcore.cli.top import add_command as add_top
from flowcore.cli.top import top as show_top
from flowcore.config import ConfigError

Command = Callable[[argparse.Namespace, NodeClient], int]
EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130


def parser() -> argparse.ArgumentParser:
    """The command line of flowctl."""
    plain = argparse.ArgumentParser(add_help=False)
    plain.add_argument("--json", action="store_true", help="print JSON", default=argparse.SUPPRESS)
    common = argparse.ArgumentParser(add_help=False, parents=[plain])
    add_options(common)
    common.add_argument("--timeout", type=float, metavar="SECONDS", default=argparse.SUPPRESS)
    top = argparse.ArgumentParser(
        prog="flowctl",
        description="Look at a running node, and steer it.",
        parents=[common],
        epilog="exit codes: 0 done, 1 the tool failed, or the node refused, is not ready or cannot be"
        " reached, 2 wrong usage",
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
    call.add_argument(
        "--idempotency-key", metavar="KEY", help="the same key is never worked on twice"
    )
    call.add_argument(
        "--priority", choices=["low", "normal", "high"], help="its place among those that wait"
    )
    call.add_argument(
        "--affinity", metavar="TEXT", help="calls of one text meet one worker (consistent_hash)"
    )
    guards.add_parser(commands, common)
    add_top(commands, common)
    doctor.add_command(commands, common)
    approve.add_command(commands, common)
    routing.add_commands(commands, common)
    memory.add_command(commands, common)
    nodes.add_command(commands, common)
    hard_state.add_commands(commands, common)
    fault.add_command(commands, common)
    revoking.add_commands(commands, common)
    watching.add_commands(commands, common)
    commands.add_parser("tools", parents=[common], help="the public names of all tools")
    commands.add_parser(
        "tasks",
        parents=[common],
        help="tasks and requests under way, and those that ended lately",
    )
    # these ask no node: what is said of one beforehand, as by an alias, is no mistake
    plain.add_argument("--url", dest="connection_url", help=argparse.SUPPRESS)
    offline.add_commands(commands, plain)
    seal.add_command(commands, plain)
    certs.add_command(commands, plain)
    keys.add_command(commands, plain)
    return top


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point of the command."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run flowctl; its exit code."""
    options = _options(parser(), arguments)
    try:
        if options.command in OFFLINE:
            return OFFLINE[options.command](options)
        node = NodeClient(connection(options), getattr(options, "timeout", 60.0))
        return COMMANDS[options.command](options, node)
    except Unreachable as error:
        return _failed(options, str(error), {"message": str(error)})
    except Refused as error:
        return _failed(options, str(error), error.error)
    except (ValueError, ConfigError) as error:
        print(f"flowctl: {error}", file=sys.stderr)
        return EXIT_USAGE
    except BrokenPipeError:
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _options(top: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; a call's KEY=VALUE may stand anywhere, which argparse alone does not take."""
    options, rest = top.parse_known_args(arguments)
    if options.command == "call":
        options.arguments += [word for word in rest if not word.startswith("-")]
        rest = [word for word in rest if word.startswith("-")]
    if rest:
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    options.json = getattr(options, "json", False)
    return options


def _failed(options: argparse.Namespace, text: str, error: dict[str, Any]) -> int:
    if options.json:
        _print_json({"error": error})
    print(f"flowctl: {text}", file=sys.stderr)
    return EXIT_FAILED


def _print_json(answer: Any) -> None:
    print(json.dumps(answer, indent=2))


def _status(options: argparse.Namespace, node: NodeClient) -> int:
    answer, status = node.get("/status", StatusAnswer)
    if options.json:
        _print_json(answer)
    else:
        _show_status(status)
    return EXIT_OK if status.ready else EXIT_FAILED


def _show_status(status: StatusAnswer) -> None:
    word = "ready" if status.ready else "draining" if status.draining else "not ready"
    print(f"node {status.node} (flowcore {status.version}): {word}, up {seconds(status.uptime)}")
    for name, urls in status.endpoints.items():
        print(f"  {name}: {', '.join(urls)}")
    counts, took = status.requests, status.requests.durations
    print(
        f"requests: {counts.accepted} accepted, {counts.running} running, {counts.results} results,"
        f" {counts.errors} errors, {counts.cancelled} cancelled, {counts.expired} expired,"
        f" {counts.refused} refused; p50 {seconds(took.p50)}, p99 {seconds(took.p99)}"
    )
    if status.state is not None:
        print(_state_line(status.state))
    if status.router is not None:
        print(_router_line(status.router))
    if status.swarm is not None:
        print(_swarm_line(status.swarm))
    print()
    rows = [
        [one.component, one.type, one.status, seconds(one.seconds), one.reason]
        for one in status.components
    ]
    print(table(["component", "type", "status", "for", ""], rows, state=2))
    for text in status.collisions:
        print(f"note: {text}")


def _state_line(state: StateCounts) -> str:
    kept = "" if state.durable else ", in memory only"
    trouble = f"; {state.trouble}" if state.trouble else ""
    evidence = {} if state.consensus is None else state.consensus.evidence
    accused = "".join(
        f"\nEVIDENCE: {name} lies: it has signed {how}" for name, how in evidence.items()
    )
    return (
        f"state: at {state.position}, {state.patterns} patterns ({state.bytes} bytes),"
        f" {state.feedback} lessons{kept}{trouble}{accused}"
    )


def _router_line(router: RouterCounts) -> str:
    drift, learned = router.drift, router.learning
    apart = "too little to tell of drift"
    if drift.value is not None:
        word = "more than" if drift.exceeded else "of"
        apart = f"drift {drift.value:g}, {word} {drift.threshold:g}"
    times = "" if not learned.retrained else f", trained anew {learned.retrained} times"
    return f"router: {router.experts} experts, {learned.lessons} lessons{times}; {apart}"


def _swarm_line(swarm: SwarmCounts) -> str:
    alive = sum(one.state == "alive" for one in swarm.members)
    lost = [one.name for one in swarm.members if one.unreachable is not None]
    missing = f"; not reached: {', '.join(lost)}" if lost else ""
    return (
        f"swarm: {swarm.cluster} ({swarm.topology}), {alive} of {len(swarm.members)} nodes are"
        f" alive{missing}"
    )


def _agents(options: argparse.Namespace, node: NodeClient) -> int:
    if options.action == "list":
        return _list_agents(options, node)
    if options.name is None:
        raise ValueError(f"agents {options.action} needs the name of an agent")
    path = f"/agents/{quote(options.name, safe='')}"
    if options.action == "show":
        _print_json(node.get(path, AgentLine)[0])
        return EXIT_OK
    answer, _ = node.post(f"{path}/{options.action}", {}, Steered)
    done = {"pause": "paused", "resume": "resumed", "restart": "restarting"}[options.action]
    if options.json:
        _print_json(answer)
    else:
        print(f"{options.name}: {done}")
    return EXIT_OK


AGENT_COLUMNS = (
    *("agent", "state", "tools", "workers", "active", "waiting"),
    *("calls", "failed", "p50", "p99", ""),
)


def _list_agents(options: argparse.Namespace, node: NodeClient) -> int:
    if options.name is not None:
        raise ValueError("agents list takes no name; to see one: flowctl agents show NAME")
    answer, listed = node.get("/agents", AgentsAnswer)
    if options.json:
        _print_json(answer)
    else:
        print(table(AGENT_COLUMNS, [_agent_row(one) for one in listed.agents], state=1))
        if listed.elsewhere:
            rows = [nodes.place_row(one) for one in listed.elsewhere]
            print("\n" + table(nodes.PLACES, rows, state=2))
    return EXIT_OK


def _agent_row(one: AgentLine) -> list[str]:
    pool = one.pool
    workers = ("0", "0", "0")
    if pool is not None:
        workers = (str(pool.workers), str(pool.active), str(pool.waiting))
    failed = one.failed + one.faulty + one.expired + one.lost
    took = (seconds(one.durations.p50), seconds(one.durations.p99))
    counts = (str(one.calls), str(failed))
    return [one.name, one.state, str(one.offers.tools), *workers, *counts, *took, one.reason]


def _call(options: argparse.Namespace, node: NodeClient) -> int:
    body: dict[str, Any] = {"tool": options.tool, "arguments": _call_arguments(options)}
    if options.deadline is not None:
        body["deadline"] = _deadline(options.deadline)
    if options.idempotency_key is not None:
        body["idempotencyKey"] = options.idempotency_key
    if options.priority is not None:
        body["priority"] = options.priority
    if options.affinity is not None:
        body["affinity"] = options.affinity
    answer, called = node.post("/call", body, CallAnswer)
    result = called.result
    if options.json:
        _print_json(answer)
    elif not result.content and result.structured_content is not None:
        _print_json(result.structured_content)
    else:
        for block in result.content:
            print(_block(block))
    return EXIT_FAILED if result.is_error else EXIT_OK


def _deadline(seconds_: float) -> float:
    if not 0 < seconds_ < float("inf"):
        raise ValueError(f"expected a deadline of more than 0 seconds, not {seconds_:g}")
    return seconds_


def _block(block: dict[str, Any]) -> str:
    """A block of content as text: what is no text is named."""
    if block.get("type") == "text":
        return str(block.get("text", ""))
    named = [block.get(key) for key in ("type", "mimeType", "uri")]
    return f"[{' '.join(str(one) for one in named if one)}]"


def _call_arguments(options: argparse.Namespace) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    if options.whole is not None:
        try:
            arguments = json.loads(options.whole)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"--arguments: expected a JSON object: {error}") from None
        if not isinstance(arguments, dict):
            raise ValueError("--arguments: expected a JSON object")
    return arguments | _pairs(options.arguments, arguments)


def _pairs(words: Sequence[str], known: Container[str] = ()) -> dict[str, Any]:
    """KEY=VALUE words: values are JSON, other text is text."""
    arguments: dict[str, Any] = {}
    for pair in words:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise ValueError(f"expected KEY=VALUE, not {pair!r}")
        if key in arguments or key in known:
            raise ValueError(f"the argument {key!r} is given twice")
        try:
            arguments[key] = json.loads(text)
        except (ValueError, RecursionError):
            arguments[key] = text
    return arguments


def _guards(options: argparse.Namespace, node: NodeClient) -> int:
    if options.name is None:
        answer, text = guards.show(node)
    elif options.action is None:
        raise ValueError(
            "guards NAME needs what it is to do, such as: guards breaker open agent=time"
        )
    else:
        answer, text = guards.act(node, options.name, options.action, _pairs(options.arguments))
    if options.json:
        _print_json(answer)
    else:
        print(text)
    return EXIT_OK


def _told(command: Callable[[argparse.Namespace, NodeClient], tuple[Any, str]]) -> Command:
    """A command that gives an answer, and a text for a person."""

    def run_(options: argparse.Namespace, node: NodeClient) -> int:
        answer, text = command(options, node)
        if options.json:
            _print_json(answer)
        elif text:
            print(text)
        return EXIT_OK

    return run_


def _tools(options: argparse.Namespace, node: NodeClient) -> int:
    answer, listed = node.get("/tools", ToolsAnswer)
    if options.json:
        _print_json(answer)
        return EXIT_OK
    for one in listed.tools:
        print(one.name)
    if listed.missing:
        print(f"missing now: {', '.join(listed.missing)}", file=sys.stderr)
    return EXIT_OK


def _tasks(options: argparse.Namespace, node: NodeClient) -> int:
    answer, listed = node.get("/tasks", TasksAnswer)
    if options.json:
        _print_json(answer)
        return EXIT_OK
    counts = msgspec.structs.asdict(listed.statistics)
    print("tasks: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    columns = ["agent", "name", "state", "took", "by", ""]
    if listed.tasks:
        rows = [_request_row(one.request, one, one.message) for one in listed.tasks]
        print(table(["task of request", *columns], rows, state=3))
    if listed.kept:
        print("\n" + table(KEPT_COLUMNS, [_kept_row(one) for one in listed.kept], state=3))
    print()
    rows = [_request_row(one.id, one, one.error) for one in listed.requests]
    print(table(["request", *columns], rows, state=3))
    return EXIT_OK


KEPT_COLUMNS = ("kept task", "agent", "name", "state", "node", "attempt", "took", "by", "")


def _kept_row(one: KeptTaskLine) -> list[str]:
    where = (one.node or "-", str(one.attempt), seconds(one.seconds))
    return [str(one.number), one.agent, one.name, one.state, *where, one.principal, one.message]


def _request_row(id_: str, one: RequestLine | TaskLine, said: str) -> list[str]:
    return [id_, one.agent, one.name, one.state, seconds(one.seconds), one.principal, said]


def _fault(options: argparse.Namespace, node: NodeClient) -> tuple[Any, str]:
    return fault.fault(options, node, _pairs(options.settings))


COMMANDS: dict[str, Command] = {
    "status": _status,
    "agents": _agents,
    "call": _call,
    "guards": _guards,
    "approve": _told(approve.approve),
    "route": _told(routing.route),
    "feedback": _told(routing.feedback),
    "memory": _told(memory.memory),
    "nodes": _told(nodes.nodes),
    "state": _told(hard_state.state),
    "members": _told(hard_state.members),
    "log": _told(hard_state.log),
    "snapshot": _told(hard_state.snapshot),
    "fault": _told(_fault),
    "revoke": _told(revoking.revoke),
    "revocations": _told(revoking.revocations),
    "trace": _told(watching.trace),
    "events": watching.events,
    "logs": _told(watching.logs),
    "tools": _tools,
    "tasks": _tasks,
    "top": show_top,
    "doctor": doctor.doctor,
}
OFFLINE = {
    "audit": offline.audit,
    "token": offline.token,
    "seal": seal.seal,
    "certs": certs.certs,
    "keys": keys.keys,
}
"""Commands that need no node."""


if __name__ == "__main__":
    main()
