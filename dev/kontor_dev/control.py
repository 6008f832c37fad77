"""The line between the commands and the supervisor: a Unix socket, one JSON request, JSON lines in answer."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kontor_dev.errors import NothingRuns, Refused, Stopped
from kontor_dev.supervisor import Supervisor

# A restart says something at least this often.
SILENCE_SECONDS = 90


class ControlServer:
    """Answers `status` and `restart` for as long as the supervisor lives."""

    def __init__(self, path: Path, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._restarting = threading.Lock()
        self._path = path
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        path.chmod(0o600)
        self._socket.listen()
        threading.Thread(target=self._accept, name="control", daemon=True).start()

    def close(self) -> None:
        """Takes the socket away."""
        self._path.unlink(missing_ok=True)
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rw") as stream:
            try:
                for answer in self._answers(json.loads(stream.readline())):
                    stream.write(json.dumps(answer) + "\n")
                    stream.flush()
            except BrokenPipeError:
                return

    def _answers(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if request["do"] == "status":
            yield {"rows": self._supervisor.rows()}
            return
        service = request["service"]
        if service not in self._supervisor.services():
            yield {"error": f"No service `{service}` runs here; there are {', '.join(self._supervisor.services())}."}
            return
        with self._restarting:
            try:
                for text in self._supervisor.restart(service):
                    yield {"text": text}
            except Refused as error:
                yield {"error": str(error)}
            except Stopped:
                yield {"error": "The instance is stopping."}


def ask(path: str, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Sends a request to the supervisor and yields its answers; raises Refused where it refuses."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(SILENCE_SECONDS)
        try:
            line.connect(path)
        except OSError as error:
            raise NothingRuns(f"The instance is starting or stopping ({error.strerror}); try again.") from error
        with line.makefile("rw") as stream:
            stream.write(json.dumps(request) + "\n")
            stream.flush()
            for text in stream:
                answer = json.loads(text)
                if "error" in answer:
                    raise Refused(answer["error"])
                yield answer
