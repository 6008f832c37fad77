"""The composition root: everything that the service consists of."""

from pathlib import Path
from typing import Any

from kontor.contacts.v1 import custom_field_definition_pb2
from kontor.identity.v1 import user_pb2
from kontor.ticketing.v1 import change_service_pb2, operation_service_pb2
from kontor_kit import definition_copies, handing_over
from kontor_kit.calls import Servicer
from kontor_kit.changes.reader import ChangeLog
from kontor_kit.changes.servicer import ChangeServicer
from kontor_kit.clients import Peers
from kontor_kit.inbox.events import Handlers
from kontor_kit.methods import ResourceServicer
from kontor_kit.operations.servicer import OperationServicer
from kontor_kit.service import Contents, Job, Runtime, Service
from kontor_kit.shared import Shared
from kontor_ticketing.articles.api import Articles
from kontor_ticketing.attachments import rules as attachment_rules
from kontor_ticketing.attachments.api import Attachments, remove_orphans
from kontor_ticketing.attachments.storage import storage_of
from kontor_ticketing.attachments.table import attachments
from kontor_ticketing.priority_matrices.api import PriorityMatrices
from kontor_ticketing.queues import events as queue_events
from kontor_ticketing.queues.api import Queues
from kontor_ticketing.settings import TicketingSettings
from kontor_ticketing.sla_policies.api import REAPPLY, SlaPolicies
from kontor_ticketing.tables import metadata
from kontor_ticketing.ticket_entries.api import TicketEntries
from kontor_ticketing.ticket_states.api import TicketStates
from kontor_ticketing.tickets.api import TELL_DEADLINES, Tickets
from kontor_ticketing.tickets.assigning import ASSIGN_WAITING
from kontor_ticketing.tickets.table import tickets
from kontor_ticketing.working_calendars.api import WorkingCalendars

_CHANGES = change_service_pb2.DESCRIPTOR.services_by_name["ChangeService"]
_OPERATIONS = operation_service_pb2.DESCRIPTOR.services_by_name["OperationService"]


def service() -> Service:
    """Return the service ticketing."""
    return Service(
        name="ticketing",
        package="kontor_ticketing",
        servicers=_servicers,
        metadata=metadata,
        migrations=Path(__file__).parent / "migrations",
        settings=TicketingSettings,
        handlers=_handlers(),
        operations=[REAPPLY],
        due=[ASSIGN_WAITING, TELL_DEADLINES],
        use=_records,
        jobs=_jobs,
        contents=_contents,
    )


def _handlers() -> Handlers:
    handlers = Handlers()
    definition_copies.declare(handlers, custom_field_definition_pb2.CustomFieldDefinition)
    handing_over.declare(handlers, user_pb2.User, [tickets])
    queue_events.declare(handlers)
    return handlers


def _records(runtime: Runtime) -> dict[str, Any]:
    """Return what handlers and operations change, by collection."""
    return {each.RESOURCE.collection: each for each in _resources(runtime, _shared(runtime))}


def _jobs(runtime: Runtime, _given: Any) -> list[tuple[str, Job]]:
    assert runtime.system is not None, "jobs are work's"
    storage = storage_of(runtime.settings)
    return [] if storage is None else [remove_orphans(storage).job(runtime.system)]


def _contents(settings: TicketingSettings) -> Contents | None:
    storage = storage_of(settings)
    return None if storage is None else Contents(table=attachments, key=attachment_rules.key, storage=storage)


def _shared(runtime: Runtime) -> Shared:
    return Shared.of(
        "ticketing.kontor",
        metadata,
        database=runtime.database,
        page_tokens=runtime.page_tokens(),
        peers=Peers.of(runtime.settings),
    )


def _resources(runtime: Runtime, shared: Shared) -> list[ResourceServicer]:
    states = TicketStates(shared)
    all_tickets = Tickets(shared, states.standard)
    files = Attachments(shared, storage_of(runtime.settings), runtime.settings.max_attachment_bytes)
    entries = TicketEntries(shared, all_tickets.receive, files)
    for belonging in (entries, files):
        all_tickets.belongings.add(belonging)
    policies = SlaPolicies(shared)
    return [
        Articles(shared),
        files,
        PriorityMatrices(shared),
        Queues(shared),
        entries,
        all_tickets,
        states,
        policies,
        WorkingCalendars(shared, policies.follow_calendar),
    ]


def _servicers(runtime: Runtime) -> list[Servicer]:
    shared = _shared(runtime)
    resources = _resources(runtime, shared)
    log = ChangeLog(metadata, "ticketing.kontor", resources)
    return [
        *resources,
        ChangeServicer(_CHANGES, shared, log, runtime.waker, runtime.system),
        OperationServicer(_OPERATIONS, shared),
    ]
