"""flowctl against what is no node, a node that hangs, and words that make no sense."""

from __future__ import annotations

import contextlib
import json
import pathlib
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Generator

import pytest

from flowcore.cli import flowctl
from support.node import BIN, ROOT, run, serving

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
COMMANDS = ["status", "agents", "guards", "tools", "tasks", "call x.y"]


@contextlib.contextmanager
def answering(*answers: bytes, closes: bool = True) -> Generator[str]:
    """The URL of something that listens, and answers each connection with these bytes."""
    server = socket.create_server(("127.0.0.1", 0))
    kept: list[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                kept.append(connection)
                connection.recv(65536)
                for answer in answers:
                    connection.sendall(answer)
                if closes:
                    connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()
        for connection in kept:
            connection.close()


Ctl = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ctl(capsys: pytest.CaptureFixture[str]) -> Ctl:
    """Runs flowctl in this process: its exit code, and what it printed where."""

    def run_ctl(*words: str) -> tuple[int, str, str]:
        try:
            code = flowctl.run(words)
        except SystemExit as ended:
            code = int(str(ended.code))
        said = capsys.readouterr()
        return code, said.out, said.err

    return run_ctl


def body(content: bytes) -> bytes:
    return OK % (len(content), content)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "answer",
    [
        body(b"{}"),
        body(b"[]"),
        body(b'{"agents": 3, "tools": 3, "requests": 3, "result": 3, "node": 3}'),
        body(b"\xff\xfe"),
        body(b"[" * 100_000),
        b'HTTP/1.1 500 Oh\r\nContent-Length: 13\r\n\r\n{"error":"x"}',
        b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 2\r\n\r\n{}",
    ],
    ids=["empty", "array", "wrong-types", "not-utf8", "deep", "error", "redirect"],
)
def test_what_answers_otherwise_than_a_node_is_none(ctl: Ctl, answer: bytes, command: str) -> None:
    with answering(answer) as url:
        code, out, err = ctl(*command.split(), "--url", url)
    assert (code, out) == (1, "")
    assert err == f"flowctl: what answers at {url} is no api edge of a node\n"


@pytest.mark.parametrize(
    "answer", [b"", b"garbage\r\n\r\n", OK % (100, b"{")], ids=["silent", "garbage", "cut-off"]
)
def test_what_does_not_speak_http_to_its_end_is_no_node(ctl: Ctl, answer: bytes) -> None:
    with answering(answer) as url:
        code, _out, err = ctl("status", "--url", url)
    assert code == 1
    assert err.startswith(f"flowctl: no node at {url}: ")
    assert "Traceback" not in err


@pytest.mark.parametrize("command", COMMANDS)
def test_a_node_that_hangs_is_given_up_on_and_json_stays_json(ctl: Ctl, command: str) -> None:
    with answering(closes=False) as url:
        code, out, err = ctl(*command.split(), "--json", "--timeout", "0.2", "--url", url)
    assert code == 1
    said = f"{url} did not answer within 0.2 s"
    assert json.loads(out) == {"error": {"message": said}}
    assert err == f"flowctl: {said}\n"


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http://[::1",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:abc",
        "http://127.0.0.1:7301/x",
        "http://127.0.0.1:7301?x=1",
        "http://me@127.0.0.1:7301",
        "ftp://x",
    ],
)
def test_a_url_that_cannot_be_a_nodes_is_wrong_usage(ctl: Ctl, url: str) -> None:
    code, _out, err = ctl("status", "--url", url)
    assert code == 2
    assert err == f"flowctl: expected a URL such as http://127.0.0.1:7301, not {url!r}\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["status", "--timeout", "0"], "expected a timeout of more than 0 seconds, not 0"),
        (["status", "--timeout", "nan"], "expected a timeout of more than 0 seconds, not nan"),
        (["call", "a.b", "--deadline", "-1"], "expected a deadline of more than 0 seconds, not -1"),
        (
            ["call", "a.b", "--deadline", "inf"],
            "expected a deadline of more than 0 seconds, not inf",
        ),
        (["call", "a.b", "x=1", "x=2"], "the argument 'x' is given twice"),
        (["call", "a.b", "--arguments", '{"x": 1}', "x=2"], "the argument 'x' is given twice"),
        (["call", "a.b", "=1"], "expected KEY=VALUE, not '=1'"),
        (["call", "a.b", "x=1", "--wrong"], "unrecognized arguments: --wrong"),
        (["agents", "list", "demo"], "agents list takes no name"),
        (["status", "demo"], "unrecognized arguments: demo"),
    ],
)
def test_words_that_make_no_sense_are_wrong_usage(ctl: Ctl, words: list[str], says: str) -> None:
    code, _out, err = ctl(*words)
    assert code == 2
    assert says in err


CONFIG = f"""
[agent.demo]
type = "python"
target = "{ROOT}/tests/support/agents.py"
[edge.mcp]
type = "mcp"
bind = "127.0.0.1:0"
[edge.api]
type = "api"
bind = "127.0.0.1:0"
"""


def test_a_running_node_is_asked_and_lost(tmp_path: pathlib.Path) -> None:
    config = tmp_path / "flow.toml"
    config.write_text(CONFIG)
    with serving(config) as node:
        words = ["call", "demo.echo", "--arguments", '{"text": "ab"}', "times=2"]
        assert node.ctl(*words).stdout == "abab\n"
        assert node.ctl(*words[:2], "times=2", *words[2:4]).stdout == "abab\n"
        wrong = run("flowctl", "status", "--url", node.mcp.removesuffix("/mcp"))
        assert wrong.returncode == 1
        assert "is no api edge of a node" in wrong.stderr
        call = subprocess.Popen(
            [str(BIN / "flowctl"), "call", "demo.wait", "seconds=600", "--json", "--url", node.api],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while not any(one["state"] == "running" for one in node.ctl_json("tasks")["requests"]):
            pass
        node.process.send_signal(signal.SIGKILL)
        out, err = call.communicate(timeout=30)
        assert call.returncode == 1
        assert "no node at" in json.loads(out)["error"]["message"]
        assert "Traceback" not in err
