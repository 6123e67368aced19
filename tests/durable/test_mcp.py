"""MCP's tasks where they are kept, and where they cannot be."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
from msgspec import Raw as Json

from flowcore import Flow, open_flow
from flowcore.envelope import Envelope, Owner
from flowcore.errors import StateUnavailable
from flowcore.http import open_client
from flowcore.requests import KeptTask, Task
from support.mcp_client import Raw
from support.node import ROOT

TASKS: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
Ctl = Callable[..., Awaitable[tuple[int, str]]]
ALL: dict[str, Any] = {**TASKS, "elicitation": {}}


@asynccontextmanager
async def talking(folder: pathlib.Path, **edge: Any) -> AsyncGenerator[tuple[Flow, Raw]]:
    """A node with a durable state, and a client of it."""
    config = {
        "node": {"data_dir": str(folder)},
        "state": {},
        "agent": {
            "talk": {"type": "python", "target": "support.talkative:Talkative", "names": "bare"}
        },
        "edge": {"mcp": {"type": "mcp", "bind": "127.0.0.1:0", **edge}},
    }
    async with open_flow(config) as flow, open_client() as client:
        await flow.wait_settled()
        with trio.fail_after(30):
            yield flow, Raw(flow.endpoints["mcp"][0], client)


async def ended(client: Raw, task: str) -> dict[str, Any]:
    while True:
        answer = await client.ask("tasks/get", {"taskId": task}, capabilities=TASKS)
        if answer.result["status"] in ("completed", "failed", "cancelled"):
            return answer.result


async def test_a_task_is_in_the_state_before_its_client_hears_of_it_and_after_a_restart(
    tmp_path: pathlib.Path,
) -> None:
    async with talking(tmp_path) as (flow, client):
        answer = await client.call("job", {"steps": 3}, capabilities=TASKS)
        task = str(answer.result["taskId"])
        assert await flow.state.task(task) is not None
        first = await ended(client, task)
        assert first["result"]["content"][0]["text"] == "3 steps"
        for _ in range(3):  # an ordinary call is in no log
            before = flow.state.position
            assert (await client.call("echo", {"text": "x"}, capabilities=TASKS)).text == "x"
            assert flow.state.position == before
    async with talking(tmp_path) as (_, client):
        again = await ended(client, task)
        assert again["result"] == first["result"]
        assert again["createdAt"] == first["createdAt"]
        stranger = await client.ask("tasks/get", {"taskId": "x" * 600}, capabilities=TASKS)
        assert stranger.error["code"] == -32602
        gone = await client.ask("tasks/cancel", {"taskId": "x" * 600}, capabilities=TASKS)
        assert gone.error["code"] == -32602


class Full:
    """Where tasks cannot be kept now."""

    async def keep(self, task: Task, envelope: Envelope) -> KeptTask:
        await trio.lowlevel.checkpoint()
        raise StateUnavailable("there is no majority")

    async def find(self, id_: str, owner: Owner) -> Task:
        raise StateUnavailable("there is no majority")

    async def cancel(self, id_: str, owner: Owner) -> None:
        raise StateUnavailable("there is no majority")

    async def answer(self, id_: str, owner: Owner, answers: dict[str, Json]) -> None:
        raise StateUnavailable("there is no majority")


async def test_what_cannot_be_kept_stays_a_call(tmp_path: pathlib.Path) -> None:
    async with talking(tmp_path, task_after="20ms", deadline="2s") as (flow, client):
        flow.requests.tasks.keeper = Full()
        assert (await client.call("job", {"steps": 3}, capabilities=TASKS)).text == "3 steps"
        long = await client.call("hang", capabilities=TASKS)
        assert long.error["code"] == -31051  # waited for until its deadline
        done = await client.call(
            "job_only", capabilities=TASKS
        )  # it was over before that was known
        assert done.result["isError"]
        refused = await client.call("job_that_asks", capabilities=ALL)  # only a task can be asked
        assert refused.error["code"] == -31063
        answer = await client.ask("tasks/get", {"taskId": "t"}, capabilities=TASKS)
        assert answer.error["code"] == -31063
        while flow.requests.tracker.running:
            await trio.lowlevel.checkpoint()
        flow.requests.tasks.keeper = None


@asynccontextmanager
async def operated(folder: pathlib.Path) -> AsyncGenerator[tuple[Flow, Ctl]]:
    """A node with an api, and flowctl for it: the exit code, and what it said."""
    config = folder / "flow.toml"
    config.write_text(
        f'[node]\ndata_dir = "{folder}"\n[state]\n[edge.api]\ntype = "api"\nbind = "127.0.0.1:0"\n'
    )
    async with open_flow(config) as flow:

        async def ctl(*words: str) -> tuple[int, str]:
            command = [str(pathlib.Path(sys.executable).parent / "flowctl"), *words]
            done = await trio.run_process(
                [*command, "--url", flow.endpoints["api"][0]],
                capture_stdout=True,
                stderr=subprocess.STDOUT,
                check=False,
                cwd=ROOT,
            )
            return done.returncode, done.stdout.decode()

        yield flow, ctl


async def test_flowctl_shows_what_is_kept_and_revoked(tmp_path: pathlib.Path) -> None:
    async with talking(tmp_path) as (flow, client):
        answer = await client.call("job", {"steps": 1}, capabilities=TASKS)
        await ended(client, str(answer.result["taskId"]))
        (line,) = await flow.kept_tasks()
        assert (line["agent"], line["name"], line["state"]) == ("talk", "job", "completed")
        assert answer.result["taskId"] not in json.dumps(line)
        await flow.revoke(["idp:jti:7"], 60.0)
        (revoked,) = await flow.revocations()
        assert revoked["id"] == "idp:jti:7"
    async with operated(tmp_path) as (_, ctl):
        assert "job" in (await ctl("tasks"))[1]
        assert await ctl("revoke", "staff", "principal", "ann", "--for", "1h") == (
            0,
            "staff:principal:ann: revoked\n",
        )
        _, said = await ctl("revoke", "a", "key", "b", "--for", "soon")
        assert "expected a duration" in said
        _, said = await ctl("revocations")
        assert "idp:jti:7" in said
        assert "staff:principal:ann" in said


async def test_flowctl_takes_a_revocation_back(tmp_path: pathlib.Path) -> None:
    async with operated(tmp_path) as (flow, ctl):
        await flow.revoke(["staff:principal:ann", "idp:jti:7"])
        remove = ("revocations", "--remove", "staff", "principal", "ann")
        assert await ctl(*remove) == (0, "staff:principal:ann: revoked no more\n")
        assert [one["id"] for one in await flow.revocations()] == ["idp:jti:7"]
        code, said = await ctl(*remove)  # there is none any more
        assert code == 1
        assert "'staff:principal:ann'" in said
        code, said = await ctl("revocations", "--remove", "staff", "badge", "ann")
        assert code == 2
        assert "expected one of jti, key, token, certificate, principal, not 'badge'" in said
        code, said = await ctl("revocations", "--remove", "idp", "jti")
        assert code == 2
        assert "expected 3 arguments" in said
        assert [one["id"] for one in await flow.revocations()] == ["idp:jti:7"]
