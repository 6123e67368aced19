"""The hard state as part of a node: opened when it is asked for, there again after a restart."""

from __future__ import annotations

import pathlib
import re
import sys
import textwrap
from typing import Any

import pytest
import trio

import flowcore
from flowcore.errors import AssemblyError
from flowcore.state import PutPattern, PutPatterns
from support.node import ROOT, serving

OTHER = """
import trio, flowcore

async def main():
    async with flowcore.open_flow(CONFIG):
        pass

trio.run(main)
"""


def files(folder: pathlib.Path) -> list[pathlib.Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def note(key: str, text: str = "") -> PutPatterns:
    return PutPatterns((PutPattern(namespace="notes", key=key, text=text),))


async def test_a_flow_that_asks_for_nothing_keeps_nothing(tmp_path: pathlib.Path) -> None:
    async with flowcore.open_flow({"node": {"data_dir": str(tmp_path / "data")}}) as flow:
        with pytest.raises(AssemblyError, match="keeps no hard state"):
            flow.state  # noqa: B018 - asking is the test
        assert flow.status()["state"] is None
    assert not files(tmp_path)


@pytest.mark.parametrize("table", ["state", "consensus", "storage"])
async def test_any_of_its_tables_opens_it_and_it_is_there_again(
    tmp_path: pathlib.Path, table: str
) -> None:
    said = {"state": {}, "consensus": {"type": "single"}, "storage": {"type": "sqlite"}}
    config = {"node": {"data_dir": str(tmp_path)}, table: said[table]}
    async with flowcore.open_flow(config) as flow:
        stored = await flow.state.do(note("a", "first"))
        assert stored.patterns[0].created
        assert [one.component for one in flow.components()][:3] == ["storage", "consensus", "state"]
    async with flowcore.open_flow(config) as flow:
        found = await flow.state.pattern("notes", "a")
        assert found is not None
        assert found.text == "first"
        assert found.version == stored.position
        status = flow.status()["state"]
        assert (status["patterns"], status["durable"]) == (1, True)
    modes = {path.stat().st_mode & 0o777 for path in files(tmp_path)}
    assert modes == {0o600}


async def test_storage_in_memory_leaves_no_file_and_forgets(tmp_path: pathlib.Path) -> None:
    config = {"node": {"data_dir": str(tmp_path / "data")}, "storage": "memory"}
    for _ in range(2):
        async with flowcore.open_flow(config) as flow:
            assert await flow.state.pattern("notes", "a") is None
            await flow.state.do(note("a"))
            assert not flow.status()["state"]["durable"]
    assert not files(tmp_path)


async def test_two_nodes_do_not_share_a_data_folder(tmp_path: pathlib.Path) -> None:
    config = {"node": {"data_dir": str(tmp_path)}, "state": {}}
    async with flowcore.open_flow(config):
        program = OTHER.replace("CONFIG", repr(config))
        other = await trio.run_process(
            [sys.executable, "-c", program], capture_stderr=True, check=False
        )
    assert other.returncode == 1
    assert b"log.sqlite is in use by another process" in other.stderr


@pytest.mark.parametrize("name", ["state.sqlite", "storage/log.sqlite"])
async def test_a_damaged_file_is_named_and_nothing_starts(
    tmp_path: pathlib.Path, name: str
) -> None:
    config = {"node": {"data_dir": str(tmp_path)}, "state": {}}
    async with flowcore.open_flow(config) as flow:
        await flow.state.do(note("a", "a text to be found"))
    path = tmp_path / name
    whole = path.read_bytes()
    assert b"a text to be found" in whole
    path.write_bytes(whole.replace(b"a text to be found", b"a text to be lost!"))
    part = "state" if name == "state.sqlite" else "storage"
    if part == "storage":
        (tmp_path / "state.sqlite").unlink()  # or the log's entry is not needed, and not looked at
    with pytest.raises(AssemblyError, match="not what was written: the file is damaged"):
        async with flowcore.open_flow(config):
            pass
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AssemblyError, match=f"^{part}: .*{path.name}"):
        async with flowcore.open_flow(config):
            pass


def test_flowctl_shows_where_the_state_is(tmp_path: pathlib.Path) -> None:
    config = tmp_path / "flow.toml"
    edge = '[edge.api]\ntype = "api"\nbind = "127.0.0.1:0"\n'
    config.write_text(f'[node]\ndata_dir = "data"\n[state]\n{edge}')
    with serving(config) as node:
        shown = node.ctl("status").stdout
    assert "\nstate: at 0, 0 patterns (0 bytes), 0 lessons\n" in shown


async def test_what_the_page_shows_works(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "state.md").read_text()
    settings, *_ = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    program, work = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flow.toml").write_text(settings)
    names: dict[str, Any] = {"flowcore": flowcore}
    body = textwrap.indent(program, "    ")
    exec(f"async def main():\n{body}\n    return stored, found, page", names)
    stored, found, listed = await names["main"]()
    assert found.value == b'{"stars": 5}'
    assert [one.id for one in listed.patterns] == [found.id] == [stored.patterns[0].id]
    assert (tmp_path / "data" / "state.sqlite").exists()
    exec(f"async def work():\n{textwrap.indent(work, '    ')}\n    return done, again", names)
    done, again = await names["work"]()
    assert (done.state, done.result) == ("completed", b"...")
    assert (again.state, again.outcome) == ("settled", b"...")


async def test_limits_of_the_configuration_hold_from_the_start(tmp_path: pathlib.Path) -> None:
    config = {"node": {"data_dir": str(tmp_path)}, "state": {"namespace_patterns": 2}}
    async with flowcore.open_flow(config) as flow:
        for key in "abc":
            await flow.state.do(note(key))
        page = await flow.state.list_patterns("notes")
        assert [one.key for one in page.patterns] == ["b", "c"]
