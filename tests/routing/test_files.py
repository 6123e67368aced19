"""What a router keeps is whole or not there, whatever happens to its file."""

from __future__ import annotations

import hashlib
import pathlib
import resource
import signal
import subprocess
import sys

import msgspec
import pytest

from flowcore.routing.files import read_kept, write_kept

VALUE = {"position": 7, "names": ["a", "é"], "table": b"\x00\x01" * 10}
LONG = {"gate": b"\x00\x02" * 8, "other": b""}


def test_what_was_kept_comes_back(tmp_path: pathlib.Path) -> None:
    write_kept(tmp_path / "deep" / "facts", VALUE)
    assert read_kept(tmp_path / "deep" / "facts") == VALUE
    assert [one.name for one in (tmp_path / "deep").iterdir()] == ["facts"]
    assert (tmp_path / "deep" / "facts").stat().st_mode & 0o777 == 0o600


def test_what_is_long_comes_back_as_a_part_of_it(tmp_path: pathlib.Path) -> None:
    write_kept(tmp_path / "facts", VALUE, **LONG)
    assert read_kept(tmp_path / "facts") == VALUE | LONG


def test_nothing_there_is_nothing_kept(tmp_path: pathlib.Path) -> None:
    assert read_kept(tmp_path / "facts") is None


def test_each_damaged_byte_is_noticed(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "facts"
    write_kept(path, VALUE, **LONG)
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :])
        assert read_kept(path) is None, at
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert read_kept(path) is None, size
    assert "facts is damaged, or of another version, and is made anew" in caplog.text


def test_a_folder_in_its_place_is_told(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "facts").mkdir()
    assert read_kept(tmp_path / "facts") is None
    assert "cannot be read" in caplog.text


FULL = """
import pathlib, sys
from flowcore.routing.files import write_kept
try:
    write_kept(pathlib.Path(sys.argv[1]), {"table": b"x" * 100_000})
except OSError as error:
    print(error.strerror)
"""


def test_no_room_on_the_disk_leaves_what_was_kept(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "facts"
    write_kept(path, VALUE)

    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)],
        preexec_fn=small_files,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "File too large\n"
    assert read_kept(path) == VALUE
    assert [one.name for one in tmp_path.iterdir()] == ["facts"]


def test_what_an_older_flowcore_kept_is_made_anew(tmp_path: pathlib.Path) -> None:
    data = msgspec.msgpack.encode(VALUE)
    digest = hashlib.blake2b(data, digest_size=32).hexdigest().encode()
    (tmp_path / "facts").write_bytes(b"flowcore router 1 " + digest + b"\n" + data)
    assert read_kept(tmp_path / "facts") is None
