"""Another department follows all services, and prints the history of a customer as the timeline of the platform shows it.

    CLIENT_ID=... CLIENT_SECRET=... python docs/history.py http://127.0.0.1:8080 history.json accounts/0198...

The id is that of a service account whose role can read changes and records of every service; the secret is one of its
secrets. Needs the packages grpcio and kontor-protos. Each run takes in what happened since the one before and writes it
down in the file with how far it got; so it may be stopped at any time. A record that names the customer, or another one
that does, belongs to the history, with everything that happened to it before; what is deleted does not.
"""

import base64
import importlib
import json
import os
import pkgutil
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import grpc
from google.api import resource_pb2
from google.protobuf import message_factory

import kontor
from kontor.api.v1 import annotations_pb2
from kontor.changes.v1 import change_pb2, stream_pb2

SERVICES = ("contacts", "sales", "ticketing", "marketing", "partners")
PASSING = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL)
PATIENCE_SECONDS = 120


def told_of() -> dict[str, Any]:
    """Return the messages whose contract says that they appear on timelines, by what their events begin with."""
    found = {}
    for service in SERVICES:
        package = f"kontor.{service}.v1"
        for module in pkgutil.iter_modules([f"{root}/{service}/v1" for root in kontor.__path__], f"{package}."):
            if not module.name.endswith("_pb2"):
                continue
            for message in importlib.import_module(module.name).DESCRIPTOR.message_types_by_name.values():
                options = message.GetOptions().Extensions
                if options[annotations_pb2.timeline].ListFields():
                    singular = options[resource_pb2.resource].pattern[0].partition("{")[2].rstrip("}")
                    found[f"{package}.{singular}"] = message_factory.GetMessageClass(message)
    return found


def token(url: str) -> str:
    """Get an access token."""
    pair = base64.b64encode(f"{os.environ['CLIENT_ID']}:{os.environ['CLIENT_SECRET']}".encode()).decode()
    request = urllib.request.Request(
        f"{url}/oauth2/token", b"grant_type=client_credentials", {"authorization": f"Basic {pair}"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return str(json.load(response)["access_token"])


def take_in(url: str, service: str, messages: dict[str, Any], kept: dict[str, Any]) -> None:
    """Follow a service up to the end of what happened; raises grpc.RpcError or OSError where that is interrupted."""
    begin, position = stream_pb2.SubscribeRequest.START_EARLIEST, kept["positions"].get(service, "")
    request = stream_pb2.SubscribeRequest(start=begin, position=position, until_end=True)
    with grpc.insecure_channel(url.partition("://")[2]) as channel:
        subscribe = channel.unary_stream(
            f"/kontor.{service}.v1.ChangeService/Subscribe",
            stream_pb2.SubscribeRequest.SerializeToString,
            stream_pb2.SubscribeResponse.FromString,
        )
        for answer in subscribe(request, metadata=(("authorization", f"Bearer {token(url)}"),), timeout=60):
            if answer.HasField("change"):
                note(answer.change, messages, kept)
            kept["positions"][service] = answer.position


def note(change: change_pb2.Change, messages: dict[str, Any], kept: dict[str, Any]) -> None:
    """Write down what happened, and what the record says of itself by now."""
    prefix, _, verb = change.type.rpartition(".")
    if prefix not in messages:
        return
    record = messages[prefix].FromString(change.data.value)
    use = record.DESCRIPTOR.GetOptions().Extensions[annotations_pb2.timeline]
    known = kept["records"].setdefault(change.resource_name, {"subjects": [], "events": {}})
    for field in use.subjects:
        value = getattr(record, field)
        known["subjects"] += [name for name in ([value] if isinstance(value, str) else value) if name]
    known["title"] = getattr(record, use.title) if use.title else ""
    known["deleted"] = "delete_time" in record.DESCRIPTOR.fields_by_name and record.HasField("delete_time")
    if verb in use.events or not use.events:
        known["events"][change.id] = (change.change_time.ToJsonString(), change.type)


def history(kept: dict[str, Any], customer: str) -> list[tuple[str, str, str]]:
    """Return what happened with a customer, the oldest first: when, what, and what the record is called."""
    records = kept["records"]

    def names(subjects: list[str]) -> bool:
        return any(each == customer or customer in records.get(each, {"subjects": ()})["subjects"] for each in subjects)

    lines = [
        (*event, known["title"])
        for known in records.values()
        if names(known["subjects"]) and not known["deleted"]
        for event in known["events"].values()
    ]
    return sorted(lines)


def main(url: str, file: Path, customer: str) -> None:
    """Take in what is new of all services, and print the history."""
    kept = json.loads(file.read_text()) if file.exists() else {"positions": {}, "records": {}}
    messages, until = told_of(), time.monotonic() + PATIENCE_SECONDS
    for service in SERVICES:
        while True:
            try:
                take_in(url, service, messages, kept)
                break
            except (OSError, grpc.RpcError) as error:
                passing = not isinstance(error, grpc.RpcError) or error.code() in PASSING
                if not passing or time.monotonic() > until:
                    raise
                time.sleep(1)
    file.write_text(json.dumps(kept))
    for when, what, title in history(kept, customer):
        print(when, what, title)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
