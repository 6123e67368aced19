"""The chain: whatever is changed, left out, moved or added shows, at the first line that is wrong."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowcore.audit import Broken, Chain, link_of, verify_files

KEY = b"0123456789abcdef0123456789abcdef"


def log(count: int, key: bytes | None = None) -> list[bytes]:
    chain = Chain(key)
    return [chain.line({"what": "call", "n": number, "text": 'ö\n"'}) for number in range(count)]


def written(folder: pathlib.Path, *files: list[bytes]) -> list[pathlib.Path]:
    paths = []
    for number, lines in enumerate(files):
        paths.append(folder / f"audit.{number}.jsonl")
        paths[-1].write_bytes(b"".join(lines))
    return paths


@pytest.mark.parametrize("key", [None, KEY])
def test_a_log_hangs_together_over_files_and_restarts(
    key: bytes | None, tmp_path: pathlib.Path
) -> None:
    first = log(5, key)
    chain = Chain(key, link_of(first[-1], key))
    second = [chain.line({"what": "call"}) for _ in range(3)]
    paths = written(tmp_path, first, second)
    verdict = verify_files(paths, key)
    assert (verdict.lines, verdict.first, verdict.last, verdict.whole) == (8, 1, 8, True)
    later = verify_files(paths[1:], key)
    assert (later.lines, later.first, later.last, later.whole) == (3, 6, 8, False)
    assert [json.loads(line)["seq"] for line in [*first, *second]] == list(range(1, 9))


def test_an_empty_log_is_whole_but_for_its_beginning(tmp_path: pathlib.Path) -> None:
    assert verify_files(written(tmp_path, [])).lines == 0


def changed(line: bytes, old: bytes, new: bytes) -> bytes:
    assert old in line
    return line.replace(old, new, 1)


WRONG: dict[str, tuple[Callable[[list[bytes]], list[bytes]], int, str]] = {
    "changed": (lambda a: [*a[:2], changed(a[2], b'"n":2', b'"n":9'), *a[3:]], 3, "was changed"),
    "left out": (lambda a: [*a[:2], *a[3:]], 3, "taken out or moved"),
    "moved": (lambda a: [a[0], a[2], a[1], *a[3:]], 2, "taken out or moved"),
    "twice": (lambda a: [*a[:3], a[2], *a[3:]], 4, "taken out or moved"),
    "cut": (lambda a: [*a[:4], a[4][:-10]], 5, "no whole line"),
    "without its end": (lambda a: [*a[:4], a[4][:-1]], 5, "no whole line"),
    "an empty line": (lambda a: [*a[:2], b"\n", *a[2:]], 3, "no whole line"),
    "a text": (lambda a: [*a[:2], b"hello\n", *a[2:]], 3, "no whole line"),
    "endless": (lambda a: [*a[:2], b"x" * (3 << 20)], 3, "no whole line"),
    "of another log": (
        lambda a: [*a[:2], Chain(None, link_of(log(2)[1])).line({"other": 1}), *a[3:]],
        4,
        "does not follow",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_the_first_wrong_line_is_named(case: str, tmp_path: pathlib.Path) -> None:
    tamper, number, why = WRONG[case]
    [path] = written(tmp_path, tamper(log(5)))
    with pytest.raises(Broken, match=f"audit.0.jsonl:{number}: .*{why}"):
        verify_files([path])


def test_without_the_key_nobody_makes_the_chain_anew(tmp_path: pathlib.Path) -> None:
    for forged in (log(5), log(5, b"another key, as long as the first")):
        with pytest.raises(Broken, match="audit.0.jsonl:1: was changed"):
            verify_files(written(tmp_path, forged), KEY)
    with pytest.raises(Broken):
        verify_files(written(tmp_path, log(5, KEY)))


@given(st.binary(max_size=400), st.sampled_from([None, KEY]))
def test_any_bytes_are_no_line(data: bytes, key: bytes | None) -> None:
    for line in (data, data + b"\n", data + b',"hash":"' + b"0" * 64 + b'"}\n'):
        with pytest.raises(Broken):
            link_of(line, key)


@given(st.integers(0, 4), st.data())
def test_no_byte_of_a_line_can_be_exchanged(number: int, data: st.DataObject) -> None:
    lines = log(5)
    line = bytearray(lines[number])
    at = data.draw(st.integers(0, len(line) - 1))
    line[at] = data.draw(st.integers(0, 255).filter(lambda value: value != line[at]))
    with pytest.raises(Broken):
        link_of(bytes(line))
