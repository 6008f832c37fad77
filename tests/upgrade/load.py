"""A load of writes and reads on one service, with the client code of whichever tree is on the path.

Each round is spread over two places: what is written at one is there at the other, whatever versions they are of.
"""

from __future__ import annotations

import threading
import uuid
from importlib import import_module
from typing import Any

import grpc

# A resource of each service that needs no other, and what a record of it must have beside its name.
RESOURCES: dict[str, tuple[str, dict[str, Any]]] = {
    "identity": ("Team", {}),
    "contacts": ("Account", {}),
    "sales": ("Territory", {}),
    "ticketing": ("Queue", {}),
    "marketing": ("Topic", {}),
    "partners": ("Programme", {"currency_code": "EUR", "levels": [{"id": "silver", "display_name": "Silver"}]}),
}
KEYED = ("marketing",)
"""Where a record has a key as well as a name."""


class Load(threading.Thread):
    """Goes on until `stop`; `failed` has what went wrong, `rounds` counts what was done."""

    def __init__(self, service: str, token: str, *places: str) -> None:
        """`places` are addresses, one or two; `move` changes them."""
        super().__init__(daemon=True)
        self.failed: list[str] = []
        self.rounds = 0
        self.names: set[str] = set()
        self._kind, self._more = RESOURCES[service]
        self._kinds = f"{self._kind}s".replace("ys", "ies")
        self._keyed = service in KEYED
        self._field = self._kind.lower()
        self._messages = import_module(f"kontor.{service}.v1.{self._field}_service_pb2")
        self._stub = getattr(
            import_module(f"kontor.{service}.v1.{self._field}_service_pb2_grpc"), f"{self._kind}ServiceStub"
        )
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._channels: dict[str, grpc.Channel] = {}
        self._places = places
        self._stopping = threading.Event()

    def move(self, *places: str) -> None:
        """Go on at these places."""
        self._places = places

    def stop(self) -> None:
        """End, when the round is done."""
        self._stopping.set()
        self.join()
        for channel in self._channels.values():
            channel.close()

    def run(self) -> None:
        """Do one round after the other."""
        while not self._stopping.is_set():
            first, second = self._places[self.rounds % 2 :: 2] or self._places, self._places[::-1]
            try:
                self._round(first[0], second[0])
            except (grpc.RpcError, AssertionError) as error:
                self.failed.append(f"{first[0]} {second[0]}: {error!r}")
            self.rounds += 1

    def _round(self, here: str, there: str) -> None:
        """Create here, twice; read, change and list there; delete here."""
        made = {"display_name": f"Load {uuid.uuid4()}", **self._more}
        if self._keyed:
            made["key"] = f"load_{uuid.uuid4().hex}"
        create = {self._field: made, "request_id": str(uuid.uuid4())}
        record = self._call(here, "Create", **create)
        assert self._call(there, "Create", **create).name == record.name, "a repetition was not seen to be one"
        self.names.add(record.name)
        assert self._call(there, "Get", name=record.name) == record, "it is not read as it was written"
        change = {"name": record.name, "etag": record.etag, "display_name": f"{record.display_name} changed"}
        record = self._call(there, "Update", **{self._field: change, "update_mask": {"paths": ["display_name"]}})
        page = self._call(here, "List", page_size=1)
        if page.next_page_token:
            self._call(there, "List", page_size=1, page_token=page.next_page_token)
        if self.rounds % 2:
            self._call(here, "Delete", name=record.name, etag=record.etag)

    def _call(self, place: str, verb: str, **fields: Any) -> Any:
        method = f"{verb}{self._kinds if verb == 'List' else self._kind}"
        if place not in self._channels:
            self._channels[place] = grpc.insecure_channel(place)
        request = getattr(self._messages, f"{method}Request")(**fields)
        return getattr(self._stub(self._channels[place]), method)(request, metadata=self._metadata, timeout=20)
