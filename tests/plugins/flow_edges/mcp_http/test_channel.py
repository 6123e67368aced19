"""Channels without a network: what is kept, what is dropped, what is forgotten."""

from __future__ import annotations

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from flow_edges.mcp.channel import Channel, Memory
from flow_edges.mcp.streams import place


async def read(channel: Channel, after: int) -> list[bytes]:
    return (await channel.after(after))[1]


async def test_what_was_sent_is_kept_up_to_a_number_of_messages() -> None:
    memory = Memory(1000)
    channel = Channel("1", memory, keep=2, backlog=10)
    channel.attach(trio.CancelScope())
    for frame in (b"a", b"b", b"c", b"d"):
        channel.put(frame)
    assert await channel.after(0) == (1, [b"a", b"b", b"c", b"d"])
    channel.sent(4)
    assert await channel.after(0) == (3, [b"c", b"d"])
    assert memory.size == 2


async def test_what_exceeds_the_backlog_is_dropped_but_never_the_answer() -> None:
    channel = Channel("1", Memory(1000), keep=0, backlog=2)
    channel.attach(trio.CancelScope())
    for frame in (b"a", b"b", b"c"):
        channel.put(frame)
    channel.finish(b"answer")
    channel.put(b"late")
    assert channel.dropped == 2
    assert await read(channel, 0) == [b"a", b"b", b"answer"]
    assert await read(channel, 3) == []


async def test_a_message_that_waits_already_is_not_added_again_until_it_was_sent() -> None:
    channel = Channel("1", Memory(1000), keep=10, backlog=10)
    channel.put_once(b"a")
    channel.put_once(b"a")
    channel.sent(1)
    channel.put_once(b"a")
    assert await read(channel, 0) == [b"a", b"a"]


async def test_all_streams_together_keep_so_many_bytes_and_the_oldest_forgets_first() -> None:
    memory = Memory(10)
    first, second = (Channel(name, memory, keep=10, backlog=10) for name in "12")
    second.attach(trio.CancelScope())
    first.put(b"12345")
    second.put(b"12345")
    assert memory.size == 10
    second.put(b"6")
    assert memory.size == 6
    assert not first.reaches(0) or first.scope.cancel_called
    assert await read(second, 0) == [b"12345", b"6"]
    second.put(b"78901")
    assert memory.size == 11  # what is not sent yet is not forgotten where somebody reads
    second.sent(2)
    second.put(b"2")
    assert (await second.after(0)) == (3, [b"78901", b"2"])
    second.close()
    second.sent(4)
    assert memory.size == 0


async def test_nothing_is_kept_for_a_client_that_stayed_away_too_long(
    autojump_clock: trio.testing.MockClock,
) -> None:
    channel = Channel("0", Memory(1000), keep=10, backlog=10)
    scope = trio.CancelScope()
    channel.attach(scope)
    channel.detach(scope, 30)
    await trio.sleep(29)
    channel.put(b"kept")
    await trio.sleep(2)
    channel.put(b"dropped")
    assert channel.dropped == 1
    channel.attach(trio.CancelScope())
    channel.put(b"again")
    assert await read(channel, 0) == [b"kept", b"again"]


@given(st.lists(st.sampled_from(["put", "sent", "forget", "attach", "detach"]), max_size=40))
async def test_numbers_never_change_and_sizes_add_up(steps: list[str]) -> None:
    memory = Memory(12)
    channel = Channel("1", memory, keep=3, backlog=5)
    scope = trio.CancelScope()
    put = 0
    for step in steps:
        if step == "put":
            dropped = channel.dropped
            channel.put(b"%d" % (put + 1))
            put += channel.dropped == dropped
        elif step == "sent":
            channel.sent(put)
        elif step == "forget":
            channel.forget()
        elif step == "attach":
            channel.attach(scope)
        else:
            channel.detach(scope, 1e9)
    channel.finish()
    first, frames = await channel.after(0)
    assert frames == [b"%d" % number for number in range(first, put + 1)]
    assert memory.size == sum(map(len, frames))


@given(st.text())
def test_an_event_id_of_any_kind_names_a_place_or_none(text: str) -> None:
    known = place(text)
    assert known is None or f"{known[0]}-{known[1]}" == text or text.rpartition("-")[2][0] == "0"
