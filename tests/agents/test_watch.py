from __future__ import annotations

import pytest
import trio

from flowcore.agents import Event, Lost, State, StateChanged, Watchers
from flowcore.agents.reasons import reason_of
from flowcore.errors import AgentUnavailable, FlowError


def change(number: int) -> StateChanged:
    return StateChanged("a", State.IDLE, State.BUSY, "", float(number))


async def test_every_watcher_hears_everything_from_then_on() -> None:
    watchers = Watchers()
    watchers.emit(change(0))
    async with watchers.watch(10) as one, watchers.watch(10) as other:
        watchers.emit(change(1))
        watchers.emit(change(2))
        assert [one.receive_nowait(), one.receive_nowait()] == [change(1), change(2)]
        assert other.receive_nowait() == change(1)
    watchers.emit(change(3))
    with pytest.raises(trio.ClosedResourceError):
        one.receive_nowait()


async def test_a_slow_watcher_loses_what_does_not_fit_and_is_told_how_much() -> None:
    watchers = Watchers()
    async with watchers.watch(2) as slow:
        for number in range(5):
            watchers.emit(change(number))
        assert [slow.receive_nowait(), slow.receive_nowait()] == [change(0), change(1)]
        watchers.emit(change(5))
        assert [slow.receive_nowait(), slow.receive_nowait()] == [Lost(3), change(5)]
        for number in range(6, 10):
            watchers.emit(change(number))
        assert slow.receive_nowait() == change(6)
        watchers.emit(change(10))
        assert [slow.receive_nowait(), slow.receive_nowait()] == [change(7), Lost(2)]
        watchers.emit(change(11))
        assert [slow.receive_nowait(), slow.receive_nowait()] == [Lost(1), change(11)]


async def test_a_watcher_that_closed_its_end_disturbs_nobody() -> None:
    watchers = Watchers()
    async with watchers.watch(2) as gone, watchers.watch(2) as here:
        gone.close()
        watchers.emit(change(1))
        assert here.receive_nowait() == change(1)


def test_a_callback_is_called_until_it_is_taken_back() -> None:
    watchers = Watchers()
    heard: list[Event] = []
    forget = watchers.call(heard.append)
    watchers.emit(change(1))
    forget()
    forget()
    watchers.emit(change(2))
    assert heard == [change(1)]


def test_a_callback_that_fails_is_told_no_more_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watchers = Watchers()
    heard: list[Event] = []

    def broken(event: Event) -> None:
        raise ZeroDivisionError

    watchers.call(broken)
    watchers.call(heard.append)
    watchers.emit(change(1))
    watchers.emit(change(2))
    assert heard == [change(1), change(2)]
    assert caplog.text.count("an observer of events failed") == 1


def test_a_reason_says_what_went_wrong_in_a_line() -> None:
    assert reason_of(FlowError("in words")) == "in words"
    assert reason_of(AgentUnavailable("in words")) == "in words"
    assert reason_of(FlowError()) == "FlowError"
    assert reason_of(KeyError("x")) == "KeyError: 'x'"
    assert reason_of(ZeroDivisionError()) == "ZeroDivisionError"
    group = ExceptionGroup("many", [OSError("no"), OSError("no"), ValueError("bad")])
    assert reason_of(group) == "OSError: no; ValueError: bad"
    caused = FlowError("it did not start")
    caused.__cause__ = OSError("no such file")
    assert reason_of(caused) == "it did not start (OSError: no such file)"
    caused.__cause__ = OSError("did not start")
    assert reason_of(caused) == "it did not start"
    assert len(reason_of(FlowError("x" * 10_000))) == 500


def test_who_minds_no_activity_hears_all_but_that() -> None:
    watchers = Watchers()
    calm: list[Event] = []
    eager: list[Event] = []
    watchers.stirred("a", State.IDLE, State.BUSY, 1.0)  # nobody hears it
    watchers.call(calm.append, activity=False)
    forget = watchers.call(eager.append)
    watchers.stirred("a", State.IDLE, State.BUSY, 2.0)
    watchers.emit(change(3))
    forget()
    watchers.stirred("a", State.BUSY, State.IDLE, 4.0)
    assert calm == [change(3)]
    assert eager == [StateChanged("a", State.IDLE, State.BUSY, "", 2.0), change(3)]
