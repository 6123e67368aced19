"""flowctl route, feedback and memory against a real node, over its restarts."""

from __future__ import annotations

import json
import pathlib
import re
import time
from collections.abc import Generator

import pytest

from support.node import ROOT, Node, free_ports, serving

CONFIG = f"""
[router]
gate = "similarity"
[agent.text]
type = "python"
target = "{ROOT}/examples/text_agent.py"
[agent.notes]
type = "python"
target = "{ROOT}/examples/notes_agent.py:Notes"
[edge.api]
type = "api"
bind = "127.0.0.1:7301"
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("node") / "flow.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def node(config: pathlib.Path) -> Generator[Node]:
    with serving(config, "--set", f"node.data_dir={config.parent}/data", *free_ports("api")) as one:
        yield one
        one.end()


def test_a_route_is_shown_and_learned_from(node: Node) -> None:
    shown = node.ctl("route", "the most frequent words of a text, counted")
    assert shown.returncode == 0, shown.stderr
    assert "nothing was learned yet" in shown.stdout
    assert shown.stdout.splitlines()[3].startswith("text.count_words")
    route = shown.stdout.split()[1]
    learned = node.ctl("feedback", route, "text.count_words")
    assert learned.stdout == "learned: text.count_words was worth 1\n"
    again = node.ctl("feedback", route, "text.count_words")
    assert again.returncode == 1
    assert "there is no route" in again.stderr
    wrong = node.ctl("feedback", "--text", "tally it up", "--wrong", "notes.read")
    assert wrong.returncode == 0, wrong.stderr
    told = node.ctl_json("route", "the most frequent words of a text, counted")
    assert told["lessons"] == 2
    assert told["nearest"][0]["expert"] == "text.count_words"


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (("feedback", "text.compare"), "needs the route, or --text", 2),
        (("feedback", "--text", "x", "a.b"), "there is no expert 'a.b'", 1),
        (("feedback", "--text", "x", "--reward", "2", "text.compare"), "expected a reward", 1),
        (("route", ""), "expected a text that says something", 1),
        (("route", "x", "-k", "99"), "expected a k of 1 to 16", 1),
        (("memory", "get", "nothing"), "there is nothing under 'nothing'", 1),
        (("memory", "put", "x", "--value", "{"), "--value: expected JSON", 2),
        (("memory", "put", "x", "-n", "no way"), "namespace: expected", 1),
        (("memory", "search", "x", "--after", "soon"), "expected a time", 1),
        (("memory", "import", "/nowhere.jsonl"), "cannot be read", 2),
    ],
)
def test_what_is_wrong_is_said(node: Node, words: tuple[str, ...], said: str, code: int) -> None:
    done = node.ctl(*words)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr


def test_memory_is_put_found_and_forgotten(node: Node) -> None:
    put = node.ctl("memory", "put", "the ferry leaves at noon", "--as", "ferry", "--value", "[1]")
    assert put.stdout == "remembered: ferry in shared\n"
    assert node.ctl("memory", "get", "ferry").stdout == "the ferry leaves at noon\n[1]\n"
    assert "ferry" in node.ctl("memory", "search", "when does the ferry leave").stdout
    assert node.ctl("memory", "delete", "ferry").stdout == "forgotten: ferry\n"
    assert node.ctl("memory", "delete", "ferry").stdout == "was not there: ferry\n"


def test_patterns_go_out_to_a_file_and_in_again(node: Node, tmp_path: pathlib.Path) -> None:
    for number in range(5):
        node.ctl("memory", "put", f"boat {number}", "--as", f"b{number}", "-n", "harbour")
    path = tmp_path / "out.jsonl"
    done = node.ctl("memory", "export", str(path), "-n", "harbour")
    assert done.stdout == f"5 patterns written to {path}\n"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted(one["key"] for one in lines) == [f"b{number}" for number in range(5)]
    assert [one.name for one in tmp_path.iterdir()] == ["out.jsonl"]
    for number in range(5):
        node.ctl("memory", "delete", f"b{number}", "-n", "harbour")
    assert node.ctl("memory", "import", str(path)).stdout == "5 patterns taken in\n"
    assert "b3" in node.ctl("memory", "search", "boat 3", "-n", "harbour", "-k", "1").stdout
    assert node.ctl("memory", "reembed").stdout == "0 patterns and 0 lessons embedded anew\n"


@pytest.mark.parametrize(
    ("wrong", "said", "code"),
    [
        (b"no json", "expected a JSON object: Expecting value at character 0", 2),
        (b"\xff\xfe", "expected a JSON object in UTF-8: invalid start byte at byte 0", 2),
        (b'{"text": "a", "time": 1e999}', "expected a JSON object of finite numbers, not 1e999", 2),
        (b'{"namespace": "in", "text": ""}', "expected a text that says something", 1),
        (b'{"namespace": "in", "text": 5}', "expected a JSON object: Expected `str`, got `int`", 1),
        (b'{"namespace": "in", "text": "a", "reward": 7}', "reward is 7.0, expected 0 to 1", 1),
    ],
)
def test_a_line_that_is_wrong_is_named_and_those_before_it_are_in(
    node: Node, tmp_path: pathlib.Path, wrong: bytes, said: str, code: int
) -> None:
    path, space = tmp_path / "in.jsonl", f"in-{tmp_path.name}"
    right = [
        json.dumps({"namespace": space, "key": str(number), "text": "right"}).encode()
        for number in range(9)
    ]
    path.write_bytes(b"\n".join([*right[:5], b"", wrong, *right[5:]]))
    done = node.ctl("memory", "import", str(path))
    assert done.returncode == code
    assert f"in.jsonl:7: {said}" in done.stderr
    assert "(5 are in)" in done.stderr
    assert "patterns[" not in done.stderr
    kept = [
        json.loads(line) for line in node.ctl("memory", "export", "-n", space).stdout.splitlines()
    ]
    assert sorted(one["key"] for one in kept) == ["0", "1", "2", "3", "4"]


def test_lessons_that_come_in_are_trained_on(node: Node, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "lessons.jsonl"
    told = {"namespace": "flow.routes", "expert": "notes.read"}
    path.write_text(
        "".join(f"{json.dumps({**told, 'text': f'uncle Bob {n}'})}\n" for n in range(20))
    )
    retrained = node.ctl_json("status")["router"]["learning"]["retrained"]
    done = node.ctl("memory", "import", str(path))
    assert done.stdout == "20 patterns taken in; the gate is being trained anew on them\n"
    assert "trained anew on what is kept of" in node.ctl("memory", "retrain").stdout
    deadline = time.monotonic() + 60
    while node.ctl_json("status")["router"]["learning"]["retrained"] == retrained:
        assert time.monotonic() < deadline
    shown = node.ctl("status").stdout
    assert re.search(r"\nrouter: \d+ experts, \d+ lessons, trained anew \d+ times; ", shown)
    assert node.ctl_json("route", "uncle Bob 30")["experts"][0]["name"] == "notes.read"


def test_what_was_learned_outlives_a_node_that_is_killed(
    config: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    where = ("--set", f"node.data_dir={tmp_path}/data", *free_ports("api"))
    with serving(config, *where) as one:
        taught = one.ctl("feedback", "--text", "how is uncle Bob", "notes.read")
        assert taught.returncode == 0, taught.stderr
        one.ctl("memory", "put", "the ferry leaves at noon", "--as", "ferry")
        one.process.kill()
        one.process.wait()
    with serving(config, *where) as one:
        told = one.ctl_json("route", "how is uncle Bob")
        assert told["experts"][0]["name"] == "notes.read"
        assert told["lessons"] == 1
        assert one.ctl("memory", "get", "ferry").stdout == "the ferry leaves at noon\n"
        one.end()


def test_another_embedder_learns_anew_what_was_learned(
    config: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    where = ("--set", f"node.data_dir={tmp_path}/data", *free_ports("api"))
    with serving(config, *where) as one:
        for number in range(5):
            one.ctl("feedback", "--text", f"how is uncle Bob {number}", "notes.read")
        one.ctl("memory", "put", "the ferry leaves at noon", "--as", "ferry")
        one.end()
    path = tmp_path / "other.toml"
    embedder = 'embedder = { type = "hashed", dimensions = 128 }'
    path.write_text(CONFIG.replace("[router]", f"[router]\n{embedder}"))
    with serving(path, *where) as one:
        doctor = json.loads(one.ctl("doctor", "--json").stdout)
        (found,) = [each for each in doctor["checks"] if each["check"] == "embedder"]
        assert "6 patterns and 5 lessons were embedded by another one" in found["found"]
        done = one.ctl("memory", "reembed")
        assert done.stdout == (
            "6 patterns and 5 lessons embedded anew; the gate is being trained anew\n"
        )
        assert one.ctl_json("route", "how is uncle Bob")["experts"][0]["name"] == "notes.read"
        assert "ferry" in one.ctl("memory", "search", "when does the ferry leave").stdout
        one.end()
