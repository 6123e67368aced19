"""What people install: the wheel holds flowcore and its plugins, and runs by itself."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import zipfile

import pytest

from support.node import ROOT, Node
from support.ports import free_port

PIP = [sys.executable, "-m", "pip"]


def done(*command: str | pathlib.Path, **settings: str) -> str:
    """Run a command that must succeed; what it printed."""
    result = subprocess.run(
        [str(one) for one in command], capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("wheel")
    done(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT)
    (found,) = folder.glob("flowcore-*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The bin folder of a new environment that holds the wheel and what it requires."""
    folder = tmp_path_factory.mktemp("environment")
    done(sys.executable, "-m", "venv", folder)
    done(folder / "bin" / "pip", "install", "--quiet", wheel)
    return folder / "bin"


def test_the_wheel_holds_flowcore_and_the_plugins_and_nothing_else(wheel: pathlib.Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
    folders = {path.name for path in (ROOT / "plugins").iterdir() if path.name.startswith("flow_")}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"flowcore", *folders}


def test_the_pages_of_the_dashboard_are_in_the_wheel(wheel: pathlib.Path) -> None:
    pages = ROOT / "plugins" / "flow_edges" / "dashboard" / "pages"
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if "/dashboard/pages/" in name}
    assert packed == {f"flow_edges/dashboard/pages/{one.name}" for one in pages.iterdir()}


def test_flowserve_runs_from_the_wheel(installed: pathlib.Path, tmp_path: pathlib.Path) -> None:
    config = tmp_path / "flow.toml"
    agents = ROOT / "examples" / "text_agent.py"
    config.write_text(
        f'[agent.text]\ntype = "python"\ntarget = "{agents}"\n'
        '[edge.mcp]\ntype = "mcp"\nbind = "127.0.0.1:0"\n'
        '[edge.api]\ntype = "api"\nbind = "127.0.0.1:0"\n'
    )
    command = [str(installed / "flowserve"), "--config", str(config)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path
    ) as process:
        node = Node(process, [])
        try:
            node.wait_for("ready in ")
            node.wait_for("agent ")
            called = done(
                installed / "flowctl",
                "call",
                "text.compare",
                "left=a",
                "right=a",
                "--url",
                node.api,
            )
            assert called == "the texts are equal\n"
            assert node.end() == 0
        finally:
            if process.poll() is None:
                process.kill()


def test_nothing_heavy_is_imported_at_start(installed: pathlib.Path) -> None:
    code = (
        "import sys, flowcore.flow, flowcore.assembly; flowcore.assembly.discover();"
        "print([m for m in ('mcp', 'numpy', 'jwt', 'pydantic', 'asyncio.base_events') if m in sys.modules])"
    )
    assert done(installed / "python", "-c", code) == "[]\n"


def test_flowctl_brings_no_event_loop_to_ask_a_node(installed: pathlib.Path) -> None:
    code = f"""
import sys
from flowcore.cli.flowctl import main
try:
    main(["--url", "http://127.0.0.1:{free_port()}", "status"])
except SystemExit as end:
    print(end.code, [m for m in ("trio", "flowcore.http", "cryptography", "numpy") if m in sys.modules])
"""
    assert done(installed / "python", "-c", code) == "1 []\n"


def test_the_tests_of_a_plugin_of_somebody_else_pass() -> None:
    plugin = ROOT / "examples" / "third_party_plugin"
    said = done(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", plugin)
    assert "2 passed" in said


def test_a_plugin_of_somebody_else_is_found_and_used(
    installed: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    plugin = ROOT / "examples" / "third_party_plugin"
    done(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, plugin)
    (wheel,) = tmp_path.glob("*.whl")
    done(installed / "pip", "install", "--quiet", "--no-deps", wheel)
    listed = done(installed / "flowserve", "plugins")
    assert "sticky" in listed
    assert "flowcore-sticky 1.0.0" in listed
    shown = done(installed / "flowserve", "plugins", "show", "sticky")
    assert "calls after which another worker has its turn" in shown
    config = tmp_path / "flow.toml"
    config.write_text(
        '[agent.a]\ntype = "python"\ntarget = "json:dumps"\nbalancer = { type = "sticky", cals = 1 }\n'
    )
    wrong = subprocess.run(
        [str(installed / "flowserve"), "--check-config", "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert wrong.returncode == 2
    assert "did you mean 'calls'?" in wrong.stderr
