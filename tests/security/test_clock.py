"""The node's wall clock jumps by an hour, ahead and back: nobody gets more, nobody is locked out by a limit,
and nothing comes in twice.

The node runs with a `sitecustomize` that adds what a file says to `time.time`. Its monotonic clock is the
real one, as it is when somebody sets a machine's clock.
"""

from __future__ import annotations

import pathlib
import time
from collections.abc import Iterator

import attrs
import pytest

from support import fortress as site
from support.fortress import STAFF, TESTS, Fortress
from support.tokens import SigningKey, claims, token

HOUR = 3600.0
SEAM = """
import time

_real = time.time

def _jumped():
    with open({path!r}) as file:
        return _real() + float(file.read() or 0.0)

time.time = _jumped
"""
LIMITED = """
[guard.rates]
type = "rate_limit"
principal = { rate = 0.01, burst = 5 }
""" + site.EDGE.format(name="limited", type="mcp", auth=site.EVERY, more='guards = ["rates"]')
GUESSED = """
[edge.guessed]
type = "mcp"
bind = "127.0.0.1:0"
auth = ["staff"]
failed_logins = { rate = 0.01, burst = 2, wait = "20m", longest = "30m" }
"""


@attrs.define(eq=False)
class Jumping:
    """A fortress whose clock can be set."""

    fortress: Fortress
    offset: pathlib.Path

    def jump(self, seconds: float) -> None:
        """So far off the clock is from now on."""
        other = self.offset.with_suffix(".new")
        other.write_text(str(seconds))
        other.replace(self.offset)


@pytest.fixture
def jumping(tmp_path: pathlib.Path) -> Iterator[Jumping]:
    seam, folder = tmp_path / "seam", tmp_path / "fortress"
    seam.mkdir()
    folder.mkdir()
    offset = seam / "offset"
    offset.write_text("0")
    (seam / "sitecustomize.py").write_text(SEAM.format(path=str(offset)))
    path = {"PYTHONPATH": f"{seam}:{TESTS}"}
    with site.standing(folder, more=LIMITED + GUESSED, environment=path) as one:
        yield Jumping(one, offset)


def test_a_bucket_gets_nothing_by_a_jump_and_nobody_is_locked_out(jumping: Jumping) -> None:
    one = jumping.fortress
    assert [one.ask("limited", bearer=STAFF).status for _ in range(6)] == [200] * 5 + [429]
    for offset in (HOUR, 0.0, -HOUR, 0.0):
        jumping.jump(offset)
        reply = one.ask("limited", bearer=STAFF)
        assert reply.status == 429
        assert 0 < int(reply.get("retry-after")) <= 100
    jumping.jump(-HOUR)
    # somebody else has a whole burst, as ever
    signer = one.signer("limited", clock=lambda: time.time() - HOUR)
    for status in [200] * 5 + [429]:
        body = site.call("limited")
        url = one.uri("limited")
        signed = {"Authorization": signer.authorization("POST", url, body)}
        assert one.ask("limited", headers=signed, body=body).status == status


def test_who_waits_after_failed_logins_waits_on(jumping: Jumping) -> None:
    one = jumping.fortress
    wrong = STAFF[:-3] + "abc"
    while one.ask("guessed", bearer=wrong).status == 401:
        pass
    for offset in (HOUR, -HOUR):
        jumping.jump(offset)
        reply = one.ask("guessed", bearer=STAFF)
        assert reply.status == 429
        assert int(reply.get("retry-after")) > 600


def test_a_signed_request_comes_in_once_though_the_clock_jumps_ahead_and_back(
    jumping: Jumping,
) -> None:
    one = jumping.fortress
    url, body = one.uri("mcp"), site.call("mcp")

    def ask(signed: str) -> int:
        return one.ask("mcp", headers={"Authorization": signed}, body=body).status

    first = one.signer("mcp").authorization("POST", url, body)
    assert ask(first) == 200
    assert ask(first) == 401
    jumping.jump(HOUR)
    assert ask(first) == 401  # too old
    ahead = one.signer("mcp", clock=lambda: time.time() + HOUR).authorization("POST", url, body)
    assert ask(ahead) == 200
    jumping.jump(0.0)
    assert ask(first) == 401  # its nonce was forgotten meanwhile, and it is in the window again
    assert ask(ahead) == 401
    assert len([one for one in one.calls() if one.startswith("open_safe")]) == 2


def test_tokens_end_and_begin_by_the_clock_that_the_node_has(jumping: Jumping) -> None:
    one = jumping.fortress
    key: SigningKey = one.keys["EdDSA"]
    now = time.time()
    soon = token(key, claims(aud=one.uri("mcp"), jti="soon", scope=site.SCOPES, exp=now + 1800))
    assert one.ask("mcp", bearer=soon.decode()).status == 200
    jumping.jump(HOUR)
    assert one.ask("mcp", bearer=soon.decode()).status == 401  # though it was remembered
    jumping.jump(-HOUR)
    assert one.ask("mcp", bearer=soon.decode()).status == 401  # it is of the future now
    jumping.jump(0.0)
    assert one.ask("mcp", bearer=soon.decode()).status == 200
