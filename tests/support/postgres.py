"""A PostgreSQL cluster of a test's own, with pgvector, on a socket in its folder; or a skip."""

from __future__ import annotations

import os
import pathlib
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager

import attrs

from support.needs import postgres


@attrs.frozen
class Cluster:
    """A running server."""

    programs: pathlib.Path
    folder: pathlib.Path
    user: str | None
    """Who runs it: it refuses to be run by root."""

    @property
    def dsn(self) -> str:
        return f"host={self.folder} user=flow dbname=postgres"

    def run(self, program: str, *arguments: str) -> None:
        """One of PostgreSQL's programs, to its end."""
        subprocess.run(
            [self.programs / program, *arguments],
            cwd=self.folder,
            user=self.user,
            check=True,
            timeout=60,
            stdout=subprocess.DEVNULL,
        )

    def start(self) -> None:
        options = f"-c listen_addresses='' -c fsync=off -k {self.folder}"
        data, log = str(self.folder / "data"), str(self.folder / "log")
        self.run("pg_ctl", "-D", data, "-o", options, "-w", "-l", log, "start")

    def crash(self) -> None:
        """Stop it as a crash would: what was not committed is lost."""
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "stop")


@contextmanager
def open_cluster() -> Generator[Cluster]:
    """Made anew, and gone afterwards."""
    programs = postgres()
    user = "nobody" if os.geteuid() == 0 else None
    folder = pathlib.Path(tempfile.mkdtemp(prefix="flowpg"))
    cluster = Cluster(programs, folder, user)
    try:
        if user is not None:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        data = str(folder / "data")
        flags = ("-A", "trust", "-U", "flow", "--no-sync", "-E", "UTF8", "--locale=C")
        cluster.run("initdb", "-D", data, *flags)
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.crash()
    finally:
        shutil.rmtree(folder)
