"""What is printed never ends a node: closed, full and narrow outputs, terminals, colours."""

from __future__ import annotations

import os
import pathlib
import pty
import re
import subprocess

import pytest

from flowcore.cli.tables import seconds, table
from support.node import BIN, ROOT, run

CONFIG = f"""
[agent.demo]
type = "python"
target = "{ROOT}/tests/support/agents.py"
[edge.api]
type = "api"
bind = "127.0.0.1:0"
"""


@pytest.fixture
def config(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "flow.toml"
    path.write_text(CONFIG)
    return path


@pytest.mark.parametrize("output", [">&-", ">/dev/full", "2>&- >&- <&-", "2>/dev/full"])
def test_a_node_runs_whatever_becomes_of_its_output(config: pathlib.Path, output: str) -> None:
    # the shell opens the outputs; what tells that the node is up is a datagram to NOTIFY_SOCKET
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0flowcore-test-" + os.urandom(8).hex())
        name = "@" + listener.getsockname()[1:].decode()
        listener.settimeout(60)
        process = subprocess.Popen(
            [
                "/bin/sh",
                "-c",
                f'exec "$0" --config "$1" {output}',
                str(BIN / "flowserve"),
                str(config),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "NOTIFY_SOCKET": name},
        )
        assert b"READY=1" in listener.recv(4096)
        process.terminate()
        assert process.wait(timeout=60) == 0


def test_a_report_that_nobody_reads_to_its_end_ends_nothing(config: pathlib.Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with subprocess.Popen(
        [str(BIN / "flowserve"), "--config", str(config)],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.close(write)
        assert process.stderr is not None
        for line in process.stderr:
            if "nobody reads what flowserve prints: Broken pipe" in line:
                break
        process.terminate()
        assert process.wait(timeout=60) == 0


@pytest.mark.parametrize(
    ("output", "code"), [(">&-", 0), (">/dev/full", 1)], ids=["closed", "full"]
)
def test_a_list_that_cannot_be_printed_is_no_traceback(output: str, code: int) -> None:
    shell = ["/bin/sh", "-c", f'exec "$0" plugins {output}', str(BIN / "flowserve")]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code
    assert "Traceback" not in done.stderr


def on_a_terminal(*words: str, columns: int, **environment: str) -> str:
    """What a command prints on a terminal of this width."""
    leader, follower = pty.openpty()
    settings = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    settings |= {"COLUMNS": str(columns), "TERM": "xterm", **environment}
    with subprocess.Popen(
        [str(BIN / "flowserve"), *words], stdout=follower, env=settings, stdin=subprocess.DEVNULL
    ):
        os.close(follower)
        said = b""
        try:
            while block := os.read(leader, 65536):
                said += block
        except OSError:  # how a terminal says that nobody holds its other end any more
            pass
    os.close(leader)
    return said.decode().replace("\r\n", "\n")


def test_a_narrow_terminal_gets_wrapped_texts_and_a_wide_one_lines() -> None:
    narrow = on_a_terminal("plugins", "show", "peak_ewma", columns=100, NO_COLOR="1")
    assert max(map(len, narrow.splitlines())) <= 100
    assert "\x1b" not in narrow
    wide = on_a_terminal("plugins", "show", "peak_ewma", columns=400)
    assert "\x1b[1mkey" in wide
    assert len(wide.splitlines()) < len(narrow.splitlines())
    words = re.sub(r"\s+", "", re.sub(r"\x1b\[\d+m", "", wide))
    assert words.startswith("balancerpeak_ewma")


def test_a_table_without_a_terminal_is_never_wrapped() -> None:
    text = "a long text " * 40
    assert table(["a", "b"], [["x", text]]).splitlines()[1] == f"x  {text}".rstrip()
    assert table(["only"], []) == "only"
    assert table(["a", ""], [["x", ""]]) == "a\nx"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.00012, "120 µs"),
        (0.5, "500 ms"),
        (90, "90 s"),
        (600, "10 min"),
        (9000, "2.5 h"),
    ],
)
def test_durations_are_for_people(value: float | None, text: str) -> None:
    assert seconds(value) == text


def test_a_plugin_can_be_shown_as_json_and_by_its_own_name() -> None:
    import json

    (shown,) = json.loads(run("flowserve", "plugins", "show", "peak_ewma", "--json").stdout)
    assert (shown["kind"], shown["type"]) == ("balancer", "peak_ewma")
    assert "decay" in {one["key"] for one in shown["settings"]}
    assert run("flowserve", "plugins", "show", "mcp_upstream").stdout.startswith("agent mcp ")


def test_overrides_before_and_behind_a_command_all_hold(config: pathlib.Path) -> None:
    words = ["--set", "node.name=one", "config", "show", "--set", "node.drain=3s"]
    shown = run("flowserve", "--config", str(config), *words).stdout
    assert 'name = "one"' in shown
    assert 'drain = "3s"' in shown


def test_a_configuration_may_come_through_a_pipe(config: pathlib.Path) -> None:
    read, write = os.pipe()
    with open(write, "wb") as file:
        file.write(config.read_bytes())
    done = run("flowserve", "--check-config", "--config", f"/dev/fd/{read}", pass_fds=[read])
    os.close(read)
    assert done.stdout == f"/dev/fd/{read}: 1 agent, 1 edge, no problems\n"


def test_a_check_names_the_plugins_that_are_broken(config: pathlib.Path) -> None:
    (config.parent / "odd.py").write_text("import sys; sys.exit(3)")
    done = run(
        "flowserve", "--check-config", "--config", str(config), "--set", 'plugins.files=["odd.py"]'
    )
    assert done.returncode == 0
    assert done.stdout.endswith("no problems; left out, for they are broken: odd\n")
    assert "plugin 'odd' could not be loaded: SystemExit: 3" in done.stderr
