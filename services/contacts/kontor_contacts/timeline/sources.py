"""The resources of all services whose records appear on timelines, as their contracts say."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.api import resource_pb2
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from kontor.api.v1 import annotations_pb2
from kontor_kit.calls import MethodSpec
from kontor_kit.catalogue import resources
from kontor_kit.mapping import reference_type


@dataclass(frozen=True)
class Source:
    """One resource."""

    kind: str
    """For example `sales.kontor/Opportunity`."""
    event_prefix: str
    """What the types of its events begin with: `kontor.sales.v1.opportunity`."""
    message: type[Message]
    permission: str
    """The one to read its records."""
    title: str
    subjects: tuple[str, ...]
    parent: str
    owned: bool
    """Whether its records, or the parents whose rights they have, belong to somebody (OwnerScope) and not to all."""

    @property
    def inherits(self) -> bool:
        """Whether its records appear where their parents do."""
        return bool(self.parent and not self.subjects)


@functools.cache
def sources() -> Mapping[str, Source]:
    """Return them, by the prefix of their events; raises ValueError where a contract contradicts itself."""
    # All of them first: the services are known when everything is imported.
    found = {_type(message): message for message in list(resources()) if _use(message).ListFields()}
    made = (_source(message, found) for message in found.values())
    return {source.event_prefix: source for source in made}


def _source(message: Descriptor, others: Mapping[str, Descriptor]) -> Source:
    use, kind = _use(message), _type(message).partition("/")[2]
    for name in (use.title, *use.subjects, use.parent):
        if name and name not in message.fields_by_name:
            raise ValueError(f"{message.full_name} has no field {name}, which its timeline option names")
    bearer = message
    if use.parent:
        bearer = others[reference_type(message.fields_by_name[use.parent])]
        if _use(bearer).parent:
            raise ValueError(f"{message.full_name} has the rights of {bearer.full_name}, which has those of another")
    service = message.file.pool.FindServiceByName(f"{message.file.package}.{kind}Service")
    pattern = message.GetOptions().Extensions[resource_pb2.resource].pattern[0]
    return Source(
        kind=_type(message),
        event_prefix=f"{message.file.package}.{pattern.partition('{')[2].rstrip('}')}",
        message=message_factory.GetMessageClass(message),
        permission=MethodSpec.of(service.methods_by_name[f"Get{kind}"]).permission,
        title=use.title,
        subjects=tuple(use.subjects),
        parent=use.parent,
        owned="owner" in bearer.fields_by_name,
    )


def _type(message: Descriptor) -> str:
    return str(message.GetOptions().Extensions[resource_pb2.resource].type)


def _use(message: Descriptor) -> Any:
    options: Any = message.GetOptions()
    return options.Extensions[annotations_pb2.timeline]
