"""The Tasks extension (`io.modelcontextprotocol/tasks`): calls whose client need not wait for them.

The server decides: a tool that declares `execution.taskSupport` becomes a task at once, any other call when
it takes longer than `task_after`; only for clients that declared the extension.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import trio
from msgspec import Raw

from flow_edges.mcp.client import Client
from flow_edges.mcp.recorded import Recorder
from flow_edges.mcp.results import Results, explained
from flow_edges.mcp.tools import KnownTools
from flowcore.agents import Tool
from flowcore.errors import CallError, InvalidArguments, SchemaViolation
from flowcore.interfaces import Host
from flowcore.mcp import METHODS, MissingCapability, error_for, has_extension, text_member
from flowcore.mcp.meta import TASKS
from flowcore.requests import Envelope, Reply, Task, TaskState, asks_back, complete

_POLL_MS = 500
_GRACE = 0.05
"""Seconds in which a tool that declares tasks may ask something before it is one."""
_encode = msgspec.json.encode


_decode_answers = msgspec.json.Decoder(dict[str, Raw]).decode


def required() -> MissingCapability:
    """The refusal of what needs a client that knows tasks."""
    return MissingCapability({"extensions": {TASKS: {}}})


class TaskFace:
    """A flow's tasks as the extension shows them."""

    def __init__(
        self,
        host: Host,
        tools: KnownTools,
        results: Results,
        recorder: Recorder,
        *,
        deadline: float,
        after: float,
    ) -> None:
        """`deadline` is how long each round of a task may take, `after` how long a call may take before
        it goes on as one, in seconds."""
        self._host = host
        self._recorder = recorder
        self._tools = tools
        self._results = results
        self._deadline = deadline
        self._after = after

    def wanted(self, client: Client, tool: Tool | None) -> bool:
        """Whether a call may become a task. Raises MissingCapability if it must and cannot."""
        support = self._support_of(tool)
        knows = bool(client.capabilities) and has_extension(client.capabilities)
        if support == "required" and client.modern and not knows:
            raise required()
        return knows and client.modern and support != "forbidden"

    async def call(self, envelope: Envelope, tool: Tool | None) -> bytes:
        """The result of a call if it is there soon, else the handle of the task it goes on as.

        What the call asks of the client before it is a task is asked by its result, as of any call.
        """
        tasks = self._host.requests.tasks
        handed = False

        def recorded(error: BaseException | None) -> None:
            self._recorder.done(envelope, error)

        async def submit(envelope: Envelope) -> Reply:
            reply: Reply
            try:
                reply = await self._host.submit(envelope)
                if asks_back(reply) and handed:
                    reply = await complete(
                        self._host.submit, envelope, reply, deadline=self._deadline
                    )
            except SchemaViolation as problem:
                reply = explained(problem)
            except BaseException as error:
                recorded(error)
                raise
            recorded(None)
            return reply

        declared = self._support_of(tool) in ("required", "optional")
        task = tasks.begin(envelope, long=declared, submit=submit)
        try:
            with trio.move_on_after(_GRACE if declared else self._after):
                while not task.final and task.state is not TaskState.INPUT_REQUIRED:
                    await task.changed.wait()
            inline = task.final and (not declared or _asks(task))
            if not inline:
                handed = True
                inline = not await self._keep(task, envelope, tool)
        except trio.Cancelled:
            tasks.cancel(task.id, task.owner)
            raise
        if inline:
            tasks.discard(task)
            if task.error is not None:
                raise task.error
            assert task.reply is not None
            return self._results.modern(
                task.reply, METHODS["tools/call"], envelope.peer.capabilities
            )
        return self.created(task)

    async def _keep(self, task: Task, envelope: Envelope, tool: Tool | None) -> bool:
        """Have a task outlive this node before its client is told of it, where it keeps any that do.

        False: that cannot be, so it stayed a call, and is final now. Raises CallError if its tool is none to
        be waited for, or asks what only a task can be asked.
        """
        try:
            await self._host.requests.tasks.keep(task, envelope)
        except CallError:
            while not task.final:
                if self._support_of(tool) == "required" or task.state is TaskState.INPUT_REQUIRED:
                    self._host.requests.tasks.cancel(task.id, task.owner)
                    raise
                await task.changed.wait()
            return False
        return True

    async def answer(self, method: str, params: dict[str, Raw], client: Client) -> bytes:
        """The result of `tasks/get`, `tasks/update` or `tasks/cancel`. Raises CallError."""
        if not has_extension(client.capabilities):
            raise required()
        task_id = text_member(params, "taskId")
        if task_id is None:
            raise InvalidArguments("params.taskId is missing")
        tasks, owner = self._host.requests.tasks, client.principal.owner
        if method == "tasks/get":
            found = await tasks.look(task_id, owner)
            return self._results.stamp.modern(_encode(self.detailed(found)))
        if method == "tasks/update":
            await tasks.give(task_id, owner, _answers(params))
        else:
            await tasks.stop(task_id, owner)
        return self._results.stamp.modern(b"{}")

    def created(self, task: Task) -> bytes:
        """The result that hands a task to its client."""
        document = {"resultType": "task", **_outline(task)}
        if task.final:
            document["status"] = TaskState.WORKING.value  # what came of it, tasks/get tells
        return self._results.stamp.modern(_encode(document))

    def detailed(self, task: Task) -> dict[str, Any]:
        """A task with what its status brings along: questions, result or error."""
        document = _outline(task)
        if task.state is TaskState.INPUT_REQUIRED:
            document["inputRequests"] = {
                key: {"method": question.method, "params": question.params}
                for key, question in task.questions.items()
            }
        elif task.state is TaskState.COMPLETED and task.reply is not None:
            result = self._results.modern(task.reply, METHODS["tools/call"])
            document["result"] = Raw(result)
        elif task.state is TaskState.FAILED and task.error is not None:
            document["error"] = error_for(task.error, modern=True)
        return document

    def _support_of(self, tool: Tool | None) -> str | None:
        return None if tool is None else self._tools.facts(tool).tasks

    def find(self, task_id: str, client: Client) -> Task | None:
        """A task of this client's principal; None if there is none."""
        try:
            return self._host.requests.tasks.find(task_id, client.principal.owner)
        except CallError:
            return None


def _asks(task: Task) -> bool:
    return task.reply is not None and asks_back(task.reply)


def _outline(task: Task) -> dict[str, Any]:
    document: dict[str, Any] = {
        "taskId": task.id,
        "status": task.state.value,
        "createdAt": _moment(task.created),
        "lastUpdatedAt": _moment(task.updated),
        "ttlMs": round(task.ttl * 1000),
        "pollIntervalMs": _POLL_MS,
    }
    if task.message:
        document["statusMessage"] = task.message
    return document


def _moment(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _answers(params: dict[str, Raw]) -> dict[str, Raw]:
    raw = params.get("inputResponses")
    try:
        return {} if raw is None else _decode_answers(raw)
    except msgspec.MsgspecError:
        raise InvalidArguments("params.inputResponses must be an object") from None
