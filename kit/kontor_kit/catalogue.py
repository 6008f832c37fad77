"""What the contracts of all services say together: every service has all of them, in the package `kontor`."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator
from pathlib import Path

from google.api import resource_pb2
from google.protobuf.descriptor import Descriptor, FileDescriptor

import kontor


def resources() -> Iterator[Descriptor]:
    """Yield the messages of the platform that are resources."""
    # The folders are no packages with a file of their own, so pkgutil does not go into them.
    for root in map(Path, kontor.__path__):
        for path in sorted(root.rglob("*_pb2.py")):
            name = ".".join(("kontor", *path.relative_to(root).with_suffix("").parts))
            file: FileDescriptor = importlib.import_module(name).DESCRIPTOR
            for message in file.message_types_by_name.values():
                if message.GetOptions().HasExtension(resource_pb2.resource):
                    yield message


@functools.cache
def collections_with(field: str) -> frozenset[str]:
    """Return the collections whose records have a field of this name: `accounts` and others have `custom_fields`."""
    return frozenset(
        message.GetOptions().Extensions[resource_pb2.resource].pattern[0].partition("/")[0]
        for message in resources()
        if field in message.fields_by_name
    )
