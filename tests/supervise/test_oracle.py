"""flowcore's supervision does, event for event, what OTP's does.

Random programs run on both; recorded logs of OTP stand in where there is no `erl`.
"""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Iterator

import pytest

from support.needs import program
from support.otp_oracle import open_oracle
from support.supervise_programs import make_program, run_here

GOLDEN = pathlib.Path(__file__).with_name("golden.txt")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def differences(seeds: range) -> list[str]:
    """What differs between OTP's logs and ours."""
    found = []
    with open_oracle() as ask:
        for seed in seeds:
            made = make_program(seed)
            theirs, ours = ask(made), run_here(made)
            if theirs != ours:
                found.append(f"seed {seed}: {made.term()}\n  otp  {theirs}\n  ours {ours}")
    return found


def test_300_random_programs_have_the_log_that_otp_gives_them() -> None:
    program("erl")
    assert differences(range(300)) == []


@pytest.mark.long
def test_10000_random_programs_have_the_log_that_otp_gives_them() -> None:
    program("erl")
    assert differences(range(10_000)) == []


def test_recorded_logs_of_otp_are_ours_too() -> None:
    lines = GOLDEN.read_text().splitlines()
    assert len(lines) >= 200
    for line in lines:
        seed, _, log = line.partition(" ")
        assert run_here(make_program(int(seed))) == log, f"seed {seed}"


def test_the_programs_reach_what_they_are_about() -> None:
    logs = " ".join(run_here(make_program(seed)) for seed in range(200)).split()
    for mark in ("down", "end", "failed"):
        assert logs.count(mark) >= 5, mark
    for word in ("=running", "=not_found", "=nobody", "=failed", "=ok"):
        assert any(one.endswith(word) for one in logs), word
