"""What README.md and docs/ show is what happens: sessions, snippets, commands and configurations."""

from __future__ import annotations

import pathlib
import re
import shlex
import shutil
import subprocess
import textwrap
from collections.abc import Generator

import pytest
import tomli
import trio

import flowcore
from flowcore.cli import flowctl
from support.node import BIN, ROOT, Node, free_ports, run, serving

README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OTHERS = {
    "cd",
    "cp",
    "kill",
    "python",
    "python3",
    "systemctl",
    "journalctl",
    "/opt/flowcore/bin/pip",
}
"""Programs of pages that change the machine they run on, or are none of ours: these are not run."""


def sessions(text: str) -> list[tuple[str, str]]:
    """Each command of a page's console blocks, with what the page says it prints."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for one in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, said = one.partition("\n")
            found.append((re.sub(r" +# .*", "", command).strip(), said))
    return found


def alike(text: str) -> str:
    """A start-up report without what differs from run to run."""
    return re.sub(r":\d{4,5}\b", ":PORT", re.sub(r"in \d+\.\d\d s", "in N s", text)).strip()


@pytest.fixture(scope="module")
def node() -> Generator[Node]:
    """The quick start, running."""
    path = ROOT / "configs" / "quickstart.toml"
    with serving(path, *free_ports("mcp", "api", "dashboard")) as running:
        while "units" not in running.said[-1]:
            running.wait_for("")
        yield running


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder with the configuration that README shows, the agent it names, and a file to take in."""
    example = re.search(r"```toml\n(# flow.toml\n.*?)```", README, re.DOTALL)
    assert example is not None
    (tmp_path / "flow.toml").write_text(example[1])
    shutil.copy(ROOT / "examples" / "notes_agent.py", tmp_path)
    (tmp_path / "patterns.jsonl").touch()
    return tmp_path


def test_the_start_that_the_readme_shows_is_what_is_printed(node: Node) -> None:
    ((_, said),) = (one for one in sessions(README) if one[0].startswith("flowserve --config"))
    printed, shown = (alike(text).splitlines() for text in ("\n".join(node.said), said))
    assert len(printed) == len(shown)
    for line, expected in zip(printed, shown, strict=True):
        if re.match(r"\w+ +\w+ +starting ", line):  # one that takes longer than the report waits
            assert line.split()[:2] == expected.split()[:2]
        else:
            assert re.sub(" +", " ", line) == re.sub(" +", " ", expected)


def test_the_session_of_the_readme_says_what_it_says_there(node: Node) -> None:
    for command, said in sessions(README):
        if command.startswith("flowctl") and "--url" not in command:
            done = node.ctl(*shlex.split(command)[1:])
            assert "Traceback" not in done.stderr
            if said:
                assert done.stdout + done.stderr == said
            else:
                assert done.returncode == 0, done.stderr


def test_the_mistakes_of_the_readme_get_the_report_it_shows(folder: pathlib.Path) -> None:
    path = folder / "flow.toml"
    wrong = path.read_text().replace('type = "mcp"', 'type = "mpc"', 1)
    path.write_text(wrong.replace("min = 1", "min = -1"))
    ((_, said),) = (one for one in sessions(README) if "--check-config" in one[0])
    done = run("flowserve", "--check-config", "--config", "flow.toml", cwd=folder)
    assert (done.returncode, done.stderr) == (2, said)


def test_the_snippet_of_the_readme_runs_as_it_stands(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "flow.toml"
    path.write_text(re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:0", path.read_text()))
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    space: dict[str, object] = {"flowcore": flowcore}
    exec(f"async def main():\n{textwrap.indent(snippet, '    ')}", space)
    monkeypatch.chdir(folder)
    trio.run(space["main"])  # type: ignore[arg-type]
    assert '"timezone": "UTC"' in capsys.readouterr().out


def commands() -> list[tuple[str, str]]:
    found = [(page.name, one) for page in PAGES for one, _ in sessions(page.read_text())]
    return list(dict.fromkeys(found))


@pytest.mark.parametrize(("page", "command"), commands())
def test_every_command_of_every_page_works(
    page: str, command: str, node: Node, folder: pathlib.Path
) -> None:
    del page
    program, *words = shlex.split(command)
    if program == "flowctl" and {"--profile", "--url"} & set(words):
        flowctl.parser().parse_args(words)  # run by tests/cli/test_secure.py, and test_cluster.py
    elif program == "flowctl" and words[0] in flowctl.OFFLINE:
        done = run("flowctl", *words, cwd=folder, input="a secret of the test")
        assert "Traceback" not in done.stderr
        assert done.returncode in (0, 1)  # in their order they are run below
    elif program == "flowctl" and words[0] == "events":
        command_line = [str(BIN / "flowctl"), *words, "--url", node.api]
        with subprocess.Popen(command_line, stdout=subprocess.PIPE, text=True) as following:
            while following.poll() is None:  # until it has seen as many as it was to
                for what in ("pause", "resume"):
                    assert node.ctl("agents", what, "text").returncode == 0
            assert following.returncode == 0
            assert following.stdout is not None
            assert "text" in following.stdout.read()
    elif program == "flowctl":
        done = run("flowctl", *words, "--url", node.api, cwd=folder)
        assert "Traceback" not in done.stderr
        assert done.returncode in (0, 1)  # what a page refuses on purpose, README's session shows
    elif program == "flowserve" and words[:1] == ["--config"]:
        assert (ROOT / words[1]).is_file()  # it runs: `test_every_configuration_runs`
    elif program == "flowserve":
        done = run("flowserve", *words, cwd=folder)
        assert done.returncode == 0, done.stderr
    elif program == "curl":
        path = words[0].removeprefix("http://127.0.0.1:7301")
        done = subprocess.run(
            ["curl", "--silent", "--fail", node.api + path],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    elif program == "make":
        family = words[0].startswith("benchmark-")
        makefile = (ROOT / "Makefile").read_text()
        assert family or re.search(rf"^{re.escape(words[0])}:", makefile, re.MULTILINE)
    else:
        assert program in OTHERS


def test_what_the_page_about_security_does_without_a_node_works_in_its_order(
    folder: pathlib.Path,
) -> None:
    done = [run("flowctl", "certs", "init", cwd=folder)]
    for command, _ in sessions((ROOT / "docs" / "security.md").read_text()):
        program, *words = shlex.split(command)
        if program == "flowctl" and words[0] in flowctl.OFFLINE and words[:2] != ["certs", "init"]:
            done.append(run("flowctl", *words, cwd=folder, input="a secret of the test"))
    assert [one.stderr for one in done if one.returncode != 0] == []
    assert len(done) > 10


def configurations() -> list[tuple[str, str]]:
    """The blocks of TOML on pages that are whole configurations; others show a part of one."""
    # plugins.md is one file in pieces, with plugins of its own: test_plugin_guide runs it
    pages = [page for page in PAGES if page.name != "plugins.md"]
    blocks = [(page.name, one) for page in pages for one in _blocks(page.read_text(), "toml")]
    whole = ("agents-http.md", "agents-process.md")
    return [(name, one) for name, one in blocks if name in whole or one.startswith("# flow.toml")]


def _blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize(("page", "text"), configurations())
def test_every_configuration_of_a_page_is_right(
    page: str, text: str, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del page
    for name in re.findall(r'env = "(\w+)"', text):
        monkeypatch.setenv(name, "of the test")
    (folder / "flow.toml").write_text(text)
    done = run("flowserve", "--check-config", "--config", "flow.toml", cwd=folder)
    assert done.returncode == 0, done.stderr


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_readme_leads_to_every_page_configuration_and_example() -> None:
    folders = (("docs", "*.md"), ("configs", "*.toml"))
    paths = [path for folder, kind in folders for path in (ROOT / folder).glob(kind)]
    missing = [path.name for path in paths if f"]({path.relative_to(ROOT)})" not in README]
    assert not missing, missing


def test_the_rooms_and_folders_of_the_architecture_are_those_there_are() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    rooms = [path.name for path in (ROOT / "flowcore").iterdir() if (path / "__init__.py").exists()]
    for room in rooms:
        assert f"| `flowcore/{room}` |" in page
        assert re.search(rf"^  (\w+/  )*{room}/ ", page, re.MULTILINE), room
    for path in (ROOT / "plugins").iterdir():
        if path.name.startswith("flow_"):
            assert f"  {path.name}/ " in page
    assert tomli.loads((ROOT / "pyproject.toml").read_text())["project"]["readme"] == "README.md"
