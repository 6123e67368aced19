"""`flowctl trace`: one way through two node processes to an upstream MCP server and back, as one tree."""

from __future__ import annotations

import itertools
import json
import pathlib
import subprocess
import urllib.request
from typing import Any

from support.cluster import Cluster, cluster
from support.node import ROOT, run

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
AGENTS = f"""
[agent.of-@name@]
type = "python"
target = "{ROOT}/tests/support/agents.py"
[agent.up-@name@]
type = "mcp"
command = ["python", "{ROOT}/tests/support/upstreams/stdio_server.py"]
pool = {{ min = 1, max = 1 }}
"""
MORE = """
[router]
[edge.mcp]
type = "mcp"
bind = "127.0.0.1:0"
"""


def asked(nodes: Cluster, name: str, tool: str, arguments: dict[str, Any]) -> Any:
    """The result of a tool, asked of a node's MCP edge as part of a client's trace."""
    _, status = nodes.ask(name, "/status")
    (url,) = status["endpoints"]["mcp"]
    era = "io.modelcontextprotocol/"
    meta = {
        f"{era}protocolVersion": "2026-07-28",
        f"{era}clientCapabilities": {},
        "traceparent": f"00-{TRACE}-{PARENT}-00",
    }
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    request = urllib.request.Request(url, json.dumps(body).encode())
    for header, value in {
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call",
        "mcp-name": tool,
    }.items():
        request.add_header(header, value)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["result"]


def heard(api: str, *more: str) -> subprocess.CompletedProcess[str]:
    """What is said of the trace once both nodes have told what they have: a busy one is not waited for."""
    for _ in range(30):
        done = run("flowctl", "trace", TRACE, "--url", api, *more)
        assert done.returncode == 0, done.stderr
        if "did not answer" not in done.stdout and '"missing":["' not in done.stdout.replace(
            " ", ""
        ):
            return done
    raise AssertionError(done.stdout)


def test_the_tree_is_the_whole_way_whichever_node_is_asked(tmp_path: pathlib.Path) -> None:
    with cluster(tmp_path, "alpha", "beta", agents=AGENTS, more=MORE) as nodes:
        nodes.until(lambda: "up-beta.meta" in nodes.tools("alpha"))
        given = {"text": "up-beta meta", "arguments": {}, "guess": True}
        result = asked(nodes, "alpha", "flow.ask", given)
        received = result["structuredContent"]["meta"]["traceparent"]
        for name in ("alpha", "beta"):
            api = f"http://127.0.0.1:{nodes.ports[name][0]}"
            done = heard(api)
            first, _, *tree = done.stdout.splitlines()
            assert first.startswith(f"trace {TRACE}, ")
            lines = [line.partition(")")[0] + ")" for line in tree]
            assert lines[0] == "tools/call ask (alpha)"
            drawn = [line.lstrip("└├│ ") for line in lines]
            depths = [len(line) - len(text) for line, text in zip(lines, drawn, strict=True)]
            way = drawn.index("invoke_agent up-beta (alpha)")
            assert "flowcore.route (alpha)" in drawn[:way]
            assert drawn[way:] == [
                "invoke_agent up-beta (alpha)",
                "flowcore.requests/submit (alpha)",
                "flowcore.requests/submit (beta)",
                "invoke_agent up-beta (beta)",
                "tools/call meta (beta)",
            ]
            deeper = depths[way:]
            assert all(one < other for one, other in itertools.pairwise(deeper))
        told = json.loads(heard(api, "--json").stdout)
        last = next(one for one in told["spans"] if one["name"] == "tools/call meta")
        # what the upstream has got, and would record, is this span of this trace
        assert received.split("-")[1:3] == [TRACE, last["span_id"]]
        tops = [one for one in told["spans"] if one["parent_id"] == PARENT]
        assert [one["name"] for one in tops] == ["tools/call ask"]
        nodes.end("beta", 9)
        done = run(
            "flowctl", "trace", TRACE, "--url", f"http://127.0.0.1:{nodes.ports['alpha'][0]}"
        )
        known_dead = nodes.members("alpha")["beta"] != "alive"
        assert "did not answer: beta" in done.stdout or known_dead
