"""What nodes hear from other nodes: greetings, frames, certificates; and what must hold for any bytes."""

from __future__ import annotations

import datetime

from cryptography.hazmat.primitives.serialization import Encoding

from flowcore.certs import Kind, Wanted, issue, make_authority
from flowcore.swarm import MOST_MESSAGE, Lane
from flowcore.swarm.authorities import Authorities
from flowcore.swarm.links.flows import OVERHEAD
from flowcore.swarm.links.frames import (
    BrokenProtocol,
    Credit,
    Data,
    Finish,
    First,
    Goodbye,
    Message,
    More,
    Open,
    Ping,
    Pong,
    Reset,
    Stop,
    encode,
)
from flowcore.swarm.links.frames import Wanted as WantedFrame
from flowcore.swarm.links.greeting import Greeter, Refused, refusal
from flowcore.swarm.links.settings import LinkSettings
from support.engines import Pair, hello

NOW = datetime.datetime.now(datetime.UTC)
_CA = make_authority(NOW, algorithm="ed25519")
_MADE = issue(_CA, Wanted(kind=Kind.NODE, name="beta", algorithm="ed25519"), NOW)
CERTIFICATE = _MADE.certificate.public_bytes(Encoding.DER)
_AUTHORITIES = Authorities([_CA.certificate])
_SETTINGS = LinkSettings(streams=8)

HELLO = encode(hello("beta", features=("a",), others=(1, 2)))
GREETING = HELLO + refusal("duplicate", "there is a link already")
FRAMES = b"".join(
    map(
        encode,
        [
            WantedFrame(True),
            Ping(1),
            Pong(1),
            Message(2, b"hello"),
            First(4, 12, b"hello "),
            Message(0, b"urgent"),
            More(4, b"again."),
            Open(2, 3, b"head"),
            Data(2, False, b"chunk"),
            Data(2, True, b"a chunk "),
            Data(2, False, b"in two"),
            Finish(2),
            Open(4, 4, b""),
            Credit(4, 1000),
            Reset(4, "enough"),
            Open(6, 4, b""),
            Finish(6),
            Stop(6),
            Goodbye("off"),
        ],
    )
)


def greetings(data: bytes) -> None:
    """The same outcome however the bytes come."""
    outcomes = set()
    for cut in (len(data), len(data) // 2, 1):
        greeter = Greeter(hello("alpha", number=1), "beta")
        try:
            greeter.feed(data[:cut])
            greeter.feed(data[cut:])
        except (BrokenProtocol, Refused) as error:
            outcomes.add((type(error).__name__, str(error)))
        else:
            outcomes.add((greeter.phase.name, greeter.rest.hex()))
    assert len(outcomes) == 1, outcomes
    Greeter(hello("alpha"), "beta").feed(data)


def frames(data: bytes) -> None:
    """The same is heard however the bytes come; what is held has its bounds; nothing is said without end."""
    heard = set()
    for cut in (len(data), len(data) // 2, 1):
        pair = Pair(_SETTINGS)
        side = pair.sides[0]
        told = ""
        try:
            side.session.feed(data[:cut], 0.0)
            side.session.feed(data[cut:], 0.0)
        except BrokenProtocol as error:
            told = str(error)
        for flow, _ in side.flows:
            held = sum(len(chunk) + OVERHEAD for chunk in flow._inbox) + flow.partial
            assert held <= _SETTINGS.window
        assert side.session.streams[1] <= _SETTINGS.streams
        assert (
            sum(len(one) for _, one in side.session._partial.values()) <= len(Lane) * MOST_MESSAGE
        )
        said = 0
        while batch := side.session.take(0.0):
            said += len(batch)
        assert said <= 100 + len(data)
        heard.add((told, str(side.messages), str([head for _, head in side.flows])))
    assert len(heard) == 1, heard
    Pair(_SETTINGS).sides[0].session.feed(data, 0.0)


def certificates(data: bytes) -> None:
    """Nothing but what the CA has signed counts."""
    assert _AUTHORITIES.check(data, NOW).name == "beta"
    assert data == CERTIFICATE
