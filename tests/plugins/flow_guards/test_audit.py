"""The guard `audit`, in a flow and on real files: what is written down, and what happens when that fails."""

from __future__ import annotations

import hashlib
import json
import pathlib
import resource
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
import trio

from flowcore import Flow, open_flow
from flowcore.audit import verify_files
from flowcore.errors import AgentUnavailable, AssemblyError, CallError, PermissionDenied
from flowcore.requests import Principal

ANN = Principal(name="ann", scheme="idp")
KEY = "a key of at least thirty-two bytes"


def config(folder: pathlib.Path, **audit: Any) -> dict[str, Any]:
    return {
        "node": {"data_dir": str(folder / "data")},
        "requests": {"guards": ["audit", "rules"]},
        "guard": {
            "audit": {"type": "audit", "file": str(folder / "audit.jsonl"), **audit},
            "rules": {
                "type": "permissions",
                "rules": [{"allow": ["demo.*"]}, {"deny": ["demo.secret"]}],
            },
        },
        "agent": {"demo": {"type": "python", "target": "support.audited"}},
        "log": {"level": "error"},
    }


def lines(folder: pathlib.Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "audit.jsonl").read_text().splitlines()]


async def called(flow: Flow, tool: str, **arguments: Any) -> str:
    try:
        result = await flow.call(tool, arguments, principal=ANN)
    except CallError as error:
        return type(error).__name__
    return "error" if result.is_error else "result"


async def test_calls_refusals_and_failures_are_written_with_a_digest_of_what_was_said(
    tmp_path: pathlib.Path,
) -> None:
    async with open_flow(config(tmp_path)) as flow:
        await flow.wait_settled()
        assert await called(flow, "demo.echo", text="canary") == "result"
        assert await called(flow, "demo.secret") == "PermissionDenied"
        assert await called(flow, "demo.echo", text=7) == "SchemaViolation"
        with pytest.raises(PermissionDenied):
            flow.requests.guards.admit("", ANN, "agents.pause", "demo")
    found = lines(tmp_path)
    assert [one["what"] for one in found] == ["start", "call", "call", "call", "operator", "stop"]
    calls = found[1:4]
    assert [one["outcome"] for one in calls] == ["result", "refused", "refused"]
    assert [one.get("error") for one in calls] == [None, "PermissionDenied", "SchemaViolation"]
    assert {(one["principal"], one["scheme"], one["agent"]) for one in calls} == {
        ("ann", "idp", "demo")
    }
    assert calls[0]["arguments"] == hashlib.sha256(b'{"text":"canary"}').hexdigest()
    assert found[4]["action"] == "agents.pause"
    assert found[4]["outcome"] == "refused"
    assert "canary" not in (tmp_path / "audit.jsonl").read_text()
    assert verify_files([tmp_path / "audit.jsonl"]).whole
    assert (tmp_path / "audit.jsonl").stat().st_mode & 0o777 == 0o600


async def test_a_log_is_gone_on_with_after_a_restart_and_after_a_crash_within_a_line(
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / "audit.jsonl"
    for _ in range(2):
        async with open_flow(config(tmp_path)):
            pass
    with path.open("ab") as file:
        file.write(b'{"seq":5,"prev":"00')
    async with open_flow(config(tmp_path)):
        pass
    assert [one["what"] for one in lines(tmp_path)] == ["start", "stop"] * 2 + [
        "torn",
        "start",
        "stop",
    ]
    assert verify_files([path]).last == 7
    assert (tmp_path / "audit.jsonl.torn").read_bytes() == b'{"seq":5,"prev":"00\n'


async def test_a_log_that_was_tampered_with_is_not_gone_on_with(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "audit.jsonl"
    async with open_flow(config(tmp_path)):
        pass
    path.write_bytes(path.read_bytes().replace(b'"stop"', b'"stpo"'))
    with pytest.raises(AssemblyError, match="the last line was changed"):
        async with open_flow(config(tmp_path)):
            pass


async def test_a_link_or_a_folder_is_no_log(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AssemblyError, match="symbolic links"):
        async with open_flow(config(tmp_path)):
            pass
    path.unlink()
    path.mkdir()
    with pytest.raises(AssemblyError, match="directory"):
        async with open_flow(config(tmp_path)):
            pass


async def test_a_full_file_is_followed_by_another_and_the_chain_goes_on(
    tmp_path: pathlib.Path,
) -> None:
    async with open_flow(
        config(tmp_path, rotate="4KiB", key={"file": str(keyed(tmp_path))})
    ) as flow:
        await flow.wait_settled()
        for number in range(60):
            await called(flow, "demo.echo", text="x")
            await written(flow, number + 2)
    files = older(tmp_path)
    assert len(files) > 3
    verdict = verify_files([*files, tmp_path / "audit.jsonl"], KEY.encode())
    assert verdict.whole
    assert verdict.lines == 62
    assert all(one.stat().st_size <= 4096 for one in files)


async def test_only_so_many_files_are_kept(tmp_path: pathlib.Path) -> None:
    async with open_flow(config(tmp_path, rotate="4KiB", keep=2)) as flow:
        await flow.wait_settled()
        for number in range(60):
            await called(flow, "demo.echo", text="x")
            await written(flow, number + 2)
    files = older(tmp_path)
    assert len(files) == 2
    assert not verify_files([*files, tmp_path / "audit.jsonl"]).whole


def older(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(folder.glob("audit.0*.jsonl"))


def keyed(folder: pathlib.Path) -> pathlib.Path:
    path = folder / "audit.key"
    path.write_text(KEY)
    path.chmod(0o600)
    return path


@contextmanager
def no_file_grows(folder: pathlib.Path) -> Generator[None]:
    """A disk that is full, as far as this process and its audit log are concerned."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((folder / "audit.jsonl").stat().st_size + 100, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_while_it_cannot_be_written_requests_are_refused_and_nothing_is_lost(
    tmp_path: pathlib.Path,
) -> None:
    async with open_flow(config(tmp_path, retry="10ms")) as flow:
        await flow.wait_settled()
        assert await called(flow, "demo.echo", text="x") == "result"
        await written(flow, 2)
        with no_file_grows(tmp_path):
            assert await called(flow, "demo.echo", text="y") == "result"
            await until(lambda: audit_of(flow)["failure"] != "")
            with pytest.raises(AgentUnavailable, match="audit log cannot be written"):
                await flow.call("demo.echo", {"text": "z"})
            board = {one.component: one.status.value for one in flow.components()}
            assert board["guard.audit"] == "degraded"
        await until(lambda: audit_of(flow)["failure"] == "")
        assert await called(flow, "demo.echo", text="z") == "result"
    assert [one["what"] for one in lines(tmp_path)] == ["start", "call", "call", "call", "stop"]
    assert verify_files([tmp_path / "audit.jsonl"]).whole


async def test_or_they_go_on_as_configured_and_what_is_lost_is_told(
    tmp_path: pathlib.Path,
) -> None:
    async with open_flow(config(tmp_path, retry="10ms", on_failure="go_on", queue=2)) as flow:
        await flow.wait_settled()
        await written(flow, 1)
        with no_file_grows(tmp_path):
            for _ in range(12):
                assert await called(flow, "demo.echo", text="y") == "result"
            await until(lambda: audit_of(flow)["failure"] != "")
        await until(lambda: audit_of(flow)["failure"] == "")
    found = lines(tmp_path)
    lost = sum(one["lines"] for one in found if one["what"] == "lost")
    assert lost > 0
    assert lost + sum(one["what"] == "call" for one in found) == 12
    assert verify_files([tmp_path / "audit.jsonl"]).whole


def audit_of(flow: Flow) -> dict[str, Any]:
    [guard] = [one for one in flow.requests.guards.before("", "") if hasattr(one, "written")]
    return guard.status()


async def written(flow: Flow, count: int) -> None:
    await until(lambda: audit_of(flow)["written"] >= count)


async def until(true: Any) -> None:
    with trio.fail_after(60):
        while not true():  # noqa: ASYNC110 - a file is written by a thread, which tells nobody
            await trio.sleep(0.001)


async def test_the_last_lines_are_at_hand_and_no_more_of_them(tmp_path: pathlib.Path) -> None:
    async with open_flow(config(tmp_path)) as flow:
        await flow.wait_settled()
        guard = flow.guard("audit")
        for _ in range(2100):
            assert await called(flow, "demo.echo", text="x") == "result"
        while guard.status()["written"] < 2101:  # noqa: ASYNC110 - a thread writes
            await trio.sleep(0.005)
        last = guard.status()["seq"]
        told = guard.act("tail", {"most": 1000})["lines"]
        assert [one["seq"] for one in told] == list(range(last - len(told) + 1, last + 1))
        assert len(told) == 500
        three = guard.act("tail", {"most": 3})["lines"]
        assert [one["seq"] for one in three] == [last - 2, last - 1, last]
        assert guard.act("tail", {"after": last})["lines"] == []
