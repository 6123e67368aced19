"""The peer of a task: its progress becomes a status message, and its questions wait for an answer."""

from __future__ import annotations

import msgspec
import trio
from msgspec import Raw

from flowcore.envelope import Envelope, Peer
from flowcore.mcp import MissingCapability, lacking, question_for
from flowcore.requests.task import Question, Task, TaskState, settle_questions


class _Progress(msgspec.Struct, gc=False):
    progress: float | None = None
    total: float | None = None
    message: str | None = None


_decode_progress = msgspec.json.Decoder(_Progress).decode


class TaskPeer:
    """The peer of a task: progress becomes its status message, questions wait for `tasks/update`."""

    def __init__(self, task: Task, envelope: Envelope) -> None:
        self._task = task
        self._envelope = envelope
        self._peer: Peer = envelope.peer
        self._capabilities = dict(envelope.peer.capabilities)
        self._asked = 0

    @property
    def capabilities(self) -> dict[str, Raw]:
        return self._capabilities

    def notify(self, method: str, params: Raw) -> None:
        self._peer.notify(method, params)
        if method == "notifications/progress":
            self._task.become(self._task.state, _progress_text(params) or self._task.message)

    async def request(self, method: str, params: Raw) -> Raw:
        missing = lacking(self._capabilities, method, params)
        if missing:
            raise MissingCapability(missing)
        task = self._task
        self._asked += 1
        key = f"ask-{self._asked}"
        question = Question(method, question_for(method, params, modern=True))
        task.questions[key] = question
        task.become(TaskState.INPUT_REQUIRED, task.message)
        self._envelope.stop_clock(trio.current_time())
        try:
            await question.answered.wait()
        finally:
            self._envelope.start_clock(trio.current_time())
            task.questions.pop(key, None)
            settle_questions(task)
        assert question.answer is not None
        return question.answer


def _progress_text(params: Raw) -> str:
    try:
        said = _decode_progress(params)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    if said.message:
        return said.message
    if said.progress is None:
        return ""
    return f"{said.progress:g}" + (f" of {said.total:g}" if said.total is not None else "")
