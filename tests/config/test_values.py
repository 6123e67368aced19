"""Durations, sizes, addresses and secrets: what is written, what is read, what is shown."""

from __future__ import annotations

import os
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowcore.config import Address, Secret
from flowcore.config.values import (
    parse_address,
    parse_duration,
    parse_size,
    read_secret,
    show_duration,
    show_size,
)

CANARY = "canary-7f3a-secret"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0), ("250ms", 0.25), ("1h30m", 5400), ("1.5s", 1.5), ("2d", 172800), ("10us", 1e-5)],
)
def test_a_duration_is_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@given(st.text(max_size=20))
def test_any_text_is_a_duration_or_says_what_one_is(text: str) -> None:
    try:
        assert parse_duration(text) >= 0
    except ValueError as error:
        assert "expected a duration" in str(error)


@given(st.floats(1e-9, 1e12) | st.integers(0, 10**12).map(float) | st.just(1e-30))
def test_a_shown_duration_reads_back_exactly(seconds: float) -> None:
    assert parse_duration(show_duration(seconds)) == seconds


@given(st.from_regex(r"[0-9]{1,9}(\.[0-9]{1,12})?(us|ms|s|m|h|d)", fullmatch=True))
def test_a_written_duration_keeps_its_value_when_shown(text: str) -> None:
    seconds = parse_duration(text)
    assert parse_duration(show_duration(seconds)) == seconds
    assert (seconds == 0) == (not any(digit in text for digit in "123456789"))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.25, "250ms"),
        (1.5, "1.5s"),
        (0.005, "5ms"),
        (90, "90s"),
        (5400, "90m"),
        (3600, "1h"),
        (30, "30s"),
    ],
)
def test_a_duration_is_shown_short(seconds: float, text: str) -> None:
    assert show_duration(seconds) == text


@given(st.integers(0, 2**60))
def test_a_shown_size_reads_back(count: int) -> None:
    assert parse_size(show_size(count)) == count


@given(st.text(max_size=20))
def test_any_text_is_a_size_or_says_what_one_is(text: str) -> None:
    try:
        assert parse_size(text) >= 0
    except ValueError as error:
        assert "expected" in str(error)


@pytest.mark.parametrize("text", ["127.0.0.1:7300", "[::1]:0", "localhost:65535", "a-b.example:1"])
def test_an_address_reads_back(text: str) -> None:
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "host",
        "host:",
        ":1",
        "h:65536",
        "h:-1",
        "1.2.3:1",
        "::1:1",
        "[x]:1",
        "-a:1",
        "a_b:1",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected an address"):
        parse_address(text)


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_is_refused(text: str) -> None:
    try:
        assert isinstance(parse_address(text), Address)
    except ValueError as error:
        assert "expected an address" in str(error)


def test_a_secret_shows_itself_nowhere() -> None:
    secret = Secret(CANARY)
    assert CANARY not in f"{secret} {secret!r} {[secret]} {vars(type(secret))}"
    assert secret.reveal() == CANARY
    assert secret == Secret(CANARY)
    assert hash(secret) == hash(Secret(CANARY))
    assert secret != Secret("other")


def test_a_secret_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setenv("A_SECRET", CANARY)
    assert read_secret({"env": "A_SECRET"}, tmp_path).reveal() == CANARY
    monkeypatch.setenv("A_SECRET", "")
    with pytest.raises(ValueError, match="'A_SECRET' is empty"):
        read_secret({"env": "A_SECRET"}, tmp_path)


def test_a_secret_comes_from_a_file_without_its_last_newline(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"{CANARY}\n")
    path.chmod(0o600)
    assert read_secret({"file": "key"}, tmp_path).reveal() == CANARY


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        (CANARY.encode(), 0o644, r"can be read by others \(mode 0644\); chmod it to 600"),
        (CANARY.encode(), 0o640, r"can be read by others \(mode 0640\); chmod it to 600"),
        (CANARY.encode(), 0o602, r"can be read by others \(mode 0602\); chmod it to 600"),
        (b"", 0o600, "is empty"),
        (b"\xff\xfe" + CANARY.encode(), 0o600, "is not UTF-8"),
        (CANARY.encode() * 10_000, 0o600, "more than 65,536 bytes"),
    ],
)
def test_a_secret_file_that_cannot_be_trusted_is_refused_without_showing_it(
    tmp_path: pathlib.Path, content: bytes, mode: int, says: str
) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(ValueError, match=says) as raised:
        read_secret({"file": "key"}, tmp_path)
    assert CANARY not in str(raised.value)


def test_a_secret_in_the_clear_is_refused_without_showing_it(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="a secret is not written in the file") as raised:
        read_secret(CANARY, tmp_path)
    assert CANARY not in str(raised.value)
    with pytest.raises(ValueError, match="no regular file"):
        read_secret({"file": "/dev/null"}, tmp_path)


def test_a_secret_that_is_a_pipe_is_refused_and_holds_nobody_up(tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(ValueError, match="no regular file"):
        read_secret({"file": "pipe"}, tmp_path)


@pytest.mark.parametrize("name", ["", "a\0b", "."])
def test_a_secret_file_with_an_impossible_name_is_refused(
    tmp_path: pathlib.Path, name: str
) -> None:
    with pytest.raises(ValueError, match=r"secret file|null"):
        read_secret({"file": name}, tmp_path)
