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
    owned: bool
    """Whether its records, or the parents whose rights they have, belong to somebody (OwnerScope) and not to all."""
    title: str
    subjects: tuple[str, ...]
    through: frozenset[str]
    """Those of the subjects that appear with others themselves."""
    parent: str
    event_types: tuple[str, ...]
    """What is to be heard of."""
    guard: Any
    """Which records need a further permission, as in the contract; none where its `field` is empty."""

    def is_guarded(self, record: Any) -> bool:
        """Tell whether a record needs a further permission."""
        if not self.guard.field:
            return False
        field = record.DESCRIPTOR.fields_by_name[self.guard.field]
        number: int = field.enum_type.values_by_name[self.guard.value].number
        return bool(getattr(record, field.name) == number)


@functools.cache
def sources() -> Mapping[str, Source]:
    """Return them, by the prefix of their events; raises ValueError where a contract contradicts itself."""
    # All of them first: the services are known when everything is imported.
    found = {_type(message): message for message in list(resources()) if _use(message).ListFields()}
    made = (_source(message, found) for message in found.values())
    return {source.event_prefix: source for source in made}


def _source(message: Descriptor, others: Mapping[str, Descriptor]) -> Source:
    use, kind = _use(message), _type(message).partition("/")[2]
    for name in (use.title, *use.subjects, use.parent, use.guard.field):
        if name and name not in message.fields_by_name:
            raise ValueError(f"{message.full_name} has no field {name}, which its timeline option names")
    bearer = message
    if use.parent:
        bearer = others[reference_type(message.fields_by_name[use.parent])]
        if _use(bearer).parent:
            raise ValueError(f"{message.full_name} has the rights of {bearer.full_name}, which has those of another")
    if use.events and not use.parent:
        raise ValueError(f"{message.full_name} must tell of all its events, for they say who may see its records")
    service = message.file.pool.FindServiceByName(f"{message.file.package}.{kind}Service")
    pattern = message.GetOptions().Extensions[resource_pb2.resource].pattern[0]
    prefix = f"{message.file.package}.{pattern.partition('{')[2].rstrip('}')}"
    named = {name: others.get(reference_type(message.fields_by_name[name])) for name in use.subjects}
    return Source(
        kind=_type(message),
        event_prefix=prefix,
        message=message_factory.GetMessageClass(message),
        permission=MethodSpec.of(service.methods_by_name[f"Get{kind}"]).permission,
        owned="owner" in bearer.fields_by_name,
        title=use.title,
        subjects=tuple(use.subjects),
        through=frozenset(name for name, other in named.items() if other and [*_use(other).subjects] != ["name"]),
        parent=use.parent,
        event_types=tuple(f"{prefix}.{event}" for event in use.events or ["*"]),
        guard=use.guard,
    )


def _type(message: Descriptor) -> str:
    return str(message.GetOptions().Extensions[resource_pb2.resource].type)


def _use(message: Descriptor) -> Any:
    options: Any = message.GetOptions()
    return options.Extensions[annotations_pb2.timeline]
