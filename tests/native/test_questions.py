"""Calls that end with questions, and the sealed states that callers bring back."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from flowcore.errors import InvalidArguments
from flowcore.native import (
    CallContext,
    InputRequired,
    Seal,
    ask_form,
    ask_model,
    ask_roots,
    prompt,
    resource,
    tool,
)
from flowcore.requests import Envelope, Principal
from support.natives import Native, text_of

FORM = {"type": "object", "properties": {"name": {"type": "string"}}}


class Careful:
    @tool
    async def delete(self, context: CallContext, path: str = "") -> str:
        """Deletes, once it is confirmed."""
        if context.state is None:
            raise InputRequired({"sure": ask_form(f"Delete {path}?", FORM)}, state={"path": path})
        return f"{context.state} {context.answers['sure']['action']}"

    @tool
    async def stateless(self, context: CallContext) -> str:
        if not context.answers:
            raise InputRequired({"roots": ask_roots(), "model": ask_model("hi", max_tokens=1)})
        return str(sorted(context.answers))

    @tool
    async def later(self, context: CallContext) -> str:
        if context.state is None:
            raise InputRequired(state=1)
        return "done"

    @prompt
    async def ask(self, context: CallContext) -> str:
        raise InputRequired({"name": ask_form("Who?", FORM)})

    @resource("a://b")
    async def read(self, context: CallContext) -> str:
        raise InputRequired({"name": ask_form("Who?", FORM)})


async def call(native: Native, name: str, **params: Any) -> Any:
    return await native.ask("tools/call", name, **params)


async def test_a_call_can_end_with_questions_and_be_asked_again() -> None:
    native = Native(Careful())
    asked = await call(native, "delete", arguments={"path": "x"})
    state = asked.pop("requestState")
    assert asked == {
        "resultType": "input_required",
        "inputRequests": {
            "sure": {
                "method": "elicitation/create",
                "params": {"message": "Delete x?", "requestedSchema": FORM},
            }
        },
    }
    done = await call(
        native,
        "delete",
        arguments={"path": "x"},
        requestState=state,
        inputResponses={"sure": {"action": "accept"}},
    )
    assert text_of(done) == "{'path': 'x'} accept"


async def test_questions_need_no_state_and_a_state_no_questions() -> None:
    native = Native(Careful())
    asked = await call(native, "stateless", arguments={})
    assert "requestState" not in asked
    assert asked["inputRequests"]["roots"] == {"method": "roots/list", "params": {}}
    done = await call(native, "stateless", arguments={}, inputResponses={"roots": {}})
    assert text_of(done) == "['roots']"
    asked = await call(native, "later")
    assert set(asked) == {"resultType", "requestState"}
    done = await call(native, "later", requestState=asked["requestState"])
    assert text_of(done) == "done"
    with pytest.raises(ValueError, match="needs questions, a state, or both"):
        InputRequired()


async def test_prompts_and_resources_may_ask_too() -> None:
    native = Native(Careful())
    assert (await native.ask("prompts/get", "ask"))["resultType"] == "input_required"
    assert (await native.ask("resources/read", "a://b"))["resultType"] == "input_required"


@pytest.mark.parametrize("answers", [5, [], {"sure": 12345}, {"sure": None}])
async def test_answers_that_are_none_are_refused(answers: Any) -> None:
    with pytest.raises(InvalidArguments, match="inputResponses: Expected `object`"):
        await call(Native(Careful()), "stateless", inputResponses=answers)


async def test_a_state_of_ours_is_all_that_is_taken() -> None:
    native = Native(Careful())
    asked = await call(native, "delete", arguments={"path": "x"})
    state: str = asked["requestState"]
    first = "B" if state[0] == "A" else "A"
    for wrong in (f"{state}-TAMPERED", first + state[1:], "", "!", 5, "A" * 2_000_000):
        with pytest.raises(InvalidArguments, match="requestState was not given out"):
            await call(native, "delete", arguments={"path": "x"}, requestState=wrong)
    with pytest.raises(InvalidArguments, match="requestState"):
        await call(native, "delete", arguments={}, requestState=Raw(b'"\\ud800"x'))


def envelope(
    *, name: str = "delete", principal: str = "ann", arguments: str = '{"a":1,"b":2}'
) -> Envelope:
    return Envelope(
        agent="mine",
        name=name,
        params={"arguments": Raw(arguments.encode())},
        principal=Principal(name=principal),
        deadline=1.0,
    )


def test_a_state_is_of_one_principal_one_request_and_one_hour() -> None:
    now = 1000.0
    seal = Seal(clock=lambda: now)
    state = seal.close([1, {"x": None}], envelope())
    assert seal.open(state, envelope()) == [1, {"x": None}]
    assert seal.open(state, envelope(arguments='{ "b": 2, "a": 1 }')) == [1, {"x": None}]
    for other in (
        envelope(name="keep"),
        envelope(principal="bob"),
        envelope(arguments='{"a":1,"b":3}'),
    ):
        with pytest.raises(InvalidArguments):
            seal.open(state, other)
    now += 3600
    assert seal.open(state, envelope())
    now += 1
    with pytest.raises(InvalidArguments):
        seal.open(state, envelope())


def test_seals_of_one_key_open_each_others_states() -> None:
    key = b"k" * 32
    state = Seal(key).close("x", envelope())
    assert Seal(key).open(state, envelope()) == "x"
    with pytest.raises(InvalidArguments):
        Seal().open(state, envelope())


@given(st.binary(max_size=200))
def test_no_bytes_open_a_seal(data: bytes) -> None:
    with pytest.raises(InvalidArguments):
        Seal(b"k" * 32).open(base64.urlsafe_b64encode(data).decode(), envelope())


@given(st.text(max_size=50))
def test_no_text_opens_a_seal(text: str) -> None:
    with pytest.raises(InvalidArguments):
        Seal(b"k" * 32).open(text, envelope())


def test_a_state_can_be_read_but_holds_no_key() -> None:
    body = base64.urlsafe_b64decode(Seal(b"k" * 32).close("x", envelope()))[32:]
    assert msgspec.json.decode(body)[2] == "x"
    assert b"kkkk" not in body
