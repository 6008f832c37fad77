"""The load generator, a process of its own: closed loops of callers, each sending its next request on an answer.

It reads one job a line from standard input, as JSON, and tells on standard output when it begins to measure and what
it has measured. A loop is a thread; answers are received whole and not parsed.
"""

from __future__ import annotations

import json
import random
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import grpc
from operations import ECHO, OPERATIONS, Operation, Sample

TIMEOUT_SECONDS = 30.0
SERVICE = "kontor.contacts.v1.ContactService"

Send = Callable[[Any], int]
"""Sends a request and returns the bytes of its answer; raises Failed."""


class Failed(Exception):
    """A request was not answered with success; the text is the status."""


def grpc_sender(channel: grpc.Channel, operation: Operation, token: str) -> Send:
    """Return what sends over the channel, which all loops share."""
    # What is sent is serialised here, so that nothing but bytes crosses into gRPC's threads.
    call = channel.unary_unary(f"/{SERVICE}/{operation.method}", None, None)
    metadata = (("authorization", f"Bearer {token}"),)

    def send(request: Any) -> int:
        try:
            return len(call(request.SerializeToString(), timeout=TIMEOUT_SECONDS, metadata=metadata))
        except grpc.RpcError as error:
            raise Failed(error.code().name) from None

    return send


class RestConnection:
    """One connection that is kept alive, with as little work for a request as Python can do."""

    def __init__(self, address: str, operation: Operation, token: str) -> None:
        self._address = address
        self._connect()
        self._rest = operation.rest
        self._headers = (
            f" HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n"
        )

    def send(self, request: Any) -> int:
        """Send a request and read the answer."""
        try:
            return self._exchange(request)
        except OSError as error:
            self.close()
            self._connect()
            raise Failed(type(error).__name__) from None

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _connect(self) -> None:
        host, _, port = self._address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _exchange(self, request: Any) -> int:
        verb, path, body = self._rest(request)
        head = f"{verb} {path}{self._headers}content-length: {len(body)}\r\n\r\n"
        self._socket.sendall(head.encode() + body)
        data = self._socket.recv(65536)
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._more()
        head_lines = data[:end].lower()
        _, mark, length = head_lines.partition(b"\r\ncontent-length: ")
        if mark:
            missing = end + 4 + int(length.split(b"\r\n", 1)[0]) - len(data)
            while missing > 0:
                more = self._more()
                missing -= len(more)
                data += more
        else:
            while not data.endswith(b"\r\n0\r\n\r\n"):
                data += self._more()
        status = data[9:12].decode()
        if status != "200":
            raise Failed(status)
        return len(data) - end - 4

    def _more(self) -> bytes:
        more = self._socket.recv(65536)
        if not more:
            raise ConnectionResetError
        return more


class Loop(threading.Thread):
    """One caller."""

    def __init__(self, operation: Operation, sample: Sample, seed: int, send: Send, window: Window) -> None:
        super().__init__(daemon=True)
        self._operation, self._sample, self._send, self._window = operation, sample, send, window
        self._draw = random.Random(seed)
        self.seconds: list[float] = []
        self.bytes = 0
        self.errors: Counter[str] = Counter()

    def run(self) -> None:
        """Send until the window ends."""
        window, clock = self._window, time.perf_counter
        make, send, draw, sample = self._operation.request, self._send, self._draw, self._sample
        while not window.over:
            request = make(draw, sample)
            begun = clock()
            try:
                size = send(request)
            except Failed as error:
                if window.open:
                    self.errors[str(error)] += 1
                continue
            if window.open:
                self.seconds.append(clock() - begun)
                self.bytes += size


class Window:
    """The time in which is measured: not open before it and over after it."""

    open = False
    over = False


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Do one job: warm up, say that it begins, measure, and return what was measured."""
    operation = OPERATIONS.get(job["operation"], ECHO)
    window, sample = Window(), Sample(**job["sample"])
    channel = grpc.insecure_channel(
        job["address"], [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    )
    connections: list[RestConnection] = []
    loops = []
    for number in range(job["concurrency"]):
        if job["kind"] == "grpc":
            send = grpc_sender(channel, operation, job["token"])
        else:
            connections.append(RestConnection(job["address"], operation, job["token"]))
            send = connections[-1].send
        loops.append(Loop(operation, sample, random.getrandbits(64) + number, send, window))
    for loop in loops:
        loop.start()
    time.sleep(job["warm_up"])
    say({"event": "begins"})
    begun, worked = time.perf_counter(), time.process_time()
    window.open = True
    time.sleep(job["seconds"])
    window.open = False
    elapsed, worked = time.perf_counter() - begun, time.process_time() - worked
    window.over = True
    say({"event": "ends"})
    for loop in loops:
        loop.join(TIMEOUT_SECONDS)
    for connection in connections:
        connection.close()
    channel.close()
    errors: Counter[str] = sum((loop.errors for loop in loops), Counter())
    return {
        "event": "result",
        "elapsed": elapsed,
        "worked": worked,
        "seconds": sorted(second for loop in loops for second in loop.seconds),
        "bytes": sum(loop.bytes for loop in loops),
        "errors": dict(errors),
    }


def say(message: dict[str, Any]) -> None:
    """Tell the bench."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Do jobs until standard input ends."""
    for line in sys.stdin:
        say(run(json.loads(line)))


if __name__ == "__main__":
    main()
