"""The end of the audit log, without reading the file."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest
import trio

from flowcore import open_flow
from flowcore.errors import InvalidArguments, UnknownTarget
from support.node import ROOT


async def test_the_tail_is_what_was_written_last(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "audit.jsonl"
    made: dict[str, Any] = {
        "requests": {"guards": ["log"]},
        "guard": {"log": {"type": "audit", "file": str(path)}},
        "agent": {"echo": {"type": "python", "target": f"{ROOT}/tests/support/agents.py"}},
    }
    async with open_flow(made) as flow:
        await flow.wait_settled()
        for text in "abc":
            await flow.call("echo.echo", {"text": text})
        guard = flow.guard("log")
        while guard.status()["written"] < 4:  # it begins with its start
            await trio.lowlevel.checkpoint()
        written = [json.loads(line) for line in path.read_text().splitlines()]
        assert guard.act("tail", {})["lines"] == written
        assert guard.act("tail", {"most": 2})["lines"] == written[-2:]
        assert guard.act("tail", {"after": written[1]["seq"]})["lines"] == written[2:]
        assert guard.act("tail", {"most": 0})["lines"] == []
        for wrong in ({"most": -1}, {"most": "x"}, {"most": True}, {"after": 1.5}, {"more": 1}):
            with pytest.raises(InvalidArguments):
                guard.act("tail", wrong)
        with pytest.raises(UnknownTarget):
            guard.act("head", {})
