"""How links come, go, and come back, on a network in memory under trio's mock clock."""

from __future__ import annotations

import errno
import itertools

import pytest
import trio
from trio.testing import MockClock

from flowcore.errors import LinkFailed, StreamBroken
from flowcore.swarm import MOST_CHUNK, Lane, Link, Stream
from flowcore.swarm.links import LinkSettings
from support.linked import NAMES, Line, MemoryNetwork, Peer, everything, open_peer

ORDERS = [("alpha", "beta"), ("beta", "alpha")]
"""The first of both decides, whoever dials: so each thing is tried both ways."""
SETTINGS = LinkSettings()


async def together(*peers: Peer) -> None:
    """Let each want all others, and wait until all are linked."""
    for peer in peers:
        peer.links.want({one.name: one.address for one in peers})
    for one, other in itertools.permutations(peers, 2):
        await one.link(other.name)


@pytest.mark.parametrize(("one", "other"), ORDERS)
async def test_a_peer_that_was_started_anew_replaces_the_link_that_hangs(
    one: str, other: str, autojump_clock: MockClock
) -> None:
    network = MemoryNetwork()
    async with network.peer(one) as stays, trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            async with network.peer(other, settings=SETTINGS) as before:
                await before.links.dial(stays.address)
                first = await stays.link(other)
                network.freeze()  # as a machine that lost its power
                scope.cancel()
                await trio.lowlevel.checkpoint()
        async with network.peer(other) as after:
            began = trio.current_time()
            await after.links.dial(stays.address)
            await stays.user.until(lambda: len(stays.user.events) == 3)
            assert trio.current_time() - began < 1  # it did not wait for the old one to be dead
        assert stays.user.events[:3] == [("up", other), ("down", other), ("up", other)]
        assert first.down.is_set()
        assert stays.user.reasons[0] == "replaced by a new connection"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("one", "other"), ORDERS)
async def test_a_link_that_one_side_has_lost_is_replaced_at_once(
    one: str, other: str, autojump_clock: MockClock
) -> None:
    network = MemoryNetwork()
    async with network.peer(one) as stays, network.peer(other) as loses:
        loses.links.want({one: stays.address})
        await stays.link(other)
        await loses.link(one)
        dialled, accepted = network.lines
        accepted.frozen = True
        dialled.lose()
        await stays.user.until(lambda: len(stays.user.events) == 3)
        await loses.link(one)
        assert stays.user.events == [("up", other), ("down", other), ("up", other)]
        assert stays.user.reasons == ["replaced by a new connection"]
        assert loses.links.status()["wanted"][one]["reconnects"] == 1
        await trio.sleep(20)
        assert len(stays.user.events) == 3


async def test_a_silent_link_is_dead_on_both_sides_after_its_time(
    autojump_clock: MockClock,
) -> None:
    network = MemoryNetwork()
    async with (
        network.peer("alpha", settings=SETTINGS) as alpha,
        network.peer("beta", settings=SETTINGS) as beta,
    ):
        alpha.links.want({"beta": beta.address})
        link = await alpha.link("beta")
        await trio.sleep(60)
        assert not link.down.is_set()
        assert link.rtt is not None
        network.freeze()
        began = trio.current_time()
        await link.down.wait()
        assert 4 <= trio.current_time() - began <= 7
        assert alpha.user.reasons == ["no answer for 5 s"]
        await beta.user.until(lambda: ("down", "alpha") in beta.user.events)


async def test_a_link_in_doubt_stands_if_its_peer_answers_and_is_dead_soon_if_not(
    autojump_clock: MockClock,
) -> None:
    network = MemoryNetwork()
    async with (
        network.peer("alpha", settings=SETTINGS) as alpha,
        network.peer("beta", settings=SETTINGS) as beta,
    ):
        alpha.links.want({"beta": beta.address})
        link = await alpha.link("beta")
        for _ in range(20):
            link.doubt()
            await trio.sleep(0.2)
            link.doubt(grave=True)
            await trio.sleep(0.2)
        assert not link.down.is_set()
        network.freeze()
        began = trio.current_time()
        link.doubt()
        await link.down.wait()
        assert trio.current_time() - began <= 1  # of a clock that nothing but this moves
        link.doubt()  # of one that is dead it is known


async def test_all_that_dial_each_other_at_once_have_one_link_each_that_stays(
    autojump_clock: MockClock,
) -> None:
    for _ in range(3):
        network = MemoryNetwork()
        async with (
            network.peer(NAMES[0]) as one,
            network.peer(NAMES[1]) as two,
            network.peer(NAMES[2]) as three,
            network.peer(NAMES[3]) as four,
        ):
            peers = (one, two, three, four)
            await together(*peers)
            await trio.sleep(10)
            for peer in peers:
                others = sorted(other.name for other in peers if other is not peer)
                assert sorted(peer.user.events) == [("up", name) for name in others]


async def test_a_neighbour_that_comes_late_is_dialled_until_it_is_there(
    autojump_clock: MockClock,
) -> None:
    network = MemoryNetwork()
    async with network.peer("alpha", settings=SETTINGS) as alpha:
        alpha.links.want({"beta": "beta:1"})
        await trio.sleep(60)
        told = alpha.links.status()["wanted"]["beta"]
        assert told["reason"] == "no link to beta:1: nobody listens there"
        # 0.1, 0.2, ... 5 s, each but for a half drawn by chance
        assert 15 <= told["failures"] <= 35
        async with network.peer("beta") as beta:
            began = trio.current_time()
            await beta.link("alpha")
            assert trio.current_time() - began <= 5
        await alpha.user.until(lambda: ("down", "beta") in alpha.user.events)
        async with network.peer("beta") as beta:
            await beta.link("alpha")
            assert alpha.links.status()["wanted"]["beta"]["reconnects"] == 1


async def test_a_neighbour_that_moves_is_dialled_where_it_is(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with network.peer("alpha") as alpha, network.peer("beta") as beta:
        alpha.links.want({"beta": "elsewhere:1"})
        await trio.sleep(1)
        alpha.links.want({"beta": beta.address})
        await alpha.link("beta")


async def test_what_waits_is_sent_before_links_close(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with network.peer("beta") as beta:
        async with network.peer("alpha") as alpha:
            link = await alpha.links.dial(beta.address)
            for number in range(5000):
                assert link.post(Lane.BULK, b"%d" % number * 100)
        await beta.user.until(lambda: ("down", "alpha") in beta.user.events)
        assert [message for _, _, message in beta.user.messages] == [
            b"%d" % number * 100 for number in range(5000)
        ]
        assert beta.user.reasons == ["closed by the other side: this node is being closed"]


async def test_streams_that_run_may_end_before_links_close(autojump_clock: MockClock) -> None:
    async def slow(link: Link, lane: Lane, head: bytes, stream: Stream) -> None:
        await trio.sleep(1)
        await stream.send(b"done")
        await stream.finish()

    network = MemoryNetwork()
    patient = LinkSettings(drain=5)
    heard: list[bytes] = []
    async with network.peer("beta") as beta, trio.open_nursery() as nursery:
        async with network.peer("alpha", serve=slow, settings=patient) as alpha:

            async def ask() -> None:
                link = await beta.links.dial("alpha:1")
                async with await link.open(Lane.REQUESTS, b"") as stream:
                    heard.append(await everything(stream))
                    await stream.finish()

            nursery.start_soon(ask)
            await alpha.user.until(lambda: bool(alpha.user.heads))
        assert heard == [b"done"]


async def test_a_link_that_nobody_wants_is_let_go_in_its_time(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    lasting = LinkSettings(linger=10)
    async with (
        network.peer("alpha", settings=lasting) as alpha,
        network.peer("beta", settings=lasting) as beta,
    ):
        link = await alpha.links.dial(beta.address)
        began = trio.current_time()
        await link.down.wait()
        assert 10 <= trio.current_time() - began <= 13
        assert "nobody wants it" in alpha.user.reasons[0]
        await trio.sleep(60)
        assert alpha.user.events == [("up", "beta"), ("down", "beta")]


async def test_a_link_stays_as_long_as_one_side_wants_it_or_a_stream_is_open(
    autojump_clock: MockClock,
) -> None:
    network = MemoryNetwork()
    async with network.peer("alpha") as alpha, network.peer("beta") as beta:
        beta.links.want({"alpha": alpha.address})
        link = await alpha.link("beta")
        await trio.sleep(60)
        assert not link.down.is_set()
        stream = await link.open(Lane.REQUESTS, b"")
        beta.links.want({})
        await trio.sleep(60)
        assert not link.down.is_set()
        stream.reset()
        await trio.sleep(20)
        assert link.down.is_set()


class Overtaking(MemoryNetwork):
    """Its first connection is late with its first word, its second one with the hello of who is dialled."""

    def made(self, number: int, dialler: Line, dialled: Line) -> None:
        if number == 1:
            dialler.held = {1: 0.005}
        elif number == 2:
            dialled.held = {2: 0.01}


@pytest.mark.parametrize(("one", "other"), ORDERS)
async def test_a_hello_that_was_overtaken_replaces_no_link(
    one: str, other: str, autojump_clock: MockClock
) -> None:
    """It does not name the connection that overtook it, since that one was not there yet."""
    network = Overtaking()
    async with network.peer(one) as dials, network.peer(other) as dialled:
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(dials.links.reach, dialled.address, None)
        await dialled.link(one)
        await trio.sleep(5)
        assert dials.user.events == [("up", other)]
        assert dialled.user.events == [("up", one)]


async def test_a_standing_link_is_what_dialling_gives(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with network.peer("alpha") as alpha, network.peer("beta") as beta:
        found: list[Link] = []

        async def dial(peer: Peer, address: str) -> None:
            found.append(await peer.links.dial(address))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(dial, alpha, beta.address)
                nursery.start_soon(dial, beta, alpha.address)
        assert len(set(map(id, found))) == 2  # one end each
        assert alpha.user.events == [("up", "beta")]
        assert beta.user.events == [("up", "alpha")]


async def test_dialling_into_silence_ends_in_time(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with network.peer("alpha", settings=SETTINGS) as alpha, network.peer("beta") as beta:
        beta_listener = network.listeners[beta.address]
        network.listeners[beta.address] = type(beta_listener)()  # accepts nobody
        with pytest.raises(LinkFailed, match="no link to beta:1: no link within 5 s"):
            await alpha.links.dial(beta.address)
        assert alpha.links.refusals.counts == {"timeout": 1}


async def test_whoever_serves_a_stream_and_fails_ends_that_stream_only(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def serve(link: Link, lane: Lane, head: bytes, stream: Stream) -> None:
        if head == b"fail":
            raise ZeroDivisionError
        while (chunk := await stream.receive()) is not None:
            await stream.send(chunk)

    network = MemoryNetwork()
    async with network.peer("alpha") as alpha, network.peer("beta", serve=serve) as beta:
        link = await alpha.links.dial(beta.address)
        good = await link.open(Lane.REQUESTS, b"")
        with pytest.raises(StreamBroken, match="whoever served it failed"):
            await (await link.open(Lane.REQUESTS, b"fail")).receive()
        await good.send(b"x")
        assert await good.receive() == b"x"
        good.reset()
    assert "whoever served a stream of 'alpha' failed" in caplog.text


async def test_a_reset_reaches_whoever_serves_with_its_reason(autojump_clock: MockClock) -> None:
    seen: list[str] = []

    async def serve(link: Link, lane: Lane, head: bytes, stream: Stream) -> None:
        if head == b"busy":
            await stream.broken.wait()
        try:
            await stream.receive()
        except StreamBroken as error:
            seen.append(str(error))
            raise

    network = MemoryNetwork()
    async with network.peer("alpha") as alpha, network.peer("beta", serve=serve) as beta:
        link = await alpha.links.dial(beta.address)
        for head in (b"", b"busy"):
            stream = await link.open(Lane.REQUESTS, head)
            await trio.testing.wait_all_tasks_blocked()
            stream.reset("changed my mind")
            assert stream.broken.is_set()
            with pytest.raises(StreamBroken, match="changed my mind"):
                await stream.send(b"")
        with trio.move_on_after(1) as scope:
            async with await link.open(Lane.REQUESTS, b"") as stream:
                await stream.receive()
        assert scope.cancelled_caught
        await trio.testing.wait_all_tasks_blocked()
        assert seen == ["changed my mind", "changed my mind", "cancelled"]


async def test_an_answer_that_comes_early_stops_who_still_asks(autojump_clock: MockClock) -> None:
    async def refuse(link: Link, lane: Lane, head: bytes, stream: Stream) -> None:
        await stream.send(b"no")
        await stream.finish()

    network = MemoryNetwork()
    async with network.peer("alpha") as alpha, network.peer("beta", serve=refuse) as beta:
        link = await alpha.links.dial(beta.address)
        async with await link.open(Lane.REQUESTS, b"") as stream:
            with pytest.raises(StreamBroken, match="the other side takes nothing more"):
                while True:
                    await stream.send(bytes(MOST_CHUNK))
            assert await everything(stream) == b"no"
            await stream.finish()
        assert link.status()["streams"] == {"ours": 0, "theirs": 0}


async def test_who_reads_slowly_delays_nobody_else(autojump_clock: MockClock) -> None:
    async def serve(link: Link, lane: Lane, head: bytes, stream: Stream) -> None:
        if head == b"slow":
            await trio.sleep_forever()
        while (chunk := await stream.receive()) is not None:
            await stream.send(chunk)

    network = MemoryNetwork()
    async with network.peer("alpha") as alpha, network.peer("beta", serve=serve) as beta:
        link = await alpha.links.dial(beta.address)
        slow = await link.open(Lane.REQUESTS, b"slow")
        with trio.move_on_after(1) as scope:
            while True:
                await slow.send(bytes(MOST_CHUNK))
        assert scope.cancelled_caught
        async with await link.open(Lane.REQUESTS, b"quick") as quick:
            began = trio.current_time()
            for _ in range(100):
                await quick.send(b"x" * 10_000)
                assert await quick.receive() == b"x" * 10_000
            assert trio.current_time() - began < 0.5
        slow.reset()


async def test_one_task_at_a_time_sends_and_one_receives(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with network.peer("alpha") as alpha, network.peer("beta") as beta:
        link = await alpha.links.dial(beta.address)
        stream = await link.open(Lane.REQUESTS, b"")
        assert await stream.receive() == b""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.receive)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError, match="receiving"):
                await stream.receive()
            nursery.cancel_scope.cancel()
        with pytest.raises(ValueError, match="at most 65536 bytes"):
            await stream.send(bytes(MOST_CHUNK + 1))
        await stream.finish()
        with pytest.raises(StreamBroken, match="this side has finished"):
            await stream.send(b"")


async def test_a_user_that_raises_loses_that_link_and_nothing_else(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    network = MemoryNetwork()
    async with (
        network.peer("alpha") as alpha,
        network.peer("beta") as beta,
        network.peer("gamma") as gamma,
    ):
        await together(alpha, beta, gamma)

        def raises(link: Link, lane: Lane, message: bytes) -> None:
            raise ZeroDivisionError

        keep, beta.user.message = beta.user.message, raises  # type: ignore[method-assign]
        alpha.links.up()["beta"].post(Lane.GOSSIP, b"x")
        await beta.user.until(lambda: ("down", "alpha") in beta.user.events)
        beta.user.message = keep  # type: ignore[method-assign]
        assert "a fault of this side" in beta.user.reasons
        assert ("down", "gamma") not in beta.user.events
        await beta.user.until(lambda: beta.user.events.count(("up", "alpha")) == 2)
    assert "the link to 'alpha' failed" in caplog.text


async def test_a_status_says_what_was_carried_and_what_waits() -> None:
    async with open_peer("alpha") as alpha, open_peer("beta", features=("x", "y")) as beta:
        link = await alpha.links.dial(beta.address)
        link.post(Lane.GOSSIP, b"x" * 1000)
        await beta.user.until(lambda: bool(beta.user.messages))
        told = beta.links.status()["links"]["alpha"]
        assert told["bytes"]["in"] > 1000
        assert told["frames"]["in"] >= 2
        assert (told["version"], told["dialled"], told["features"]) == (1, False, [])
        assert told["lanes"]["gossip"] == {"waiting": 0, "bytes": 0, "dropped": 0}
        assert alpha.links.status()["made"] == 1


async def test_a_node_without_descriptors_tries_again_and_says_so_once(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    network = MemoryNetwork()
    async with network.peer("alpha") as alpha, network.peer("beta") as beta:
        listener = network.listeners["alpha:1"]
        accept, left = listener.accept, [3]

        async def exhausted() -> trio.abc.Stream:
            if left[0]:
                left[0] -= 1
                raise OSError(errno.EMFILE, "too many open files")
            return await accept()

        listener.accept = exhausted  # type: ignore[method-assign]
        for _ in range(2):  # one connection is waited for in the old way still
            link = await beta.links.dial(alpha.address)
            await beta.links.up()["alpha"].close("of the test", 0)
            assert link.down.is_set()
        assert left == [0]
        assert caplog.text.count("no connection can be accepted for want of resources") == 1


async def test_when_nobody_listens_any_more_the_links_stay(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    network = MemoryNetwork()
    async with network.peer("alpha") as alpha, network.peer("beta") as beta:
        await beta.links.dial(alpha.address)
        await network.listeners["alpha:1"].aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert "nobody listens for links to 'alpha' any more" in caplog.text
        assert set(beta.links.up()) == {"alpha"}
