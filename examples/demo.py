"""`make demo`: the quick start as a person would try it, with a real MCP client, and one upstream killed.

Starts flowserve with configs/quickstart.toml (and two servers from npm, where Node is there), connects the
official SDK's client over Streamable HTTP, lists the tools, calls every agent, kills the time server in the
middle, and shows that the others went on and that it came back. Exits 0 only if all of that was right.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from typing import Any

import attrs
import trio

from flowcore.cli.tables import table
from mcp import Client

ROOT = pathlib.Path(__file__).resolve().parents[1]
NODE = ROOT / ".node" / "node_modules" / "node" / "bin" / "node"
SERVERS = ROOT / ".node" / "node_modules" / "@modelcontextprotocol"


@attrs.define
class Step:
    """One line of the table: what was done, what came of it, whether that was right."""

    what: str
    came: str
    right: bool


CALLS: dict[str, tuple[dict[str, Any], str]] = {
    "time.get_current_time": ({"timezone": "Europe/Paris"}, r'"timezone": "Europe/Paris"'),
    "git.git_log": ({"repo_path": str(ROOT), "max_count": 1}, r"(?i)commit"),
    "units.convert_length": ({"value": 1, "unit": "mi"}, r"1609\.344"),
    "notes.write": ({"title": "demo", "text": "it works"}, r"noted: demo"),
    "text.count_words": ({"text": "one two two"}, r'"two":2'),
    "flow.status": ({}, r'"node":"quickstart"'),
    "flow.find_tools": ({"query": "show the commit logs of a repository"}, r"git\.git_log"),
    "flow.ask": ({"text": "the most frequent words of a text: two two", "guess": True}, r'"two":2'),
    "memory.put": ({"key": "demo", "text": "the ferry leaves at noon"}, r'"key":"demo"'),
    "memory.search": ({"query": "when does the ferry leave"}, r"at noon"),
}
NODE_CALLS: dict[str, tuple[dict[str, Any], str]] = {
    "everything.echo": ({"message": "hello"}, r"hello"),
    "files.list_directory": ({"path": str(ROOT / "configs")}, r"quickstart\.toml"),
}


def settings() -> list[str]:
    """`--set` arguments: ports that nobody has, and the agents that need Node where it is there."""
    edges = ("mcp", "api", "dashboard")
    words = [word for edge in edges for word in ("--set", f"edge.{edge}.bind=127.0.0.1:0")]
    return words + (node_agents() if NODE.exists() else [])


def node_agents() -> list[str]:
    """The agents that need Node, as `--set` arguments."""
    commands = {
        "everything": [
            str(NODE),
            str(SERVERS / "server-everything" / "dist" / "index.js"),
            "stdio",
        ],
        "files": [
            str(NODE),
            str(SERVERS / "server-filesystem" / "dist" / "index.js"),
            str(ROOT / "configs"),
        ],
    }
    words = []
    for name, command in commands.items():
        words += ["--set", f'agent.{name}={{ type = "mcp", command = {json.dumps(command)} }}']
    return words


async def call_all(
    client: Client, calls: dict[str, tuple[dict[str, Any], str]], left_out: str = ""
) -> list[Step]:
    """Call every tool but those of one agent, and compare what comes with what should."""
    steps = []
    for tool, (arguments, expected) in calls.items():
        if left_out and tool.startswith(f"{left_out}."):
            continue
        result = await client.call_tool(tool, arguments)
        text = " ".join(getattr(block, "text", "") for block in result.content)
        right = not result.is_error and re.search(expected, text) is not None
        steps.append(Step(f"call {tool}", " ".join(text.split())[:60], right))
    return steps


def flowctl(api: str, *arguments: str) -> dict[str, Any]:
    """What flowctl prints with --json."""
    command = [str(pathlib.Path(sys.executable).parent / "flowctl"), "--url", api, "--json"]
    command += arguments
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    made: dict[str, Any] = json.loads(done.stdout or "{}")
    return made


def children_named(word: str, ancestor: int) -> list[int]:
    """Processes below `ancestor` whose command line holds a word."""
    parents: dict[int, int] = {}
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if word in (path / "cmdline").read_text():
                found.append(int(path.name))
        except OSError:
            continue  # it ended while we looked

    def below(pid: int) -> bool:
        while pid in parents and pid != ancestor:
            pid = parents[pid]
        return pid == ancestor

    return [pid for pid in found if below(pid)]


async def until_idle(api: str, agent: str, lives: int) -> bool:
    """Wait, half a minute at most, until an agent that was started `lives` times or more is up."""
    with trio.move_on_after(30):
        while True:
            state = await trio.to_thread.run_sync(flowctl, api, "agents", "show", agent)
            if (
                state.get("state") in ("idle", "busy")
                and state["pool"]["workers"]
                and state["calls"] >= lives
            ):
                return True
            await trio.sleep(0.2)
    return False


async def demonstrate(
    url: str, api: str, process: int, calls: dict[str, tuple[dict[str, Any], str]]
) -> list[Step]:
    """Everything, step by step."""
    steps: list[Step] = []
    for agent in {tool.partition(".")[0] for tool in calls}:
        await until_idle(api, agent, 0)
    async with Client(url) as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        steps.append(Step("list the tools", f"{len(tools)} tools", set(calls) <= tools))
        steps += await call_all(client, calls)

        killed = children_named("mcp_server_time", process)
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        steps.append(Step("kill the time server", f"pid {killed}", bool(killed)))
        steps += await call_all(client, calls, left_out="time")
        back = await until_idle(api, "time", 1)
        steps.append(Step("the time server came back", "started again", back))
        again = children_named("mcp_server_time", process)
        steps.append(Step("as another process", f"pid {again}", bool(again) and again != killed))
        steps += await call_all(client, {"time.get_current_time": calls["time.get_current_time"]})
        listed = {tool.name for tool in (await client.list_tools()).tools}
        steps.append(Step("its tools are listed again", f"{len(listed)} tools", listed == tools))
    return steps


def reported(lines: Iterable[str]) -> dict[str, str]:
    """Where a node can be reached, by edge, from its start-up report; all of that is read."""
    urls: dict[str, str] = {}
    for line in lines:
        found = re.match(r" +(\w+) +(http://\S+)$", line)
        if found:
            urls[found[1]] = found[2]
        if line.startswith("agent "):
            break
    return urls


def main() -> int:
    """Run the demonstration; 0 if every step was right."""
    calls = {**CALLS, **(NODE_CALLS if NODE.exists() else {})}
    command = [str(pathlib.Path(sys.executable).parent / "flowserve")]
    command += ["--config", str(ROOT / "configs" / "quickstart.toml"), *settings()]
    with (
        tempfile.TemporaryFile("w+") as log,  # not a pipe, which would have to be read all the time
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as server,
    ):
        assert server.stdout is not None
        urls = reported(server.stdout)
        if not {"mcp", "api"} <= urls.keys():  # it ended before it had said so
            server.wait()
            log.seek(0)
            print(log.read(), file=sys.stderr)
            return 1
        began = time.monotonic()
        try:
            steps = trio.run(demonstrate, urls["mcp"], urls["api"], server.pid, calls)
        finally:
            server.send_signal(signal.SIGTERM)
            server.communicate()
        steps.append(Step("stop", f"exit code {server.returncode}", server.returncode == 0))
    print(
        table(
            ["", "step", "what came"],
            [["right" if s.right else "WRONG", s.what, s.came] for s in steps],
            state=0,
            colours={"right": "green", "WRONG": "red"},
        )
    )
    wrong = sum(not step.right for step in steps)
    print(f"\n{len(steps)} steps, {wrong} wrong, {time.monotonic() - began:.1f} s")
    return 1 if wrong or (not NODE.exists() and "--all" in sys.argv) else 0


if __name__ == "__main__":
    sys.exit(main())
