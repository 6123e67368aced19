"""OTP's own supervisor, asked over a pipe."""

from __future__ import annotations

import pathlib
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

from support.supervise_programs import Program

SOURCE = pathlib.Path(__file__).parents[1] / "supervise" / "oracle.erl"


class Ask(Protocol):
    """Gives OTP's log of a program."""

    def __call__(self, program: Program) -> str: ...


@contextmanager
def open_oracle() -> Generator[Ask]:
    """One Erlang process that runs any number of programs."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["erlc", "-o", folder, str(SOURCE)], check=True, capture_output=True)
        # on one scheduler nothing is half done while another process looks whether all is quiet: a process
        # that exits tells its monitors before its links, and with two schedulers may be caught in between
        erl = ["erl", "+S", "1:1", "+sbwt", "none"]
        command = [*erl, "-noshell", "-pa", folder, "-s", "oracle", "main"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            stdin, stdout = process.stdin, process.stdout
            assert stdin is not None
            assert stdout is not None

            def ask(program: Program) -> str:
                stdin.write(program.term() + "\n")
                stdin.flush()
                return stdout.readline().rstrip("\n")

            yield ask
            stdin.close()
