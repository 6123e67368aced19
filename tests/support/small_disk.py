"""A file system of so much room, for tests of what happens when there is none left."""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
from collections.abc import Generator

import pytest


@contextlib.contextmanager
def mounted(folder: pathlib.Path, size: str) -> Generator[None]:
    """A folder, made with all above it, as a file system of this size, such as `1m`, for its owner alone."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("needs to mount a tmpfs")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)
