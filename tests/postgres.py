"""A real PostgreSQL on loopback, with a folder and a port of its own."""

import glob
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm import free_ports

# Debian keeps the server's programs beside PATH.
PROGRAMS = os.pathsep.join((os.environ.get("PATH", os.defpath), *glob.glob("/usr/lib/postgresql/*/bin")))
OPTIONS = "-c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=50 -c unix_socket_directories="
USER = "postgres"  # PostgreSQL refuses to run as root


class Server:
    """A server that can be stopped, killed and started again."""

    def __init__(self, folder: Path):
        self.folder, (self.port,) = folder, free_ports(1)
        self._databases = itertools.count()
        self._process: subprocess.Popen | None = None

    def database(self) -> str:
        """The URL of a new, empty database."""
        import psycopg

        name = f"study{next(self._databases)}"
        with psycopg.connect(f"{self._url}/postgres", autocommit=True) as connection:
            connection.execute(f"create database {name}")
        return f"{self._url}/{name}"

    def start(self) -> None:
        import psycopg

        command = [_program("postgres"), "-D", self.folder / "data", "-p", str(self.port), *OPTIONS.split()]
        with (self.folder / "log.txt").open("a") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **_as_user())
        deadline = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(f"{self._url}/postgres").close()
                return
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, (self.folder / "log.txt").read_text()[-2_000:]
                time.sleep(0.1)

    def stop(self, how: int = signal.SIGINT) -> None:
        """By SIGINT open transactions are rolled back, by SIGQUIT all ends as after a power cut."""
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(timeout=30)

    @property
    def _url(self) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A server for the session's tests; skips where it cannot be had."""
    if _program("initdb") is None:
        pytest.skip("needs PostgreSQL (Debian: postgresql): no initdb")
    with tempfile.TemporaryDirectory(prefix="postgres-") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, USER)
        initialize = [_program("initdb"), "-D", folder / "data", "-U", USER, "-A", "trust", "--no-sync"]
        subprocess.run(initialize, check=True, capture_output=True, **_as_user())
        server = Server(folder)
        server.start()
        yield server
        server.stop(signal.SIGQUIT)


def _program(name: str) -> str | None:
    return shutil.which(name, path=PROGRAMS)


def _as_user() -> dict:
    return {"user": USER, "group": USER, "extra_groups": [], "cwd": "/"} if os.geteuid() == 0 else {}
