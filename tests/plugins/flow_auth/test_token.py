"""Static tokens: known by their digests only."""

from __future__ import annotations

import datetime
import hashlib
import pathlib

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from flow_auth.token import TokenConfig, TokenScheme, TokenSettings, read_tokens
from flow_auth.watched import WatchedFile
from flowcore.errors import AssemblyError, Unauthenticated
from flowcore.http import HeaderMap, Request
from flowcore.secrets import new_token


def request(token: str) -> Request:
    headers = HeaderMap({b"authorization": b"Bearer " + token.encode()})
    return Request("POST", "/mcp", headers, b"", "127.0.0.1", 1, trio.Event())


async def test_a_token_stands_for_its_owner_and_two_may_while_they_are_exchanged() -> None:
    old, old_digest = new_token()
    new, new_digest = new_token()
    config = TokenConfig(
        tokens=(
            TokenSettings(name="ann", sha256=old_digest, roles=("admin",), scopes=("mcp",)),
            TokenSettings(name="ann", sha256=new_digest),
        )
    )
    scheme = TokenScheme(config, "static")
    principal = await scheme.identify(request(old), "")
    assert principal is not None
    assert (principal.name, principal.scheme) == ("ann", "static")
    assert principal.roles == {"admin"}
    assert principal.scopes == {"mcp"}
    again = await scheme.identify(request(new), "")
    assert again is not None
    assert again.name == "ann"


async def test_other_tokens_are_refused_or_left_to_other_schemes() -> None:
    token, digest = new_token()
    scheme = TokenScheme(TokenConfig(tokens=(TokenSettings(name="a", sha256=digest),)), "static")
    for wrong in (token + "x", token[:-1], "flow_", f"flow_{digest}", token.swapcase()):
        if wrong.startswith("flow_"):
            with pytest.raises(Unauthenticated, match="not known"):
                await scheme.identify(request(wrong), "")
    for other in ("a.b.c", digest, "Flow_x"):
        assert await scheme.identify(request(other), "") is None


async def test_a_token_is_good_through_its_last_day() -> None:
    token, digest = new_token()
    settings = TokenSettings(name="a", sha256=digest, expires="2027-01-31")
    midnight = datetime.datetime(2027, 2, 1, tzinfo=datetime.UTC).timestamp()
    config = TokenConfig(tokens=(settings,))
    before = TokenScheme(config, "static", lambda: midnight - 1)
    assert await before.identify(request(token), "") is not None
    after = TokenScheme(config, "static", lambda: midnight)
    with pytest.raises(Unauthenticated, match="expired"):
        await after.identify(request(token), "")


@given(st.dates())
def test_every_day_there_is_can_be_the_last_one(day: datetime.date) -> None:
    settings = TokenSettings(name="a", sha256="5" * 64, expires=day.isoformat())
    midnight = datetime.datetime.combine(day, datetime.time(), datetime.UTC)
    assert settings.until == midnight.timestamp() + 86_400


async def test_the_last_day_of_all_and_the_first_one() -> None:
    token, digest = new_token()
    for day, good in (("9999-12-31", True), ("0001-01-01", False)):
        settings = TokenSettings(name="a", sha256=digest, expires=day)
        scheme = TokenScheme(TokenConfig(tokens=(settings,)), "static")
        if good:
            assert await scheme.identify(request(token), "") is not None
        else:
            with pytest.raises(Unauthenticated, match="expired"):
                await scheme.identify(request(token), "")


@pytest.mark.parametrize(
    "wrong",
    [
        *("tomorrow", "", "0000-00-00", "2027-02-29", "10000-01-01", "-0001-01-01", "99999999-1-1"),
        *(
            "2027-01-31T00:00:00Z",
            "20270131",
            "2027-W04-7",
            "2027-1-31",
            " 2027-01-31",
            "٢٠٢٧-01-31",
        ),
    ],
)
def test_what_is_no_day_is_refused_with_the_reason(wrong: str) -> None:
    with pytest.raises(
        ValueError, match="expected expires as a day like 2027-01-31, not"
    ) as caught:
        TokenSettings(name="a", sha256="5" * 64, expires=wrong)
    assert repr(wrong) in str(caught.value)


def test_wrong_settings_are_refused() -> None:
    _, digest = new_token()
    same = TokenSettings(name="a", sha256=digest)
    with pytest.raises(ValueError, match="same digest"):
        TokenConfig(tokens=(same, TokenSettings(name="b", sha256=digest)))
    for wrong in ("", "abc", digest.upper(), new_token()[0]):
        with pytest.raises(ValueError, match="expected"):
            TokenSettings(name="a", sha256=wrong)
    with pytest.raises(ValueError, match="empty token"):
        TokenSettings(name="a", sha256=hashlib.sha256(b"flow_").hexdigest())


def kept(path: pathlib.Path, *tables: str, mode: int = 0o600) -> pathlib.Path:
    """A file of tokens, put there in one step."""
    made = path.with_suffix(".new")
    made.write_text("".join(f"[[token]]\n{one}\n" for one in tables))
    made.chmod(mode)
    made.replace(path)
    return path


def line(name: str) -> tuple[str, str]:
    token, digest = new_token()
    return token, f'name = "{name}"\nsha256 = "{digest}"\nroles = ["operator"]'


async def test_tokens_of_a_file_come_and_go_within_a_second(
    tmp_path: pathlib.Path, autojump_clock: trio.testing.MockClock
) -> None:
    (ann, of_ann), (bob, of_bob) = line("ann"), line("bob")
    path = kept(tmp_path / "tokens.toml", of_ann)
    file = WatchedFile(path, read_tokens(path), "token file").get
    scheme = TokenScheme(TokenConfig(file=path), "staff", file=file)

    async def who(token: str) -> str:
        try:
            found = await scheme.identify(request(token), "")
        except Unauthenticated as error:
            return str(error)
        assert found is not None
        return found.name

    assert [await who(ann), await who(bob)] == ["ann", "the token is not known"]
    kept(path, of_bob)
    await trio.sleep(1.5)
    assert [await who(ann), await who(bob)] == ["the token is not known", "bob"]
    kept(path, "nonsense = 1")
    await trio.sleep(1.5)
    assert await who(bob) == "bob"


@pytest.mark.parametrize(
    ("text", "mode", "says"),
    [
        ("", 0o600, "token"),
        ('name = "a"', 0o600, "sha256"),
        (line("a")[1], 0o644, "chmod it to 600"),
        (line("a")[1] + "\nrole = 1", 0o600, "did you mean 'roles'"),
        (f'name = "a"\nsha256 = "{hashlib.sha256(b"secret").hexdigest()}"', 0o600, "a sample"),
    ],
    ids=["empty", "no digest", "open", "misspelt", "a sample"],
)
async def test_a_file_of_tokens_that_cannot_be_used_is_said_to_be_none(
    tmp_path: pathlib.Path, text: str, mode: int, says: str
) -> None:
    path = kept(tmp_path / "tokens.toml", *([text] if text else []), mode=mode)
    with pytest.raises(AssemblyError, match=says):
        WatchedFile(path, read_tokens(path), "token file")


def test_tokens_stand_somewhere() -> None:
    with pytest.raises(ValueError, match="expected tokens, or a file of them"):
        TokenConfig()
