"""Every configuration in configs/, every example, and every command in README.md runs."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest
import tomli

from support.needs import minilm, npm
from support.node import ROOT, free_ports, serving

CONFIGS = sorted(
    path
    for path in (ROOT / "configs").rglob("*.toml")
    if path.name != "secure.toml" and path.parent.name not in ("cluster", "cluster-etcd", "bft")
)
"""Those that need certificates are run by tests/cli/test_secure.py and tests/cli/test_cluster.py, those that
need an etcd by tests/cli/test_cluster_etcd.py, those of bft by tests/cli/test_cluster_bft.py."""


def test_the_demo_is_right_from_beginning_to_end() -> None:
    npm("@modelcontextprotocol/server-everything")
    command = [sys.executable, str(ROOT / "examples" / "demo.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"right +call everything\.echo +Echo: hello", done.stdout)
    assert " 0 wrong" in done.stdout


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_configuration_runs_and_all_of_its_agents_come_up(
    path: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    if path.name == "npm.toml":
        npm("@modelcontextprotocol/server-filesystem")
    if path.name == "onnx.toml":
        minilm()
    edges = tomli.loads(path.read_text())["edge"]
    free = free_ports(*(name for name, one in edges.items() if "bind" in one))
    free += ["--set", f"node.data_dir={tmp_path}/data"]
    with serving(path, *free, stdin=subprocess.PIPE) as node:
        while not node.said[-1].startswith("flow "):  # the built-in agent; sorted by name
            node.wait_for("")
        if "api" in edges:
            agents = node.ctl_json("agents")["agents"]
            assert {one["state"] for one in agents} == {"idle"}, agents
        if path.name == "onnx.toml":
            route = node.ctl_json(
                "route", "if it is noon in Berlin, how late is it for people in Japan?"
            )
            assert route["experts"][0]["name"].startswith("time."), route
        assert node.end() == 0


def test_the_embedding_example_runs() -> None:
    command = [sys.executable, str(ROOT / "examples" / "embed.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert "Hello, Ada! Hello, Ada!" in done.stdout


def test_the_example_that_answers_questions_runs() -> None:
    command = [sys.executable, str(ROOT / "examples" / "answer_questions.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "asked: Really erase old.txt?",
        "old.txt is erased",
        "MissingCapability: missing required client capability: elicitation",
    ]


def test_the_example_that_learns_learns() -> None:
    command = [sys.executable, str(ROOT / "examples" / "learning_router" / "learn.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 after learning, 6 after a restart" in done.stdout


def test_the_generated_pages_are_those_of_the_code() -> None:
    import importlib.util

    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert (ROOT / "docs" / "configuration.md").read_text() == generate.configuration_page()
    assert (ROOT / "docs" / "schema.json").read_text() == generate.schema_text()


def test_pages_show_the_figures_that_are_kept() -> None:
    program = """
from benchmarks.deployment import PAGE, page as deployment
from benchmarks.pages import FIGURES, README, page, readme
print(README.read_text() == readme(), FIGURES.read_text() == page(), PAGE.read_text() == deployment())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == "True True True\n", done.stderr


def test_nothing_committed_names_this_machine() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    words = ("/work" + "/", "/root" + "/.pyenv")
    for name in listed:
        path = ROOT / name
        if path.is_file() and path.suffix in (".py", ".md", ".toml", ".txt", ".json", ".lock", ""):
            text = path.read_text(errors="replace")
            assert not any(word in text for word in words), name
