"""docs/embedding.md: its pieces of Python run one after another, and print what the page says."""

from __future__ import annotations

import ast
import pathlib
import re
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from support.node import ROOT

PAGE = (ROOT / "docs" / "embedding.md").read_text()
PIECES = re.findall(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", PAGE, re.DOTALL)


def test_the_page_runs_from_its_beginning_to_its_end(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (toml,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "flow.toml").write_text(toml)
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {"__name__": "embedding"}
    for number, (piece, said) in enumerate(PIECES):
        code = compile(piece, f"piece {number}", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)

        async def run(code: Any = code) -> None:
            made = eval(code, space)
            if made is not None:
                await made

        trio.run(run)
        assert capsys.readouterr().out == said, piece


def test_the_test_on_the_page_is_one() -> None:
    space: dict[str, Any] = {"__name__": "embedding"}
    for piece, _ in PIECES:
        tree = ast.parse(piece)
        whole = [one for one in tree.body if not isinstance(one, (ast.AsyncWith, ast.Expr))]
        exec(compile(ast.Module(whole, []), "the page", "exec"), space)
    tests = [name for name in space if name.startswith("test_")]
    assert tests == ["test_the_office_gives_up_in_time"]
    clock = MockClock(autojump_threshold=0)
    trio.run(space[tests[0]], clock, clock=clock)
