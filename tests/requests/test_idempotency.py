"""Idempotency keys: one key, one payload, one outcome."""

from __future__ import annotations

import gc
import weakref

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec import Raw

from flowcore.envelope import Envelope, Principal, Reply
from flowcore.errors import (
    AgentUnavailable,
    CallError,
    IdempotencyConflict,
    InternalError,
    InvalidRequest,
    OutcomeUnknown,
    Overloaded,
    StillRunning,
    UpstreamError,
)
from flowcore.mcp import MissingCapability
from flowcore.requests.idempotency import Keys, Reservation, fingerprint

DONE = Reply(Raw(b'{"done":1}'))


def keys(
    *,
    join: bool = True,
    keep: float = 100.0,
    most: int = 10,
    each: int | None = None,
    most_bytes: int = 1000,
) -> Keys:
    return Keys(join=join, keep=keep, most=most, each=each, most_bytes=most_bytes)


def keyed(
    key: str | None = "k",
    arguments: str = '{"a":1}',
    *,
    who: str = "ann",
    scheme: str = "token",
    agent: str = "mine",
    name: str = "tool",
) -> Envelope:
    return Envelope(
        agent=agent,
        name=name,
        params={"arguments": Raw(arguments.encode())},
        principal=Principal(name=who, scheme=scheme),
        deadline=1.0,
        idempotency_key=key,
    )


def test_the_first_does_the_work_and_others_get_its_outcome() -> None:
    one = keys()
    first, mine = one.reserve(keyed(), 0.0)
    assert mine
    again, mine = one.reserve(keyed(), 1.0)
    assert (again, mine, again.settled) == (first, False, False)
    woken: list[str] = []
    again.waiters.add(lambda: woken.append("woken"))
    one.settle(first, 2.0, reply=DONE)
    assert woken == ["woken"]
    known, mine = one.reserve(keyed(), 3.0)
    assert (known.outcome(), mine) == (DONE, False)
    assert (len(one), one.bytes) == (1, 10)


def test_another_payload_under_a_known_key_is_refused() -> None:
    one = keys()
    first, _ = one.reserve(keyed(), 0.0)
    for other in (keyed(arguments='{"a":2}'), keyed(arguments='{"a":1.0}'), keyed(name="other")):
        with pytest.raises(IdempotencyConflict):
            one.reserve(other, 0.0)
    one.settle(first, 0.0, reply=DONE)
    with pytest.raises(IdempotencyConflict):
        one.reserve(keyed(arguments="{}"), 0.0)
    assert not one.reserve(keyed(arguments=' { "a" : 1 } '), 0.0)[1]


def test_a_key_belongs_to_a_principal_and_an_agent() -> None:
    one = keys()
    one.reserve(keyed(), 0.0)
    assert one.reserve(keyed(who="bob", arguments="{}"), 0.0)[1]
    assert one.reserve(keyed(scheme="jwt", arguments="{}"), 0.0)[1], "another ann"
    assert one.reserve(keyed(agent="other", arguments="{}"), 0.0)[1]


def test_running_keys_can_be_refused_instead_of_joined() -> None:
    one = keys(join=False)
    first, _ = one.reserve(keyed(), 0.0)
    with pytest.raises(StillRunning):
        one.reserve(keyed(), 0.0)
    one.settle(first, 0.0, reply=DONE)
    assert one.reserve(keyed(), 0.0)[0].outcome() == DONE


@pytest.mark.parametrize("key", [None, "", "x" * 256, "a\nb", "\x00"])
def test_what_is_no_key_is_refused(key: str | None) -> None:
    with pytest.raises(InvalidRequest, match="1 to 255 printable characters"):
        keys().reserve(keyed(key), 0.0)


def test_the_longest_key_is_taken() -> None:
    assert keys().reserve(keyed("ü" * 255), 0.0)[1]


def test_what_never_began_is_no_outcome() -> None:
    one = keys()
    first, _ = one.reserve(keyed(), 0.0)
    one.settle(first, 0.0, error=AgentUnavailable("down"))
    assert len(one) == 0
    assert one.reserve(keyed(arguments="{}"), 0.0)[1]


def test_an_error_is_an_outcome_and_is_the_same_each_time() -> None:
    one = keys()
    first, _ = one.reserve(keyed(), 0.0)
    one.settle(first, 0.0, error=UpstreamError("no", code=7, data={"x": 1}))
    for _ in range(2):
        with pytest.raises(UpstreamError) as caught:
            one.reserve(keyed(), 0.0)[0].outcome()
        assert caught.value.wire() == {"code": 7, "message": "no", "data": {"x": 1}}


def test_errors_with_constructors_of_their_own_are_kept_too() -> None:
    one = keys()
    first, _ = one.reserve(keyed(), 0.0)
    one.settle(first, 0.0, error=MissingCapability({"sampling": {}}))
    # it never began, so it is not kept; asked for at once it is what it was
    with pytest.raises(MissingCapability) as caught:
        first.outcome()
    assert caught.value.data == {"requiredCapabilities": {"sampling": {}}}


def test_a_kept_error_holds_no_frames() -> None:
    class Witness:
        pass

    def fail() -> tuple[InternalError, weakref.ref[Witness]]:
        witness = Witness()
        try:
            raise InternalError("x") from ValueError(witness)
        except InternalError as error:
            return error, weakref.ref(witness)

    one = keys()
    first, _ = one.reserve(keyed(), 0.0)
    error, witness = fail()
    one.settle(first, 0.0, error=error)
    del error
    for _ in range(3):
        with pytest.raises(InternalError):
            first.outcome()
    gc.collect()
    assert witness() is None
    assert first.error is not None
    assert first.error.__traceback__ is None


def test_an_unknown_outcome_stays_unknown_unless_the_tool_may_be_repeated() -> None:
    one = keys()
    first, _ = one.reserve(keyed(), 0.0)
    one.settle(first, 0.0, error=OutcomeUnknown("lost"))
    known, mine = one.reserve(keyed(), 1.0)
    assert not mine
    with pytest.raises(OutcomeUnknown):
        known.outcome()
    again, mine = one.reserve(keyed(), 2.0, repeatable=True)
    assert mine
    assert again is not first
    one.settle(again, 2.0, reply=DONE)
    assert not one.reserve(keyed(), 3.0, repeatable=True)[1]
    failed, _ = one.reserve(keyed("other"), 3.0)
    one.settle(failed, 3.0, error=InternalError("known to have failed"))
    assert not one.reserve(keyed("other"), 3.0, repeatable=True)[1]


def test_outcomes_are_kept_for_their_time() -> None:
    one = keys(keep=10.0)
    first, _ = one.reserve(keyed(), 0.0)
    assert not one.reserve(keyed(), 1000.0)[1]  # as long as it runs, it is known
    one.settle(first, 1000.0, reply=DONE)
    assert not one.reserve(keyed(), 1010.0)[1]
    assert one.reserve(keyed(), 1010.1)[1]
    assert (len(one), one.bytes) == (1, 0)


def test_too_many_keys_push_out_the_oldest_that_has_ended() -> None:
    one = keys(most=3)
    running, _ = one.reserve(keyed("running"), 0.0)
    for number in range(4):
        done, _ = one.reserve(keyed(str(number)), 0.0)
        one.settle(done, 0.0, reply=DONE)
    assert len(one) == 3
    assert not one.reserve(keyed("3"), 0.0)[1]
    assert not one.reserve(keyed("2"), 0.0)[1]
    assert not one.reserve(keyed("running"), 0.0)[1]
    assert one.reserve(keyed("1"), 0.0)[1]
    one.reserve(keyed("4"), 0.0)
    with pytest.raises(Overloaded, match="3 requests with idempotency keys"):
        one.reserve(keyed("5"), 0.0)
    one.settle(running, 0.0, reply=DONE)
    assert one.reserve(keyed("5"), 0.0)[1]


def test_a_principal_with_many_keys_pushes_out_its_own_and_nobody_elses() -> None:
    one = keys(most=4, each=2)
    bobs, _ = one.reserve(keyed(who="bob"), 0.0)
    one.settle(bobs, 0.0, reply=DONE)
    for number in range(10):
        done, _ = one.reserve(keyed(str(number)), 1.0)
        one.settle(done, 1.0, reply=DONE)
    assert not one.reserve(keyed(who="bob"), 2.0)[1]
    assert not one.reserve(keyed("8"), 2.0)[1]
    assert (len(one), one.bytes) == (3, 30)
    one.reserve(keyed("10"), 2.0)
    one.reserve(keyed("11"), 2.0)
    with pytest.raises(Overloaded, match="2 requests with idempotency keys of 'ann'") as caught:
        one.reserve(keyed("12"), 2.0)
    assert (caught.value.began, caught.value.retry_after) == (False, 1.0)
    assert one.reserve(keyed(scheme="jwt"), 2.0)[1]
    statistics = one.statistics()
    assert (statistics.running, statistics.kept, statistics.refused) == (3, 1, 1)


def test_who_has_no_key_any_more_takes_no_room() -> None:
    one = keys(keep=10.0)
    for number in range(5):
        first, _ = one.reserve(keyed(who=str(number)), float(number))
        error = AgentUnavailable("down") if number % 2 else None
        one.settle(first, float(number), reply=None if error else DONE, error=error)
    one.reserve(keyed(), 100.0)
    assert len(one._owned) == 1


def test_a_result_that_is_let_go_leaves_its_key_used() -> None:
    one = keys(most_bytes=100)
    large = Reply(Raw(b'"' + b"x" * 60 + b'"'))
    for number in range(2):
        first, _ = one.reserve(keyed(str(number)), 0.0)
        one.settle(first, 0.0, reply=large)
    assert one.bytes == 62
    known, mine = one.reserve(keyed("0"), 0.0)
    assert not mine
    with pytest.raises(OutcomeUnknown, match="no longer kept") as caught:
        known.outcome()
    assert caught.value.data == {"done": True}
    assert one.reserve(keyed("1"), 0.0)[0].outcome() == large
    huge, _ = one.reserve(keyed("huge"), 0.0)
    one.settle(huge, 0.0, reply=Reply(Raw(b" " * 101)))
    assert one.bytes == 0
    assert len(one) == 3


def test_who_keeps_much_does_not_push_out_what_others_keep() -> None:
    one = keys(most_bytes=300, most=100)
    large = Reply(Raw(b'"' + b"x" * 98 + b'"'))
    for who, count in (("ann", 1), ("bob", 9)):
        for number in range(count):
            first, _ = one.reserve(keyed(str(number), who=who), 0.0)
            one.settle(first, 0.0, reply=large)
    assert one.bytes == 300
    assert one.reserve(keyed("0", who="ann"), 1.0)[0].outcome() == large
    with pytest.raises(OutcomeUnknown):
        one.reserve(keyed("6", who="bob"), 1.0)[0].outcome()
    assert one.reserve(keyed("7", who="bob"), 1.0)[0].outcome() == large


def test_a_kept_result_does_not_hold_on_to_its_message() -> None:
    message = b'{"result":{"a":1},"rest":"' + b"x" * 100_000 + b'"}'
    part: dict[str, Raw] = msgspec.json.decode(message, type=dict[str, Raw])
    one = keys()
    first, _ = one.reserve(keyed(), 0.0)
    one.settle(first, 0.0, reply=Reply(part["result"], modern=True))
    kept = first.reply
    assert kept is not None
    assert kept == Reply(Raw(b'{"a":1}'), modern=True)
    assert not any(one is message for one in gc.get_referents(kept.result))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('{"a":1,"b":[2,{"c":3,"d":4}]}', '{ "b": [2,{"d":4,"c":3}], "a":1 }', True),
        ('{"a":1}', '{"a":1.0}', False),
        ('{"a":[1,2]}', '{"a":[2,1]}', False),
        ('{"a":"\\u00e9"}', '{"a":"é"}', True),
        ('{"a":null}', "{}", False),
        ('{"a":12345678901234567890123}', '{"a":12345678901234567890124}', False),
    ],
)
def test_payloads_are_compared_in_canonical_form(one: str, other: str, same: bool) -> None:
    assert (fingerprint(keyed(arguments=one)) == fingerprint(keyed(arguments=other))) is same


def test_every_member_of_the_request_counts() -> None:
    plain = keyed()
    more = keyed()
    more.params["_x"] = Raw(b"1")
    assert fingerprint(plain) != fingerprint(more)
    assert len(fingerprint(plain)) == 32


class KeysMachine(RuleBasedStateMachine):
    """Random use: the work of a key is never begun twice while the key is known, unless it may be."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.keys = keys(keep=50.0, most=4, most_bytes=30)
        self.running: dict[str, Reservation] = {}
        self.settled: dict[str, tuple[float, CallError | None]] = {}
        self.let_go: set[str] = set()

    @rule(seconds=st.floats(0.0, 40.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(key=st.sampled_from("abcdef"), repeatable=st.booleans())
    def reserve(self, key: str, repeatable: bool) -> None:
        for one, (at, _) in list(self.settled.items()):
            if self.now - at > 50.0:
                del self.settled[one]
        if key in self.running:
            reservation, mine = self.keys.reserve(keyed(key), self.now, repeatable=repeatable)
            assert (reservation, mine) == (self.running[key], False)
            return
        error = self.settled[key][1] if key in self.settled else None
        again = repeatable and (isinstance(error, OutcomeUnknown) or key in self.let_go)
        if key in self.settled and not again:
            reservation, mine = self.keys.reserve(keyed(key), self.now, repeatable=repeatable)
            assert not mine
            self.check(reservation, error, let_go=key in self.let_go)
            return
        if len(self.running) == 4:
            with pytest.raises(Overloaded):
                self.keys.reserve(keyed(key), self.now, repeatable=repeatable)
            return
        reservation, mine = self.keys.reserve(keyed(key), self.now, repeatable=repeatable)
        assert mine
        self.settled.pop(key, None)
        self.let_go.discard(key)
        while len(self.running) + len(self.settled) >= 4:
            del self.settled[next(iter(self.settled))]
        self.running[key] = reservation

    def check(self, reservation: Reservation, error: CallError | None, *, let_go: bool) -> None:
        if error is None and not let_go:
            assert reservation.outcome() == DONE
            return
        with pytest.raises(CallError) as caught:
            reservation.outcome()
        assert isinstance(caught.value, OutcomeUnknown if error is None else type(error))
        assert (caught.value.data == {"done": True}) is let_go

    @precondition(lambda self: self.running)
    @rule(data=st.data(), how=st.sampled_from(["done", "failed", "unknown", "never began"]))
    def settle(self, data: st.DataObject, how: str) -> None:
        key = data.draw(st.sampled_from(sorted(self.running)))
        reservation = self.running.pop(key)
        errors: dict[str, CallError] = {
            "failed": InternalError("x"),
            "unknown": OutcomeUnknown("x"),
            "never began": AgentUnavailable("x"),
        }
        error = errors.get(how)
        reply = DONE if error is None else None
        self.keys.settle(reservation, self.now, reply=reply, error=error)
        if how != "never began":
            self.settled[key] = (self.now, error)
            self.let_go.discard(key)
            kept = [
                one
                for one, (_, failed) in self.settled.items()
                if failed is None and one not in self.let_go
            ]
            self.let_go.update(kept[:-3])  # results of ten bytes each, and room for thirty

    @invariant()
    def memory_is_bounded(self) -> None:
        assert len(self.keys) <= 4
        assert 0 <= self.keys.bytes <= 30


TestKeysMachine = KeysMachine.TestCase
TestKeysMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
