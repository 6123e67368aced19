"""The process agent, with real processes that do what they should and what they should not."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from flowcore import Flow, open_flow
from flowcore.agents import Notification
from flowcore.config import ConfigError
from flowcore.errors import (
    AgentUnavailable,
    CallError,
    DeadlineExceeded,
    InvalidArguments,
    OutcomeUnknown,
    UnknownTarget,
    UpstreamError,
    UpstreamFailure,
)
from flowcore.requests import Envelope, Raw
from support.living import alive, children, open_fds, wait_dead

ROGUE = Path(__file__).with_name("rogue.py")
EXAMPLE = Path(__file__).parents[3] / "examples" / "process_agent.py"
FAST = {"base": "1ms", "cap": "10ms", "limit": 1000}


@asynccontextmanager
async def open_rogue(mode: str = "well", *words: str, **settings: Any) -> AsyncGenerator[Flow]:
    """A flow with the agent `it`, one process of the rogue at most."""
    agent = {
        "type": "process",
        "command": ["python", "-I", "-S", str(ROGUE), mode, *words],
        "close_grace": "10ms",
        "term_grace": "10ms",
        "restart": FAST,
        "pool": {"max": 1},
        **settings,
    }
    async with open_flow({"agent": {"it": agent}}) as flow:
        with trio.fail_after(120):
            await flow.wait_settled()
            yield flow


def processes() -> list[int]:
    """The flow's agent processes: children of the launcher, which is a child of ours."""
    found: list[int] = []
    for launcher in children():
        path = Path(f"/proc/{launcher}/task/{launcher}/children")
        found += map(int, path.read_text().split())
    return found


def pid_of(flow: Flow) -> int:
    """The only process of the flow's agent."""
    del flow
    [pid] = processes()
    return pid


async def test_the_example_works() -> None:
    config = {
        "agent": {"sums": {"type": "process", "command": ["python", "-I", "-S", str(EXAMPLE)]}}
    }
    async with open_flow(config) as flow:
        await flow.wait_settled()
        result = await flow.call("sums.add", {"a": 2, "b": 40})
        assert result.structured == {"sum": 42}
        assert result.text == '{"sum": 42}'
        assert (await flow.call("sums.count", {"to": 3})).text == "counted to 3"
        with pytest.raises(InvalidArguments, match="a"):
            await flow.call("sums.add", {"b": 1})
        with pytest.raises(UnknownTarget):
            await flow.call("sums.subtract", {"b": 1})
        [tool, _] = flow.agent("sums").catalog.tools
        assert tool.read_only
        assert not tool.idempotent


@pytest.mark.parametrize(
    ("value", "content", "structured"),
    [
        (None, [], None),
        ("é\n", "é\n", None),
        ({"a": [1]}, '{"a": [1]}', {"a": [1]}),
        ({"content": "own"}, '{"content": "own"}', {"content": "own"}),
        ([1, {"b": None}], '[1, {"b": null}]', {"result": [1, {"b": None}]}),
        (False, "false", {"result": False}),
        (1.5, "1.5", {"result": 1.5}),
    ],
)
async def test_any_value_is_a_result(value: Any, content: Any, structured: Any) -> None:
    async with open_rogue() as flow:
        result = await flow.call("it.value", {"value": value})
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        assert result.content == content
        assert result.structured == structured
        assert not result.is_error


async def test_a_tool_result_is_passed_on_as_it_is() -> None:
    async with open_rogue() as flow:
        result = await flow.call("it.content")
        assert result.raw == {
            "content": [{"type": "text", "text": "as is"}],
            "isError": True,
            "own": 1,
        }


async def test_an_error_of_its_own_is_passed_on_as_it_is() -> None:
    async with open_rogue() as flow:
        with pytest.raises(UpstreamError) as caught:
            await flow.call("it.error")
        wire = caught.value.wire()
        assert (wire["code"], wire["message"]) == (77, "no luck")
        assert wire["data"] == {"why": "rain"}
        assert (await flow.call("it.value", {"value": 1})).structured == {"result": 1}


async def test_a_call_carries_what_its_work_may_need() -> None:
    async with open_rogue(deadline="20s") as flow:
        envelope = Envelope(
            agent="it",
            name="echo_meta",
            params={"arguments": Raw(b'{\n "a": 1\n}')},
            meta={
                "traceparent": Raw(b'"00-%b-%b-01"' % (b"a" * 32, b"b" * 16)),
                "progressToken": Raw(b"1"),
            },
            deadline=trio.current_time() + 10,
        )
        reply = await flow.submit(envelope)
        said = json.loads(bytes(reply.result))["structuredContent"]
        work = flow.telemetry.recent[-1].records()[-1]
        assert (work.name, work.trace_id) == ("execute_tool echo_meta", "a" * 32)
        assert said["meta"] == {"traceparent": f"00-{'a' * 32}-{work.span_id}-01"}
        assert said["request"] == envelope.id
        assert 0 < said["deadline"] <= 10


async def test_describes_itself_again_when_it_has_changed() -> None:
    async with open_rogue() as flow:
        assert flow.agent("it").catalog.instructions is None
        revision = flow.directory.revision
        await flow.call("it.change", {"name": "fresh"})
        while [one.name for one in flow.agent("it").catalog.tools] != ["change", "fresh"]:
            revision = await flow.directory.wait_changed(revision)


class Listener:
    """A caller that keeps what it is told."""

    capabilities: Mapping[str, Raw] = {}

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def notify(self, method: str, params: Raw) -> None:
        self.told.append((method, json.loads(bytes(params))))

    async def request(self, method: str, params: Raw) -> Raw:
        raise NotImplementedError


async def test_progress_and_log_lines_reach_the_caller() -> None:
    async with open_rogue() as flow:
        listener = Listener()
        for tool in ("progress", "log_to_caller"):
            await flow.submit(
                Envelope(
                    agent="it",
                    name=tool,
                    params={},
                    meta={"progressToken": Raw(b'"t"')},
                    deadline=trio.current_time() + 60,
                    peer=listener,  # type: ignore[arg-type]
                )
            )
        assert listener.told == [
            (
                "notifications/progress",
                {"progressToken": "t", "progress": 1.0, "total": 2.0, "message": "so"},
            ),
            ("notifications/progress", {"progressToken": "t", "progress": 2.0}),
            ("notifications/message", {"level": "info", "logger": "it", "data": "psst"}),
        ]


async def test_log_lines_about_no_call_reach_whoever_watches() -> None:
    async with open_rogue() as flow, flow.events() as events:
        await flow.call("it.log_to_all")
        async for event in events:
            if isinstance(event, Notification):
                said = json.loads(bytes(event.params))
                assert event.method == "notifications/message"
                assert said == {"level": "warning", "logger": "me", "data": {"a": 1}}
                return


async def test_one_that_is_concurrent_works_on_many_calls_at_once() -> None:
    async with open_rogue("concurrent", pool={"max": 1, "concurrency": 10}) as flow:
        assert flow.agent("it").catalog.instructions == "ask nicely"
        texts: list[str] = []

        async def hold() -> None:
            texts.append((await flow.call("it.hold")).text)

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(hold)
            while not texts:
                await flow.call("it.release")
        assert texts == ["released"] * 5


async def test_one_that_is_not_gets_one_call_at_a_time() -> None:
    async with open_rogue(pool={"max": 1, "concurrency": 10}) as flow:
        with trio.move_on_after(0.2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(flow.call, "it.hold")
                nursery.start_soon(flow.call, "it.hold")
                nursery.start_soon(flow.call, "it.value", {"value": 1})
        # both are cancelled, and the second was never sent: only the first is told so
        assert (await flow.call("it.value", {"value": 2})).structured == {"result": 2}
        cancelled = [line for line in flow.agent("it").status()["stderr"] if "cancelled" in line]
        assert len(cancelled) == 1
        assert flow.agent("it").status()["lives"] == 1


async def test_a_cancelled_call_is_cancelled_there() -> None:
    async with open_rogue() as flow:
        pid = pid_of(flow)
        for _ in range(3):
            with pytest.raises(DeadlineExceeded):
                await flow.call("it.hold", deadline=0.5)
        assert (await flow.call("it.value", {"value": 1})).structured == {"result": 1}
        assert pid_of(flow) == pid
        assert flow.agent("it").statistics().late == 3
        assert flow.requests.statistics().late == 3


async def test_one_that_does_not_let_go_of_a_cancelled_call_is_killed() -> None:
    async with open_rogue("stubborn", cancel_grace="50ms") as flow:
        pid = pid_of(flow)
        with pytest.raises(DeadlineExceeded):
            await flow.call("it.hang", deadline=0.5)
        # the next call waits behind it, is never sent, and so is safe to try again by itself
        assert (await flow.call("it.value", {"value": 1})).structured == {"result": 1}
        assert not alive(pid)


async def test_one_that_is_late_but_answers_within_the_grace_lives_on() -> None:
    async with open_rogue(cancel_grace="1m") as flow:
        pid = pid_of(flow)
        with pytest.raises(DeadlineExceeded):
            await flow.call("it.sleep_then_answer", {"seconds": 0.3}, deadline=0.05)
        assert (await flow.call("it.value", {"value": 1})).structured == {"result": 1}
        assert pid_of(flow) == pid


@pytest.mark.parametrize(
    ("tool", "text"),
    [
        ("not_json", "not valid JSON"),
        ("not_utf8", "not UTF-8"),
        ("not_an_object", "batches"),
        ("wrong_id", "was not asked or is answered already"),
        ("text_id", "was not asked or is answered already"),
        ("null_id", "was not asked or is answered already"),
        ("ask", "nothing can be asked"),
        ("unknown_notification", "'hello', which is unknown"),
        ("bad_progress", "params of 'progress' are wrong"),
        ("bad_level", "params of 'log' are wrong"),
        ("nested", "nested"),
        ("empty_line", "not valid JSON"),
        ("binary", "not valid JSON"),
        ("no_result", "result"),
        ("both", "result"),
        ("no_version", "jsonrpc"),
        ("bad_error", "error"),
        ("long_line", "line of more than 1,048,576 bytes"),
        ("endless", "line of more than 1,048,576 bytes"),
        ("chatter", "more than 100 notifications a second"),
    ],
)
async def test_breaking_the_protocol_is_a_typed_error_and_a_restart(tool: str, text: str) -> None:
    async with open_rogue("stubborn", max_message="1MiB", chatter=100) as flow:
        pid = pid_of(flow)
        with pytest.raises(UpstreamFailure, match=text):
            await flow.call(f"it.{tool}")
        assert (await flow.call("it.value", {"value": 1})).structured == {"result": 1}
        assert not alive(pid)


@pytest.mark.parametrize(("tool", "text"), [("in_pieces", "whole"), ("crlf", "crlf")])
async def test_a_line_is_a_line_however_it_comes(tool: str, text: str) -> None:
    async with open_rogue() as flow:
        pid = pid_of(flow)
        assert (await flow.call(f"it.{tool}")).text == text
        assert pid_of(flow) == pid


@pytest.mark.parametrize("tool", ["half_a_line", "freeze", "hang"])
async def test_one_that_does_not_go_on_is_killed_after_the_deadline(tool: str) -> None:
    async with open_rogue("stubborn", cancel_grace="10ms") as flow:
        pid = pid_of(flow)
        with pytest.raises(DeadlineExceeded):
            await flow.call(f"it.{tool}", deadline=0.5)
        await wait_dead([pid])
        assert (await flow.call("it.value", {"value": 1})).structured == {"result": 1}


async def test_one_that_reads_no_more_is_killed_after_the_deadline() -> None:
    async with open_rogue(cancel_grace="10ms") as flow:
        pid = pid_of(flow)
        assert (await flow.call("it.unread")).text == "and no more"
        with pytest.raises(DeadlineExceeded):
            await flow.call("it.value", {"value": "x" * 5_000_000}, deadline=2.0)
        await wait_dead([pid])
        assert (await flow.call("it.value", {"value": 1})).structured == {"result": 1}


async def test_one_that_freezes_while_it_has_nothing_to_do_is_replaced() -> None:
    async with open_rogue(heartbeat={"interval": "200ms", "misses": 2}) as flow:
        pid = pid_of(flow)
        os.kill(pid, signal.SIGSTOP)
        await wait_dead([pid])
        assert (await flow.call("it.value", {"value": 1})).structured == {"result": 1}


@pytest.mark.parametrize("how", ["command", "template"])
async def test_a_daemon_of_its_own_ends_with_it(how: str) -> None:
    settings: dict[str, Any] = (
        {"template": f"{ROGUE}:main", "command": ["python"]} if how == "template" else {}
    )
    async with open_rogue(pool={"max": 2}, **settings) as flow:
        first, second = [(await flow.call("it.daemon")).structured["result"] for _ in range(2)]
        assert alive(first)
        assert alive(second)
        with pytest.raises(OutcomeUnknown):
            await flow.call("it.exit")
        await wait_dead([first, second])
        third = (await flow.call("it.daemon")).structured["result"]
        assert alive(third)
    assert not alive(third)


async def test_a_child_that_holds_its_streams_hides_no_end() -> None:
    async with open_rogue() as flow:
        with pytest.raises(OutcomeUnknown, match="exited with code 3"):
            await flow.call("it.exit_leaving_a_child")
        [*_, said] = flow.agent("it").status()["stderr"]
        await wait_dead([int(said.rpartition(" ")[2])])


async def test_an_answer_given_twice_breaks_the_protocol_too() -> None:
    async with open_rogue() as flow:
        pid = pid_of(flow)
        assert (await flow.call("it.duplicate")).text == "once"
        while True:
            try:
                result = await flow.call("it.value", {"value": 1})
            except UpstreamFailure as error:
                assert "answered already" in str(error)
            else:
                break
        assert result.structured == {"result": 1}
        assert not alive(pid)


@pytest.mark.parametrize(
    ("tool", "text"),
    [
        ("exit", "exited with code 3, while"),
        ("exit_within_a_message", "exited with code 0 within a message"),
        ("close_output", "closed its output"),
    ],
)
async def test_a_process_that_ends_leaves_an_unknown_outcome_and_is_started_again(
    tool: str, text: str
) -> None:
    async with open_rogue() as flow:
        pid = pid_of(flow)
        with pytest.raises(OutcomeUnknown, match=text):
            await flow.call(f"it.{tool}")
        assert (await flow.call("it.value", {"value": 1})).structured == {"result": 1}
        assert not alive(pid)


async def test_a_process_that_closes_its_input_is_started_again() -> None:
    async with open_rogue() as flow:
        assert (await flow.call("it.close_input")).text == "closed"
        with pytest.raises(OutcomeUnknown, match="no more input"):
            await flow.call("it.value", {"value": 1})
        assert (await flow.call("it.value", {"value": 1})).structured == {"result": 1}


async def test_the_death_of_an_idle_process_is_known_at_once() -> None:
    async with open_rogue() as flow:
        for _ in range(5):
            killed = processes()
            for pid in killed:
                os.kill(pid, 9)
            await wait_dead(killed)
            with contextlib.suppress(OutcomeUnknown):  # sent before the kernel told us
                await flow.call("it.value", {"value": 1})
            assert (await flow.call("it.value", {"value": 1})).structured == {"result": 1}


async def test_stderr_without_end_disturbs_nobody() -> None:
    noisy = {"type": "process", "command": ["python", "-I", "-S", str(ROGUE)]}
    async with open_flow({"agent": {"noisy": noisy, "it": noisy}}) as flow:
        await flow.wait_settled()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_fails, flow, "noisy.stderr")
            for number in range(20):
                result = await flow.call("it.value", {"value": number})
                assert result.structured == {"result": number}
            with trio.fail_after(60):
                while len(flow.agent("noisy").stderr_tail) < 2:
                    await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        assert set(flow.agent("noisy").status()["stderr"][-2:]) == {"noisy/1: spam"}


async def _fails(flow: Flow, name: str) -> None:
    with pytest.raises(CallError):
        await flow.call(name)


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("exit", "the process exited with code 4"),
        ("refuses", "does not describe itself: rather not"),
        ("no_tools", "answer to 'describe' is wrong"),
        ("no_object", "answer to 'describe' is wrong"),
        ("nameless", "tool 0 of 'describe' is wrong"),
        ("empty_name", "tool 0 of 'describe' has an empty name"),
        ("twice", "lists the tool 'a' twice"),
        ("bad_schema", "tool 0 of 'describe' is wrong"),
    ],
)
async def test_one_that_cannot_start_is_failed_with_its_reason(mode: str, reason: str) -> None:
    async with open_rogue(mode, restart={"base": "1h", "cap": "1h"}) as flow:
        status = flow.agent("it").status()
        assert status["state"] == "failed"
        assert reason in status["reason"]
        if mode == "exit":
            assert status["reason"] == reason  # said once
            assert status["stderr"] == ["it/1: cannot go on"]
        with pytest.raises(AgentUnavailable, match="failed"):
            await flow.agent("it").call(
                Envelope(agent="it", name="a", params={}, deadline=trio.current_time() + 1)
            )


async def test_a_command_that_is_not_there_is_the_reason() -> None:
    async with open_rogue(command=["no-such-program"], restart={"base": "1h", "cap": "1h"}) as flow:
        assert "'no-such-program' was not found on the PATH" in flow.agent("it").reason


async def test_one_that_answers_no_heartbeat_is_replaced() -> None:
    async with open_rogue("well", "deaf", heartbeat={"interval": "20ms", "misses": 2}) as flow:
        await wait_dead([pid_of(flow)])


async def test_one_that_works_longer_than_its_heartbeats_is_left_to_work() -> None:
    async with open_rogue(heartbeat={"interval": "200ms", "misses": 2}) as flow:
        result = await flow.call("it.sleep_then_answer", {"seconds": 1.5})
        assert result.text == "done"


async def test_paths_and_variables_are_the_configurations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = ROGUE.read_text().replace(
        'result: Any = "done"', "result: Any = dict(os.environ, cwd=os.getcwd())"
    )
    (tmp_path / "agent.py").write_text(script)
    (tmp_path / "flow.toml").write_text(
        """
        [agent.it]
        type = "process"
        command = ["python", "-I", "-S", "agent.py"]
        env = { PLAIN = "1", TOKEN = { env = "THE_TOKEN" } }
        """
    )
    monkeypatch.setenv("THE_TOKEN", "canary")
    async with open_flow(tmp_path / "flow.toml") as flow:
        await flow.wait_settled()
        seen = (await flow.call("it.log_to_all")).structured
        assert seen["cwd"] == str(tmp_path)
        assert (seen["PLAIN"], seen["TOKEN"]) == ("1", "canary")
        assert "THE_TOKEN" not in seen
        assert "canary" not in json.dumps(flow.status())


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"command": []}, "command"),
        ({"command": "python agent.py"}, "command"),
        ({"chatter": 0}, "chatter"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_a_wrong_configuration_is_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        async with open_rogue(**settings):
            pytest.fail("it was opened")


async def test_a_hundred_crashes_leave_nothing() -> None:
    async with open_rogue(pool={"max": 1, "idle_timeout": "20ms"}) as flow:
        await _until_none_is_left()
        before, fds = children(), open_fds()
        for _ in range(100):
            with pytest.raises(OutcomeUnknown):
                await flow.call("it.exit")
        await _until_none_is_left()
        assert children() <= before
        with trio.fail_after(60):
            while not open_fds() <= fds:  # the last one's pipes are closed a moment after its end
                await trio.lowlevel.checkpoint()


async def _until_none_is_left() -> None:
    while processes():
        await trio.lowlevel.checkpoint()
