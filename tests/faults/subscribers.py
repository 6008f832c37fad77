"""Programs of other departments that follow changes through the gateway and go on from their position after each fault."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import httpx

from kontor.changes.v1 import stream_pb2
from tests.faults.load import OPTIONS, PASSING_STATUS, is_passing

SILENCE_SECONDS = 20.0
"""A heartbeat comes more often."""


class Subscriber(threading.Thread):
    """Follows what a service tells to a tenant, from the earliest change on."""

    def __init__(self, platform: Any, service: str, tenant: str) -> None:
        super().__init__(name=f"subscriber-{service}-{tenant}", daemon=True)
        self.service, self.tenant = service, tenant
        self.events: list[str] = []
        """The ids of the events, as they came."""
        self.connections = 0
        self.surprises: list[str] = []
        self._url: str = platform.url
        self._headers = {"authorization": f"Bearer {platform.token(tenant=tenant)}"}
        self._enough = threading.Event()
        self._position = ""

    def run(self) -> None:
        while not self._enough.is_set():
            self.connections += 1
            try:
                for event, position in self.follow():
                    # Both together, as somebody would who writes them down in one transaction.
                    self._position = position
                    if event:
                        self.events.append(event)
            except (httpx.TransportError, grpc.RpcError) as error:
                if isinstance(error, grpc.RpcError) and not self._enough.is_set() and not is_passing(error):
                    self.surprises.append(f"{self.name}: {error.code()} {error.details()}")
            self._enough.wait(0.3)

    def stop(self) -> None:
        """Take no more; whoever waits for a line ends with the gateway at the latest."""
        self._enough.set()
        self.cut()

    def follow(self) -> Iterator[tuple[str, str]]:
        """Yield event and position for as long as the stream lasts."""
        raise NotImplementedError

    def cut(self) -> None:
        """End the stream."""
        raise NotImplementedError


class GrpcSubscriber(Subscriber):
    """Follows by gRPC."""

    _call: Any = None

    def follow(self) -> Iterator[tuple[str, str]]:
        request = stream_pb2.SubscribeRequest(start="START_EARLIEST", position=self._position)
        with grpc.insecure_channel(self._url.partition("://")[2], OPTIONS) as channel:
            subscribe = channel.unary_stream(
                f"/kontor.{self.service}.v1.ChangeService/Subscribe",
                stream_pb2.SubscribeRequest.SerializeToString,
                stream_pb2.SubscribeResponse.FromString,
            )
            self._call = subscribe(request, metadata=list(self._headers.items()))
            if self._enough.is_set():
                return
            for answer in self._call:
                yield answer.change.id, answer.position

    def cut(self) -> None:
        if self._call is not None:
            self._call.cancel()


class RestSubscriber(Subscriber):
    """Follows by lines of JSON."""

    def follow(self) -> Iterator[tuple[str, str]]:
        query = {"start": "START_EARLIEST", "position": self._position}
        url = f"{self._url}/v1/changes/{self.service}:subscribe"
        with httpx.stream("GET", url, params=query, headers=self._headers, timeout=SILENCE_SECONDS) as stream:
            if stream.status_code != 200:
                stream.read()
                if stream.status_code not in PASSING_STATUS:
                    self.surprises.append(f"{self.name}: {stream.status_code} {stream.text}")
                return
            for line in stream.iter_lines():
                # A line of which the end did not come is no answer, and an error at the end has no position.
                with contextlib.suppress(json.JSONDecodeError, KeyError):
                    answer = json.loads(line)
                    yield answer.get("change", {}).get("id", ""), answer["position"]
                if self._enough.is_set():
                    return

    def cut(self) -> None:
        """It ends with the next line."""
