"""Every configuration in configs/, every example, and every command in README.md runs."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest

from support.needs import npm
from support.node import ROOT, run

CONFIGS = sorted((ROOT / "configs").rglob("*.toml"))


def test_the_demo_is_right_from_beginning_to_end() -> None:
    npm("@modelcontextprotocol/server-everything")
    command = [sys.executable, str(ROOT / "examples" / "demo.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"call everything\.echo +Echo: hello +right", done.stdout)
    assert " 0 wrong" in done.stdout


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_configuration_is_right(path: pathlib.Path) -> None:
    done = run("flowserve", "--check-config", "--config", str(path))
    assert done.returncode == 0, done.stderr


def test_the_embedding_example_runs() -> None:
    command = [sys.executable, str(ROOT / "examples" / "embed.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Hello, Ada! Hello, Ada!" in done.stdout


def test_the_example_that_answers_questions_runs() -> None:
    command = [sys.executable, str(ROOT / "examples" / "answer_questions.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "asked: Really erase old.txt?",
        "old.txt is erased",
        "MissingCapability: missing required client capability: elicitation",
    ]


def test_the_generated_pages_are_those_of_the_code() -> None:
    import importlib.util

    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert (ROOT / "docs" / "configuration.md").read_text() == generate.configuration_page()
    assert (ROOT / "docs" / "schema.json").read_text() == generate.schema_text()


def test_the_readme_shows_the_figures_that_are_kept() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from benchmarks.readme import README, readme; print(README.read_text() == readme())",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "True\n", done.stderr


def commands_of(page: pathlib.Path) -> list[str]:
    """The commands in a page's console blocks."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL)
    return [
        line[2:].partition("#")[0].strip()
        for block in blocks
        for line in block.splitlines()
        if line[:2] == "$ "
    ]


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_exist_and_take_these_words(page: pathlib.Path) -> None:
    from flowcore.cli import flowctl, flowserve

    makefile = (ROOT / "Makefile").read_text()
    parsers = {"flowserve": flowserve.parser(), "flowctl": flowctl.parser()}
    import shlex

    for command in commands_of(page):
        program, *words = shlex.split(command)
        if program == "make":
            family = words[0].startswith("benchmark-")
            assert family or re.search(rf"^{re.escape(words[0])}:", makefile, re.MULTILINE), command
        elif program in parsers:
            parsers[program].parse_args(words)
        else:
            assert program in (
                "cd",
                "cp",
                "curl",
                "kill",
                "pip",
                "python",
                "systemctl",
                "journalctl",
            ), command


def test_the_commands_of_the_readme_do_what_it_says(tmp_path: pathlib.Path) -> None:
    from support.node import serving

    said = (ROOT / "README.md").read_text()
    quickstart = ROOT / "configs" / "quickstart.toml"
    free = ["--set", "edge.mcp.bind=127.0.0.1:0", "--set", "edge.api.bind=127.0.0.1:0"]
    with serving(quickstart, *free) as node:
        written = node.ctl("call", "notes.write", "title=trio", "text=structured concurrency")
        assert written.stdout == "noted: trio\n"
        found = node.ctl("call", "notes.search", "text=structured")
        assert found.stdout == '["trio"]\n'
        assert "noted: trio" in said
        for words in ("agents", "agents pause text", "agents resume text", "status"):
            done = node.ctl(*words.split())
            assert done.returncode == 0, done.stderr
    example = re.search(r"```toml\n(# flow.toml\n.*?)```", said, re.DOTALL)
    assert example is not None
    config = tmp_path / "flow.toml"
    config.write_text(example[1])
    assert run("flowserve", "--check-config", "--config", str(config)).returncode == 0


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
