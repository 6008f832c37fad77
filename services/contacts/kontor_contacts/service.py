"""The composition root: everything that the service consists of."""

from pathlib import Path

from kontor.contacts.v1 import change_service_pb2, operation_service_pb2
from kontor.identity.v1 import user_pb2
from kontor_contacts.accounts.api import Accounts
from kontor_contacts.accounts.table import accounts
from kontor_contacts.address_statuses.api import AddressStatuses
from kontor_contacts.affiliations.api import Affiliations
from kontor_contacts.contacts.api import Contacts
from kontor_contacts.contacts.table import contacts
from kontor_contacts.custom_field_definitions.api import CustomFieldDefinitions
from kontor_contacts.saved_views.api import SavedViews
from kontor_contacts.tables import metadata
from kontor_contacts.timeline import events as timeline_events
from kontor_contacts.timeline.api import Timelines
from kontor_kit import handing_over
from kontor_kit.calls import Servicer
from kontor_kit.changes.reader import ChangeLog
from kontor_kit.changes.servicer import ChangeServicer
from kontor_kit.clients import Peers
from kontor_kit.inbox.events import Handlers
from kontor_kit.operations.servicer import OperationServicer
from kontor_kit.records import Records
from kontor_kit.service import Runtime, Service
from kontor_kit.shared import Shared

_CHANGES = change_service_pb2.DESCRIPTOR.services_by_name["ChangeService"]
_OPERATIONS = operation_service_pb2.DESCRIPTOR.services_by_name["OperationService"]


def service() -> Service:
    """Return the service contacts."""
    return Service(
        name="contacts",
        package="kontor_contacts",
        servicers=_servicers,
        metadata=metadata,
        migrations=Path(__file__).parent / "migrations",
        handlers=_handlers(),
        use=_records,
    )


def _handlers() -> Handlers:
    handlers = Handlers()
    handing_over.declare(handlers, user_pb2.User, [accounts, contacts])
    timeline_events.declare(handlers)
    return handlers


def _records(runtime: Runtime) -> dict[str, Records]:
    """Return what the handlers change, by collection."""
    shared = _shared(runtime)
    return {"accounts": Accounts(shared), "contacts": Contacts(shared)}


def _shared(runtime: Runtime) -> Shared:
    return Shared.of(
        "contacts.kontor",
        metadata,
        database=runtime.database,
        page_tokens=runtime.page_tokens(),
        peers=Peers.of(runtime.settings),
    )


def _servicers(runtime: Runtime) -> list[Servicer]:
    shared = _shared(runtime)
    resources = [
        Accounts(shared),
        AddressStatuses(shared),
        Affiliations(shared),
        Contacts(shared),
        CustomFieldDefinitions(shared),
        SavedViews(shared),
    ]
    log = ChangeLog(metadata, "contacts.kontor", resources)
    changes = ChangeServicer(_CHANGES, shared, log, runtime.waker, runtime.system)
    return [*resources, Timelines(shared), changes, OperationServicer(_OPERATIONS, shared)]
