"""The composition root: everything that the service consists of."""

from pathlib import Path
from typing import Any

from kontor.contacts.v1 import custom_field_definition_pb2
from kontor.identity.v1 import user_pb2
from kontor.partners.v1 import change_service_pb2, operation_service_pb2
from kontor_kit import definition_copies, handing_over
from kontor_kit.calls import Servicer
from kontor_kit.changes.reader import ChangeLog
from kontor_kit.changes.servicer import ChangeServicer
from kontor_kit.clients import Peers
from kontor_kit.inbox.events import Handlers
from kontor_kit.methods import ResourceServicer
from kontor_kit.operations.servicer import OperationServicer
from kontor_kit.service import Runtime, Service
from kontor_kit.shared import Shared
from kontor_partners.deal_registrations.api import EXPIRE_REGISTRATIONS, DealRegistrations
from kontor_partners.deal_registrations.approval import APPROVE_DEAL, trying
from kontor_partners.known_deals import events as deal_events
from kontor_partners.lead_offers import events as lead_events
from kontor_partners.lead_offers.api import EXPIRE_OFFERS, LeadOffers
from kontor_partners.partners.api import BEGIN_LEVELS, Partners
from kontor_partners.partners.table import partners
from kontor_partners.programmes.api import Programmes
from kontor_partners.tables import metadata

_CHANGES = change_service_pb2.DESCRIPTOR.services_by_name["ChangeService"]
_OPERATIONS = operation_service_pb2.DESCRIPTOR.services_by_name["OperationService"]


def service() -> Service:
    """Return the service partners."""
    return Service(
        name="partners",
        package="kontor_partners",
        servicers=_servicers,
        metadata=metadata,
        migrations=Path(__file__).parent / "migrations",
        handlers=_handlers(),
        operations=[APPROVE_DEAL.kind],
        due=[BEGIN_LEVELS, EXPIRE_OFFERS, EXPIRE_REGISTRATIONS],
        use=_records,
    )


def _handlers() -> Handlers:
    handlers = Handlers()
    definition_copies.declare(handlers, custom_field_definition_pb2.CustomFieldDefinition)
    handing_over.declare(handlers, user_pb2.User, [partners])
    lead_events.declare(handlers)
    deal_events.declare(handlers)
    return handlers


def _records(runtime: Runtime) -> dict[str, Any]:
    """Return what handlers and operations change, by collection."""
    return {each.RESOURCE.collection: each for each in _resources(runtime, _shared(runtime))}


def _shared(runtime: Runtime) -> Shared:
    return Shared.of(
        "partners.kontor",
        metadata,
        database=runtime.database,
        page_tokens=runtime.page_tokens(),
        peers=Peers.of(runtime.settings),
    )


def _resources(runtime: Runtime, shared: Shared) -> list[ResourceServicer]:
    peers = Peers.of(runtime.settings)
    offers = LeadOffers(shared, peers)
    return [
        DealRegistrations(shared, trying(peers)),
        offers,
        Partners(shared, [offers.release]),
        Programmes(shared),
    ]


def _servicers(runtime: Runtime) -> list[Servicer]:
    shared = _shared(runtime)
    resources = _resources(runtime, shared)
    log = ChangeLog(metadata, "partners.kontor", resources)
    return [
        *resources,
        ChangeServicer(_CHANGES, shared, log, runtime.waker, runtime.system),
        OperationServicer(_OPERATIONS, shared),
    ]
