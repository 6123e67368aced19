"""Log lines to a pipe that nobody reads: the node goes on, and says afterwards what was lost."""

from __future__ import annotations

import logging
import os
import pathlib
import threading

import pytest

from flowcore.cli.pipes import MOST, Pipe, PipeHandler, pipe_of
from support.node import free_ports, serving

LOUD = '''
import logging
from flowcore.native import tool

class Loud:
    @tool
    async def shout(self, lines: int) -> str:
        """Write so many lines of a kilobyte to the log."""
        for number in range(lines):
            logging.getLogger("loud").warning("%d %s", number, "x" * 1000)
        return "done"
'''
CONFIG = """
[agent.loud]
type = "python"
target = "./loud.py:Loud"

[edge.mcp]
type = "mcp"
bind = "127.0.0.1:7300"

[edge.api]
type = "api"
bind = "127.0.0.1:7301"
"""


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("test", logging.INFO, "", 0, text, None, None)


def everything(fd: int) -> str:
    with os.fdopen(fd, "rb") as file:
        return file.read().decode()


def test_a_node_whose_log_nobody_reads_goes_on(tmp_path: pathlib.Path) -> None:
    (tmp_path / "loud.py").write_text(LOUD)
    path = tmp_path / "flow.toml"
    path.write_text(CONFIG)
    with serving(path, *free_ports("mcp", "api")) as node:
        for _ in range(3):
            done = node.ctl("call", "loud.shout", "lines=1000")
            assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
        assert node.ctl("status").returncode == 0
        assert node.end() == 0  # what it said is read now
    shouted = [line for line in node.said if " loud: " in line]
    assert " loud: 0 " + "x" * 1000 + " [trace " in shouted[0]
    assert MOST / 1100 < len(shouted) < 3000
    assert "texts were dropped: nobody read them" in "\n".join(node.said)


def test_lines_keep_their_order_and_nothing_is_torn() -> None:
    read, write = os.pipe()
    handler = PipeHandler(Pipe(write))
    texts = [f"{number} " + "y" * (number * 37 % 9000) for number in range(200)]
    heard: list[str] = []
    listener = threading.Thread(target=lambda: heard.append(everything(read)))
    for number, text in enumerate(texts):
        handler.emit(record(text))
        if number == 100:
            listener.start()
    handler.flush()
    os.close(write)
    listener.join()
    assert heard[0].splitlines() == texts


def test_whoever_else_writes_to_the_same_pipe_tears_no_text() -> None:
    """A text of which a part is written waits with the rest; what comes by another descriptor comes after."""
    read, write = os.pipe()
    other = os.dup(write)
    assert pipe_of(other) is pipe_of(write)
    pipe_of(write).write("─" * 100_000 + "\n")
    pipe_of(other).write("\nnext\n")
    heard: list[str] = []
    listener = threading.Thread(target=lambda: heard.append(everything(read)))
    listener.start()
    pipe_of(write).flush()
    os.close(write)
    os.close(other)
    listener.join()
    assert heard == ["─" * 100_000 + "\n\nnext\n"]


def test_what_is_dropped_is_counted() -> None:
    read, write = os.pipe()
    handler = PipeHandler(Pipe(write))
    for _ in range(40):
        handler.emit(record("z" * 65535))
    heard: list[str] = []
    listener = threading.Thread(target=lambda: heard.append(everything(read)))
    listener.start()
    handler.flush()
    os.close(write)
    listener.join()
    *lines, last = heard[0].splitlines()
    assert set(lines) == {"z" * 65535}
    assert last == f"{40 - len(lines)} texts were dropped: nobody read them"
    assert len(lines) <= MOST // 65536 + 2


def test_a_pipe_without_a_reader_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    read, write = os.pipe()
    handler = PipeHandler(Pipe(write))
    os.close(read)
    handler.emit(record("nobody hears it"))
    handler.emit(record("nor this"))
    handler.flush()
    os.close(write)
    assert capsys.readouterr() == ("", "")


def test_a_line_that_cannot_be_made_is_told_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    read, write = os.pipe()
    handler = PipeHandler(Pipe(write))
    handler.emit(logging.LogRecord("test", logging.INFO, "", 0, "%d", ("no number",), None))
    os.close(write)
    assert everything(read) == ""
    assert "TypeError" in capsys.readouterr().err
