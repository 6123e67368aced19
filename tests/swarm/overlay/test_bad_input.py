"""What a node that is broken, newer or not honest may send to an overlay."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from flow_topologies.star import Star, StarConfig
from flowcore.errors import StreamBroken, Unreachable
from flowcore.swarm import MOST_OPENING, Lane, Link, Stream
from flowcore.swarm.overlay import SwarmOverlay, frames
from flowcore.swarm.overlay.proofs import Proofs
from support.swarms import Swarm, open_swarm

STAR = Star(StarConfig(hub="hub"))
NAMES = ["hub", "left", "mid", "right"]
NAN, INFINITE = float("nan"), float("inf")


class Heard:
    """What came to whom."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.streams: list[str] = []

    @asynccontextmanager
    async def setup(self, swarm: Swarm, name: str, overlay: SwarmOverlay) -> AsyncGenerator[None]:
        def hear(source: str, data: bytes) -> None:
            self.messages.append(f"{source} to {name}: {data.decode()}")

        async def serve(source: str, head: bytes, stream: Stream) -> None:
            self.streams.append(f"{source} to {name}: {head.decode()}")
            while await stream.receive() is not None:
                pass
            await stream.finish()

        async with (
            overlay.listen("t", hear),
            overlay.listen("t/gap", hear),
            overlay.serve("s", serve),
        ):
            yield


def link(swarm: Swarm, one: str, other: str) -> Link:
    """The end of a link that is at one of two nodes."""
    return swarm.nodes[one].links.up()[other]


def boot(swarm: Swarm, name: str) -> int:
    return swarm[name]._ways.boot


def proofs(swarm: Swarm, name: str) -> Proofs:
    return swarm[name]._ways.proofs


def packet(swarm: Swarm, source: str, target: str, said: Any, *, by: str, hops: int = 9) -> bytes:
    """A packet of a source, signed by another node."""
    body = frames.encode(said)
    signature = proofs(swarm, by).make("packet", source, f"{target}/{boot(swarm, target)}", body)
    return frames.encode(frames.Packet(source, target, hops, body, signature))


def examples(swarm: Swarm) -> list[bytes]:
    """One of each thing that is said between neighbours."""
    me, you = boot(swarm, "left"), boot(swarm, "hub")
    carried = [
        frames.Post(me, 0, 1, "t", b"x"),
        frames.Segment("t", 5, you, 1, 1, False, b"x"),
        frames.Ack("t", 5, me, 1, (1, 2)),
        frames.Cast(b"content", bytes(64), 1.0, True),
        frames.Heard("hub", you, 1, {"left": bytes(64)}),
    ]
    packets = [
        frames.Packet("left", target, 9, frames.encode(said), bytes(64))
        for said in carried
        for target in ("hub", "right", "nobody")
    ]
    return [
        frames.encode(swarm["left"]._ways.reports.own),
        frames.encode(swarm["left"]._ways.reports.digest()),
        *map(frames.encode, packets),
    ]


async def still_works(swarm: Swarm) -> None:
    for one in NAMES:
        for other in NAMES:
            async with await swarm[one].open(other, "s", b"") as stream:
                await stream.finish()
                assert await stream.receive() is None
        await swarm[one].send("right", "t", b"well")


WRONG: list[Any] = [None, True, -1, 2**63, 1.5, NAN, "x" * 5000, b"", [], {}, ["A/b"], {"\0": 1}]


async def test_garbled_frames_of_every_kind_are_refused_and_counted(autojump_clock: object) -> None:
    heard = Heard()
    async with open_swarm(NAMES, STAR, setup=heard.setup) as swarm:
        wire = link(swarm, "left", "hub")
        chance = random.Random(1)
        sent = 0
        for whole in examples(swarm):
            fields = msgspec.msgpack.decode(whole)
            for at in range(len(fields)):
                for wrong in WRONG:
                    if wrong != 2**63:
                        said = [*fields[:at], wrong, *fields[at + 1 :]]
                        assert wire.post(Lane.CONTROL, msgspec.msgpack.encode(said))
                        sent += 1
                        await trio.lowlevel.checkpoint()
                await trio.sleep(0.01)
            for _ in range(40):
                garbled = bytearray(whole[: chance.randint(0, len(whole))])
                for _ in range(chance.randint(0, 3)):
                    if garbled:
                        garbled[chance.randrange(len(garbled))] = chance.randrange(256)
                assert wire.post(chance.choice(list(Lane)), bytes(garbled))
                sent += 1
            await trio.sleep(0.01)
        await trio.sleep(1)
        status = swarm["hub"].status()
        assert status["malformed"] > sent / 4
        assert status["malformed"] + status["unproven"] + status["dropped"] > sent / 2
        await trio.sleep(5)
        heard.messages.clear()
        await still_works(swarm)
        assert heard.messages == [f"{one} to right: well" for one in NAMES]


@pytest.mark.parametrize("deep", [b"\x91" * 100_000, b"\xdd\xff\xff\xff\xff", b"\xc1", b""])
async def test_what_is_no_messagepack_is_refused(deep: bytes, autojump_clock: object) -> None:
    async with open_swarm(NAMES, STAR) as swarm:
        assert link(swarm, "left", "hub").post(Lane.BULK, deep)
        await trio.sleep(1)
        assert swarm["hub"].status()["malformed"] == 1


async def test_frames_of_a_newer_version_are_dropped_and_what_is_added_to_old_ones_too(
    autojump_clock: object,
) -> None:
    heard = Heard()
    async with open_swarm(NAMES, STAR, setup=heard.setup) as swarm:
        wire = link(swarm, "left", "hub")
        assert wire.post(Lane.CONTROL, msgspec.msgpack.encode([77, "new"]))
        said = frames.Post(boot(swarm, "left"), 0, int(Lane.CONTROL), "t", b"hello")
        fields = msgspec.msgpack.decode(frames.encode(said))
        body = msgspec.msgpack.encode([*fields, "more", {"and": "more"}])
        whole = [3, "left", "hub", 9, body, b"", "more"]
        assert wire.post(Lane.CONTROL, msgspec.msgpack.encode(whole))
        await trio.sleep(1)
        assert swarm["hub"].status()["malformed"] == 1
        assert heard.messages == ["left to hub: hello"]


async def test_nobody_speaks_in_anothers_name(autojump_clock: object) -> None:
    heard = Heard()
    async with open_swarm(NAMES, STAR, setup=heard.setup) as swarm:
        hub, left, right = (boot(swarm, name) for name in ("hub", "left", "right"))
        forged = [
            frames.Post(left, 10**6, 2, "t", b"forged"),
            frames.Segment("t", 5, right, 1, 1, False, b"forged"),
            frames.Ack("t", 5, right, 1, ()),
        ]
        # a relay makes up messages of `left`, signed by itself or by nobody
        wire = link(swarm, "hub", "right")
        for said in forged:
            assert wire.post(Lane.CONTROL, packet(swarm, "left", "right", said, by="hub"))
            body = frames.encode(said)
            for signature in (b"", bytes(64), bytes(63)):
                one = frames.Packet("left", "right", 9, body, signature)
                assert wire.post(Lane.CONTROL, frames.encode(one))
        await trio.sleep(1)
        assert swarm["right"].status()["unproven"] == 4 * len(forged)
        # a leaf has the hub pass on what it has not signed
        said = frames.Post(left, 1, 2, "t", b"forged")
        wire = link(swarm, "mid", "hub")
        one = frames.Packet("left", "right", 9, frames.encode(said), b"")
        assert wire.post(Lane.CONTROL, frames.encode(one))
        assert wire.post(Lane.CONTROL, packet(swarm, "left", "right", said, by="mid"))
        # a broadcast, and word that somebody has one
        content = frames.encode(frames.Content("left", left, 1, "t", b"forged"))
        signature = proofs(swarm, "mid").make("cast", "left", "", content)
        cast = frames.Cast(content, signature, 5.0, True)
        assert wire.post(Lane.CONTROL, packet(swarm, "mid", "hub", cast, by="mid"))
        await trio.sleep(1)
        assert swarm["hub"].status()["unproven"] == 2
        assert swarm["right"].status()["unproven"] == 4 * len(forged) + 1
        # the links of another, and its links of before
        report = swarm["hub"]._ways.reports._kept["right"]
        before = frames.encode(report)
        lie = msgspec.structs.replace(report, version=report.version + 1, firm=())
        assert wire.post(Lane.CONTROL, frames.encode(lie))
        assert wire.post(Lane.CONTROL, before)
        await trio.sleep(1)
        assert swarm["hub"].status()["unproven"] == 3
        assert swarm["left"].reachable()["right"] == 2
        assert heard.messages == []
        assert hub


async def test_who_says_that_others_have_a_broadcast_is_not_believed(
    autojump_clock: object,
) -> None:
    async with open_swarm(NAMES, STAR) as swarm:  # where nobody listens
        reached = []
        async with trio.open_nursery() as nursery:

            async def cast() -> None:
                deadline = trio.current_time() + 2
                reached.append(await swarm["left"].broadcast("t", b"", deadline=deadline))

            nursery.start_soon(cast)
            await trio.sleep(1)
            me = boot(swarm, "left")
            said = frames.encode((me, 1))
            proof = {name: proofs(swarm, "hub").make("heard", name, "left", said) for name in NAMES}
            heard = frames.Heard("left", me, 1, proof)
            wire = link(swarm, "hub", "left")
            assert wire.post(Lane.CONTROL, packet(swarm, "hub", "left", heard, by="hub"))
        assert reached[0].reached == ("hub",)  # for itself it may say so
        assert reached[0].missed == ("mid", "right")


async def test_what_passed_a_relay_cannot_be_played_again(autojump_clock: object) -> None:
    heard = Heard()
    async with open_swarm(NAMES, STAR, setup=heard.setup) as swarm:
        passed: list[tuple[Lane, bytes]] = []
        heads: list[bytes] = []
        hub = swarm["hub"]
        message, stream = hub.message, hub.stream

        def listening(link: Link, lane: Lane, data: bytes) -> None:
            passed.append((lane, data))
            message(link, lane, data)

        async def looking(link: Link, lane: Lane, head: bytes, way: Stream) -> None:
            heads.append(head)
            await stream(link, lane, head, way)

        hub.message, hub.stream = listening, looking  # type: ignore[assignment,method-assign]
        assert swarm["left"].post("right", "t", b"post", Lane.CONTROL)
        await swarm["left"].send("right", "t", b"send")
        await swarm["left"].broadcast("t", b"cast", deadline=trio.current_time() + 5)
        async with await swarm["left"].open("right", "s", b"open") as call:
            await call.finish()
            assert await call.receive() is None
        messages, streams = list(heard.messages), list(heard.streams)
        assert len(messages) == 5
        assert streams == ["left to right: open"]
        wire = link(swarm, "hub", "right")
        for _ in range(3):
            for lane, data in passed:
                said = frames.read_spoken(data)
                if isinstance(said, frames.Packet) and said.target == "hub":
                    # what was broadcast, in the relay's own name
                    carried = frames.read_carried(said.body)
                    data = packet(swarm, "hub", "right", carried, by="hub")
                wire.post(lane, data)
            async with await wire.open(Lane.REQUESTS, heads[0]) as again:
                answer = frames.read_answer(await again.receive() or b"")
                assert isinstance(answer, frames.Refused)
                assert answer.code == "known"
            await trio.sleep(1)
        assert heard.messages == messages
        assert heard.streams == streams
        assert swarm["right"].status()["duplicates"] >= 9
        # nor to the next start of its target
        swarm.crash("right", known=False)
        await swarm.start("right")
        await swarm.settled()
        wire = link(swarm, "hub", "right")
        for lane, data in passed:
            said = frames.read_spoken(data)
            if isinstance(said, frames.Packet) and said.target == "right":
                wire.post(lane, data)
        async with await wire.open(Lane.REQUESTS, heads[0]) as again:
            answer = frames.read_answer(await again.receive() or b"")
            assert isinstance(answer, frames.Refused)
            assert answer.code == "proof"
        await trio.sleep(1)
        assert heard.messages == messages
        assert heard.streams == streams


async def test_an_opening_that_is_wrong_is_refused_before_anything_begins(
    autojump_clock: object,
) -> None:
    heard = Heard()
    async with open_swarm(NAMES, STAR, setup=heard.setup) as swarm:
        wire = link(swarm, "left", "hub")

        def opening(
            target: str = "hub",
            *,
            source: str = "left",
            by: str = "left",
            hops: int = 5,
            **call: Any,
        ) -> bytes:
            said = {
                "boot": boot(swarm, "left"),
                "receiver": boot(swarm, target) if target in NAMES else 1,
                "number": 10**6,
                "service": "s",
                "head": b"x",
                **call,
            }
            body = frames.encode(frames.Call(**said))
            to = f"{target}/{said['receiver']}"
            signature = proofs(swarm, by).make("call", source, to, body)
            return frames.encode(frames.Opening(source, target, hops, body, signature))

        refused = {
            opening(receiver=5): "boot",
            opening(service="other"): "service",
            opening(source="right"): "proof",
            opening(source="right", by="right"): None,  # passed on by `left`: it is right's own
            opening("right", by="mid"): "proof",
            opening("right", hops=0): "way",
            opening("nobody"): "way",
            opening("hub", source="hub", by="hub"): "proof",  # its own, come back
            opening("right", source="hub", by="hub"): "way",
        }
        for head, code in refused.items():
            async with await wire.open(Lane.REQUESTS, head) as stream:
                answer = frames.read_answer(await stream.receive() or b"")
                assert (answer.code if isinstance(answer, frames.Refused) else None) == code
                await stream.finish()
        assert heard.streams == ["right to hub: x"]
        for head in (b"", b"\xc1", b"\x90", frames.encode(frames.Refused("a", "b")), bytes(10_000)):
            async with await wire.open(Lane.REQUESTS, head) as stream:
                with pytest.raises(StreamBroken):
                    await stream.receive()
        assert swarm["hub"].status()["malformed"] == 5
        assert len(heard.streams) == 1


@pytest.mark.parametrize(
    "answer",
    [b"", b"\xc1", b"\x91\x09", frames.encode(frames.Opening("a", "b", 1, b"", b""))],
)
async def test_an_answer_that_cannot_be_read_leaves_open_what_has_begun(
    answer: bytes, autojump_clock: object
) -> None:
    async with open_swarm(NAMES, STAR) as swarm:

        async def lying(link: Link, lane: Lane, head: bytes, stream: Stream) -> None:
            await stream.send(answer)
            await stream.finish()

        swarm["right"].stream = lying  # type: ignore[method-assign]
        with trio.fail_after(10), pytest.raises(StreamBroken, match="may have begun"):
            await swarm["left"].open("right", "s", b"")


async def test_a_packet_goes_no_further_than_its_hops(autojump_clock: object) -> None:
    heard = Heard()
    async with open_swarm(NAMES, STAR, setup=heard.setup) as swarm:
        wire = link(swarm, "left", "hub")
        post = frames.Post(boot(swarm, "left"), 1, 2, "t", b"x")
        assert wire.post(Lane.CONTROL, packet(swarm, "left", "right", post, by="left", hops=0))
        await trio.sleep(1)
        assert heard.messages == []
        assert swarm["hub"].status()["looped"] == 1
        assert wire.post(Lane.CONTROL, packet(swarm, "left", "right", post, by="left", hops=1))
        await trio.sleep(1)
        assert heard.messages == ["left to right: x"]


async def test_a_node_outdoes_what_others_remember_of_its_earlier_start(
    autojump_clock: object,
) -> None:
    heard = Heard()
    async with open_swarm(NAMES, STAR, setup=heard.setup) as swarm:
        version = swarm["right"]._ways.reports.own.version
        swarm.crash("right", known=False)
        swarm.starts = -1  # its clock has gone back
        await swarm.start("right")
        assert swarm["right"]._ways.reports.own.version < version
        await swarm.settled()
        await trio.sleep(5)
        await still_works(swarm)
        assert swarm["right"]._ways.reports.own.version > version


async def test_what_is_remembered_of_others_is_bounded(autojump_clock: object) -> None:
    heard = Heard()
    async with open_swarm(NAMES, STAR, setup=heard.setup) as swarm:
        wire = link(swarm, "left", "hub")
        hub = swarm["hub"]
        for number in range(2000):
            name = f"made-up-{number}"
            links = frames.encode((1, 1, ("hub",), ()))
            sign = Proofs("flow", swarm.keys.sign(name), swarm.keys.verify)
            signature = sign.make("report", name, "", links)
            assert wire.post(
                Lane.CONTROL, frames.encode(frames.Report(name, 1, 1, ("hub",), (), b"", signature))
            )
            for said in (
                frames.Post(boot(swarm, "left"), number + 1, 2, f"topic {number}", b""),
                frames.Segment(f"topic {number}", 5, boot(swarm, "hub"), 1, 1, False, b""),
            ):
                assert wire.post(
                    Lane.BULK,
                    frames.encode(frames.Packet("left", "hub", 1, frames.encode(said), b"")),
                )
            if number % 100 == 0:
                await trio.sleep(1)
        await trio.sleep(10)
        assert hub._ways.reports.count < 200
        assert sum(map(len, hub._messages._heard.values())) <= 256 * len(NAMES)
        assert len(hub._messages._seen) < 100
        await still_works(swarm)


@pytest.mark.parametrize("left", [NAN, INFINITE, 1e300])
async def test_a_broadcast_that_never_ends_is_forgotten(
    left: float, autojump_clock: object
) -> None:
    heard = Heard()
    async with open_swarm(NAMES, STAR, setup=heard.setup) as swarm:
        wire = link(swarm, "left", "hub")
        for number in range(1, 2100):
            content = frames.encode(frames.Content("left", boot(swarm, "left"), number, "t", b"x"))
            signature = proofs(swarm, "left").make("cast", "left", "", content)
            cast = frames.Cast(content, signature, left, False)
            body = frames.encode(cast)
            assert wire.post(
                Lane.CONTROL, frames.encode(frames.Packet("left", "hub", 1, body, b""))
            )
            if number % 300 == 0:
                await trio.sleep(1)
        await trio.sleep(1)
        assert len(swarm["hub"]._broadcasts._passing._passed) <= 1024
        await still_works(swarm)


async def test_callers_are_told_what_cannot_be_sent(autojump_clock: object) -> None:
    async with open_swarm(NAMES, STAR) as swarm:
        left = swarm["left"]
        large = bytes(frames.MOST_DATA + 1)
        for topic, message, words in (
            ("", b"", "a topic of 1 to 128 characters, not ''"),
            ("t" * 129, b"", "a topic of 1 to 128"),
            ("t", large, "at most 1046528 bytes, not 1046529"),
        ):
            with pytest.raises(ValueError, match=words):
                left.post("right", topic, message, Lane.CONTROL)
            with pytest.raises(ValueError, match=words):
                await left.send("right", topic, message)
            with pytest.raises(ValueError, match=words):
                await left.broadcast(topic, message, deadline=trio.current_time() + 1)
        with pytest.raises(ValueError, match="a head of at most 13312 bytes"):
            await left.open("right", "s", bytes(MOST_OPENING + 1))
        with pytest.raises(Unreachable, match="'nobody' is no member"):
            await left.open("nobody", "s", b"")
        with pytest.raises(Unreachable, match="'nobody' is no member"):
            await left.send("nobody", "t", b"")
        assert not left.post("nobody", "t", b"", Lane.CONTROL)
        async with left.listen("t", lambda source, data: None):
            with pytest.raises(ValueError, match="somebody listens to the topic 't' already"):
                async with left.listen("t", lambda source, data: None):
                    pass
        # the largest go through
        heard = Heard()
        async with heard.setup(swarm, "right", swarm["right"]):
            await left.send("right", "t", b"x" * frames.MOST_DATA)
            async with await left.open("right", "s", b"x" * MOST_OPENING) as stream:
                await stream.finish()
                assert await stream.receive() is None
        assert len(heard.messages[0]) > frames.MOST_DATA
        assert len(heard.streams[0]) > MOST_OPENING
