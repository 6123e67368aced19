"""Who is measured beside whom, doing the same: flowserve first, then what one would use instead."""

from __future__ import annotations

import functools
import json
import pathlib
import subprocess
import sys
from collections.abc import Callable, Sequence

import attrs

from benchmarks.load import ERAS, HANDSHAKE
from benchmarks.servers import ON_CLIENTS_CPU, ROOT

CASES = ("in-process", "stdio", "http")
"""Where the tool is: in the server itself, in an upstream over stdio, in one over HTTP."""
STDIO_UPSTREAM = [*ON_CLIENTS_CPU, sys.executable, "-m", "benchmarks.upstream", "stdio"]
PROGRAMS = ROOT / "benchmarks" / "peers_programs"
PEERS = ROOT / ".peers"
NODE = ROOT / ".node" / "node_modules"

AGENT = {
    "in-process": 'type = "python"\ntarget = "benchmarks.agents:echo"',
    "stdio": 'type = "mcp"\ncommand = {command}\ncwd = "{root}"\nprotocol = "{era}"',
    "http": 'type = "mcp"\nurl = "{url}"\nprotocol = "{era}"',
}
CONFIG = """\
[agent.echo]
{agent}

[edge.mcp]
type = "mcp"
bind = "127.0.0.1:{port}"
"""


@attrs.frozen(kw_only=True)
class Task:
    """What a contender is started for."""

    case: str
    era: str
    """Of the upstream (and of the client, where no eras are bridged)."""
    port: int
    url: str
    """Of the upstream, where it is one over HTTP."""
    folder: pathlib.Path
    """For files of its own."""

    @property
    def upstream(self) -> list[str]:
        """The upstream as a command line or a URL."""
        return STDIO_UPSTREAM if self.case == "stdio" else [self.url]


@attrs.frozen(kw_only=True)
class Contender:
    """A server that answers `tools/call`."""

    name: str
    cases: Sequence[str]
    eras: Sequence[str] = ERAS
    tool: str = "echo"
    """The name under which it offers the tool."""
    needs: pathlib.Path
    """The program; where it is not, the contender is not here."""
    command: Callable[[Task], Sequence[str]]

    def hindrance(self, era: str) -> str | None:
        """Why it cannot be measured in an era; None if it can."""
        if era not in self.eras:
            return f"does not speak {era}"
        if not self.needs.exists():
            return f"is not installed: {self.needs.relative_to(ROOT)} is missing"
        return None


def flowserve_config(task: Task) -> str:
    """The whole configuration of flowserve; what is not in it is as it is by default."""
    command = json.dumps(STDIO_UPSTREAM)
    agent = AGENT[task.case].format(command=command, root=ROOT, url=task.url, era=task.era)
    return CONFIG.format(agent=agent, port=task.port)


def _flowserve(task: Task) -> list[str]:
    path = task.folder / "flowserve.toml"
    path.write_text(flowserve_config(task))
    return [str(pathlib.Path(sys.executable).parent / "flowserve"), "--config", str(path)]


def _python(environment: str) -> pathlib.Path:
    return PEERS / environment / "bin" / "python"


def _sdk_server(task: Task) -> list[str]:
    return [str(_python("mcp2")), str(PROGRAMS / "sdk_server.py"), str(task.port)]


def _sdk_proxy(task: Task) -> list[str]:
    program = [str(_python("mcp2")), str(PROGRAMS / "sdk_proxy.py")]
    return [*program, str(task.port), task.era, *task.upstream]


def _fastmcp(kind: str, task: Task) -> list[str]:
    program = [str(_python("mcp2")), str(PROGRAMS / "fastmcp_proxy.py")]
    return [*program, kind, str(task.port), task.era, *task.upstream]


def _pypi_mcp_proxy(task: Task) -> list[str]:
    options = ["--stateless", "--pass-environment", "--log-level", "WARNING"]
    return [str(PYPI_MCP_PROXY), "--port", str(task.port), *options, "--", *STDIO_UPSTREAM]


def _npm_mcp_proxy(task: Task) -> list[str]:
    options = ["--port", str(task.port), "--server", "stream", "--stateless"]
    return [
        str(NODE / "node" / "bin" / "node"),
        str(NPM_MCP_PROXY),
        *options,
        "--",
        *STDIO_UPSTREAM,
    ]


PYPI_MCP_PROXY = PEERS / "mcp1" / "bin" / "mcp-proxy"
NPM_MCP_PROXY = NODE / "mcp-proxy" / "dist" / "bin" / "mcp-proxy.mjs"

OURS = Contender(
    name="flowserve",
    cases=CASES,
    tool="echo.echo",
    needs=pathlib.Path(sys.executable),
    command=_flowserve,
)
SHARED, TRIO, PYPI = (
    "FastMCP's proxy, shared client",
    "official SDK's proxy on trio",
    "PyPI mcp-proxy",
)
CONTENDERS = (
    OURS,
    Contender(
        name="official SDK's server",
        cases=("in-process",),
        needs=_python("mcp2"),
        command=_sdk_server,
    ),
    Contender(
        name="npm mcp-proxy",
        cases=("stdio",),
        eras=(HANDSHAKE,),
        needs=NPM_MCP_PROXY,
        command=_npm_mcp_proxy,
    ),
    Contender(
        name=PYPI,
        cases=("stdio",),
        eras=(HANDSHAKE,),
        needs=PYPI_MCP_PROXY,
        command=_pypi_mcp_proxy,
    ),
    Contender(name=TRIO, cases=("stdio", "http"), needs=_python("mcp2"), command=_sdk_proxy),
    Contender(
        name=SHARED,
        cases=("stdio", "http"),
        needs=_python("mcp2"),
        command=functools.partial(_fastmcp, "shared"),
    ),
    Contender(
        name="FastMCP's proxy",
        cases=("stdio", "http"),
        needs=_python("mcp2"),
        command=functools.partial(_fastmcp, "default"),
    ),
)


def versions() -> str:
    """The versions of the peers that are here."""
    found = []
    for environment, packages in {
        "mcp1": ["mcp-proxy", "mcp"],
        "mcp2": ["mcp", "fastmcp", "hypercorn", "trio", "uvicorn"],
    }.items():
        if _python(environment).exists():
            says = (
                "import sys, importlib.metadata as found\n"
                "print(*(f'{name} {found.version(name)}' for name in sys.argv[1:]), sep=', ')"
            )
            done = subprocess.run(
                [str(_python(environment)), "-c", says, *packages],
                capture_output=True,
                text=True,
                check=False,
            )
            found.append(f".peers/{environment}: {done.stdout.strip() or 'broken'}")
    package = NODE / "mcp-proxy" / "package.json"
    if package.exists():
        found.append(f".node: mcp-proxy {json.loads(package.read_text())['version']}")
    return "; ".join(found) or "none is installed"
