"""Files for their owner's eyes: what is read, what is refused, and how they are written."""

from __future__ import annotations

import os
import pathlib

import pytest

from flowcore.secrets import read_private, write_private


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_of_its_owner_alone_is_read(tmp_path: pathlib.Path, mode: int) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"x")
    path.chmod(mode)
    assert read_private(path) == b"x"


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644, 0o660, 0o610, 0o602, 0o777])
def test_every_other_mode_is_refused_with_what_to_do(tmp_path: pathlib.Path, mode: int) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"x")
    path.chmod(mode)
    with pytest.raises(ValueError, match=rf"mode {mode:04o}\); chmod it to 600"):
        read_private(path)


def test_what_is_no_such_file_is_said(tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "long").write_bytes(bytes(11))
    (tmp_path / "long").chmod(0o600)
    for name, says in (
        ("none", "cannot be read: No such file"),
        ("", "Is a directory"),
        ("pipe", "is no regular file"),
        ("long", "more than 10 bytes"),
    ):
        with pytest.raises(ValueError, match=says):
            read_private(tmp_path / name, most=10)


def test_what_is_written_is_private_whatever_the_umask(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "key"
    before = os.umask(0)
    try:
        write_private(path, b"one")
    finally:
        os.umask(before)
    assert read_private(path) == b"one"
    with pytest.raises(FileExistsError):
        write_private(path, b"two")
    assert read_private(path) == b"one"
    write_private(path, b"two", replace=True)
    assert read_private(path) == b"two"
    assert list(tmp_path.iterdir()) == [path]
