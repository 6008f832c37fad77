"""The processes that a bench needs: a platform of its own, the yardstick beside it, the generator; all ended with it."""

from __future__ import annotations

import base64
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from kontor_dev.data import DataFolder
from kontor_dev.platform import database_url

HERE = Path(__file__).parent
READY = "ready: "
STOP_SECONDS = 30


@dataclass(frozen=True)
class Instance:
    """A platform that runs."""

    data: DataFolder
    gateway: str
    """`host:port`."""
    contacts: str
    """`host:port`."""
    token: str

    @property
    def tenant(self) -> uuid.UUID:
        """The tenant that the token is for."""
        payload = self.token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return uuid.UUID(claims["tenant"])

    def database_url(self, role: str, service: str = "contacts") -> str:
        """Return the URL of the database of a service as one of its roles."""
        return database_url(self.data, self.data.state()["database_port"], service, role)

    def process(self, name: str) -> psutil.Process:
        """Return a process of the platform, as `kontor dev status` names it."""
        rows = json.loads(kontor("status", "--json", data=self.data.path))
        return psutil.Process(next(row["pid"] for row in rows if row["name"] == name))


@contextmanager
def instance(folder: Path | None, transport: str = "stream") -> Iterator[Instance]:
    """Run a platform without demo data on `folder`; on one that is thrown away where it is None."""
    with ExitStack() as stack:
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="kontor-bench-"))
            stack.callback(_forget, folder)
        command = [sys.executable, "-m", "kontor_dev", "dev", "up", "--no-demo", "--port", "0", "--data", str(folder)]
        command += ["--transport", transport]
        up = stack.enter_context(ended(subprocess.Popen(command, stdout=subprocess.PIPE, text=True)))
        assert up.stdout is not None
        for line in up.stdout:
            if line.startswith(READY):
                gateway = line.removeprefix(READY).strip().partition("://")[2]
                break
        else:
            sys.exit("bench: the platform did not start; what it says stands above")
        address = kontor("url", "contacts", data=folder).strip()
        yield Instance(DataFolder(folder), gateway, address, kontor("token", data=folder).strip())


@contextmanager
def helper(script: str, *arguments: str, line: str = "") -> Iterator[tuple[psutil.Process, str]]:
    """Run a script of this folder that tells its port; `line` goes to its standard input. Yields its address."""
    command = [sys.executable, str(HERE / script), *arguments]
    with ended(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
        port = process.stdout.readline().strip()
        if not port:
            sys.exit(f"bench: {script} did not start; what it says stands above")
        yield psutil.Process(process.pid), f"127.0.0.1:{port}"


class Generator:
    """The load generator's process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def send(self, job: dict[str, Any]) -> None:
        """Give it a job."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()

    def receive(self, event: str) -> dict[str, Any]:
        """Wait for what it tells next, which must be `event`."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit("bench: the load generator ended; what it says stands above")
        message: dict[str, Any] = json.loads(line)
        assert message["event"] == event, message
        return message


@contextmanager
def generator() -> Iterator[Generator]:
    """Run the load generator."""
    command = [sys.executable, str(HERE / "generator.py")]
    with ended(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)) as process:
        yield Generator(process)


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """End the process with the block."""
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def kontor(*arguments: str, data: Path) -> str:
    """Return what a `kontor dev` command says of the platform in a data folder."""
    command = [sys.executable, "-m", "kontor_dev", "dev", *arguments, "--data", str(data)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _forget(folder: Path) -> None:
    outside = DataFolder(folder).state().get("outside")
    for path in (folder, outside):
        if path:
            with suppress(FileNotFoundError):
                shutil.rmtree(path)
