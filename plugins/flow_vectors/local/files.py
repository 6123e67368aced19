"""Files of arrays that are there whole or not at all, and say when a byte of them has changed.

Layout, little-endian: magic (8 bytes), length and CRC-32 of the header (2 x uint32), the header (JSON), the
arrays one after the other, a CRC-32 (uint32) of each block of 4 MiB of them, and a CRC-32 of those.
"""

from __future__ import annotations

import json
import os
import pathlib
import struct
import zlib
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from flowcore.errors import DamagedState

MAGIC = b"flowvec1"
PRIVATE = 0o600
"""The mode of all files: from vectors one can tell what the texts were about."""
BLOCK = 4 << 20
_HEAD = struct.Struct("<II")
_START = len(MAGIC) + _HEAD.size
_ALIGNED = 64
"""Arrays begin at such a multiple, for numpy copies what is not aligned before it computes with it."""
_LONGEST_HEADER = 16 << 20
_THREADS = os.cpu_count() or 1
Array = npt.NDArray[Any]


class Checksums:
    """CRC-32 of each block of what is put into it."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self._now = 0
        self._room = BLOCK

    def put(self, data: memoryview) -> None:
        while len(data):
            part = data[: self._room]
            self._now = zlib.crc32(part, self._now)
            self._room -= len(part)
            data = data[len(part) :]
            if not self._room:
                self.done.append(self._now)
                self._now, self._room = 0, BLOCK

    def all(self) -> list[int]:
        """Of all blocks, the last of which may be short."""
        return [*self.done, self._now] if self._room < BLOCK else list(self.done)


class Writer:
    """Takes the arrays that were announced, in that order, each in as many parts as one likes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.checksums = Checksums()
        self.size = 0

    def put(self, part: Array) -> None:
        """Write some rows."""
        if part.nbytes:
            data = np.ascontiguousarray(part).reshape(-1).view(np.uint8).data
            self._file.write(data)
            self.checksums.put(data)
            self.size += len(data)


@contextmanager
def writing(
    path: pathlib.Path, about: Mapping[str, Any], arrays: Sequence[tuple[str, str, tuple[int, ...]]]
) -> Generator[Writer]:
    """Write a file of arrays, each announced by name, dtype and shape; it takes its place, on disk for good,
    when the block is left, and leaves no trace if it is left by an exception. Raises OSError."""
    header = json.dumps({"about": dict(about), "arrays": arrays}).encode()
    header += b" " * (-(len(header) + _START) % _ALIGNED)
    with replacing(path) as file:
        file.write(MAGIC + _HEAD.pack(len(header), zlib.crc32(header)) + header)
        writer = Writer(file)
        yield writer
        expected = sum(_bytes(dtype, shape) for _, dtype, shape in arrays)
        if writer.size != expected:
            raise ValueError(f"{writer.size} bytes were written, {expected} announced")
        table = np.array(writer.checksums.all(), dtype="<u4").tobytes()
        file.write(table + struct.pack("<I", zlib.crc32(table)))


@contextmanager
def replacing(path: pathlib.Path) -> Generator[IO[bytes]]:
    """A file beside `path` that takes its place when the block is left, after all of it is on disk."""
    beside = path.with_name(path.name + ".new")
    try:
        with open(beside, "wb", opener=_private) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def private(path: pathlib.Path) -> None:
    """Have an empty file that only its owner may read, for a library to write to. Raises OSError."""
    os.close(_private(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC))


def _private(path: str | pathlib.Path, flags: int) -> int:
    """Open a file that only its owner may read, whatever the umask, and whoever made it."""
    descriptor = os.open(path, flags, PRIVATE)
    os.fchmod(descriptor, PRIVATE)
    return descriptor


def private_folder(folder: pathlib.Path) -> None:
    """Have a folder that only its owner may look into, as far as it is ours. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    about = folder.stat()
    if about.st_uid == os.geteuid() and about.st_mode & 0o077:
        folder.chmod(0o700)


def sync_folder(folder: pathlib.Path) -> None:
    """Have the names of a folder's files on disk."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def read(path: pathlib.Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """What a file says about itself, and its arrays, mapped, after all of it was checked.

    Raises DamagedState, also if the file is missing.
    """
    try:
        data: npt.NDArray[np.uint8] = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
    except FileNotFoundError:
        raise DamagedState(f"{path.name} is missing") from None
    except ValueError:
        raise DamagedState(f"{path.name} is empty") from None
    start = _START
    if len(data) < start or data[: len(MAGIC)].tobytes() != MAGIC:
        raise DamagedState(f"{path.name} does not begin as it should")
    length, crc = _HEAD.unpack(data[len(MAGIC) : start].tobytes())
    header = data[start : start + min(length, _LONGEST_HEADER)].tobytes()
    if len(header) != length or zlib.crc32(header) != crc:
        raise DamagedState(f"the header of {path.name} is damaged")
    told = json.loads(header)
    start += length
    size = sum(_bytes(dtype, shape) for _, dtype, shape in told["arrays"])
    blocks = -(-size // BLOCK)
    if len(data) != start + size + 4 * blocks + 4:
        raise DamagedState(f"{path.name} has {len(data)} bytes, which is not what it should have")
    table = data[start + size : -4].tobytes()
    if struct.pack("<I", zlib.crc32(table)) != data[-4:].tobytes():
        raise DamagedState(f"the checksums of {path.name} are damaged")
    check(data[start : start + size], np.frombuffer(table, dtype="<u4").tolist(), path.name)
    arrays = {}
    for name, dtype, shape in told["arrays"]:
        end = start + _bytes(dtype, shape)
        arrays[name] = data[start:end].view(dtype).reshape(shape)
        start = end
    return told["about"], arrays


def check(data: npt.NDArray[np.uint8], crcs: Sequence[int], name: str) -> None:
    """Hold data against the checksums of its blocks, on all cores. Raises DamagedState."""

    def right(number: int) -> bool:
        return zlib.crc32(data[number * BLOCK : (number + 1) * BLOCK].data) == crcs[number]

    if -(-len(data) // BLOCK) != len(crcs):
        raise DamagedState(f"{name} has not the size it should have")
    if len(crcs) <= 1:
        fine = all(map(right, range(len(crcs))))
    else:
        with ThreadPoolExecutor(_THREADS) as pool:
            fine = all(pool.map(right, range(len(crcs))))
    if not fine:
        raise DamagedState(f"{name} is damaged")


def checksums(path: pathlib.Path) -> list[int]:
    """Those of a file as it stands."""
    made = Checksums()
    with open(path, "rb") as file:
        while part := file.read(BLOCK):
            made.put(memoryview(part))
    return made.all()


def _bytes(dtype: str, shape: Sequence[int]) -> int:
    count = 1
    for one in shape:
        count *= one
    return count * np.dtype(dtype).itemsize
