"""The composition root: everything that the service consists of."""

from pathlib import Path
from typing import Any, Final

from kontor.contacts.v1 import custom_field_definition_pb2
from kontor.marketing.v1 import change_service_pb2, operation_service_pb2
from kontor_kit import definition_copies
from kontor_kit.calls import Servicer
from kontor_kit.changes.reader import ChangeLog
from kontor_kit.changes.servicer import ChangeServicer
from kontor_kit.clients import Peers
from kontor_kit.inbox.events import Handlers
from kontor_kit.methods import ResourceServicer
from kontor_kit.operations.servicer import OperationServicer
from kontor_kit.service import Job, Runtime, Service
from kontor_kit.shared import Shared
from kontor_marketing.campaigns.api import PREPARE, START_CAMPAIGNS, Campaigns
from kontor_marketing.parties import events as party_events
from kontor_marketing.parties.api import Parties
from kontor_marketing.recipients.api import CampaignRecipients
from kontor_marketing.recipients.checking import Gate
from kontor_marketing.recipients.mail import Post
from kontor_marketing.recipients.sending import Sending
from kontor_marketing.segments.api import EVALUATE, SegmentMemberships, Segments
from kontor_marketing.settings import MarketingSettings
from kontor_marketing.subscriptions.api import Subscriptions
from kontor_marketing.suppressions.api import Suppressions
from kontor_marketing.tables import metadata
from kontor_marketing.templates.api import Templates
from kontor_marketing.topics.api import Topics
from kontor_marketing.unsubscribing.api import Unsubscribing

_CHANGES = change_service_pb2.DESCRIPTOR.services_by_name["ChangeService"]
_OPERATIONS = operation_service_pb2.DESCRIPTOR.services_by_name["OperationService"]
_SENDERS: Final = 2


def service() -> Service:
    """Return the service marketing."""
    return Service(
        name="marketing",
        package="kontor_marketing",
        servicers=_servicers,
        metadata=metadata,
        migrations=Path(__file__).parent / "migrations",
        handlers=_handlers(),
        settings=MarketingSettings,
        operations=[EVALUATE, PREPARE],
        due=[party_events.END_AFFILIATIONS, START_CAMPAIGNS],
        use=_records,
        jobs=_jobs,
    )


def _handlers() -> Handlers:
    handlers = Handlers()
    definition_copies.declare(handlers, custom_field_definition_pb2.CustomFieldDefinition)
    party_events.declare(handlers)
    return handlers


def _records(runtime: Runtime) -> dict[str, Any]:
    """Return what handlers and operations change, by collection."""
    return {each.RESOURCE.collection: each for each in _resources(_shared(runtime), runtime.settings)}


def _jobs(runtime: Runtime, records: dict[str, Any]) -> list[tuple[str, Job]]:
    assert runtime.system is not None, "jobs are work's"
    url = runtime.settings.smtp_url
    recipients = records["campaignRecipients"]
    senders = range(_SENDERS) if url else ()
    return [(f"send-mails-{number + 1}", Sending(recipients, runtime.system, Post(url)).run) for number in senders]


def _shared(runtime: Runtime) -> Shared:
    return Shared.of(
        "marketing.kontor",
        metadata,
        database=runtime.database,
        page_tokens=runtime.page_tokens(),
        peers=Peers.of(runtime.settings),
    )


def _resources(shared: Shared, settings: MarketingSettings) -> list[ResourceServicer]:
    campaigns = Campaigns(shared, can_send=bool(settings.smtp_url))
    segments, suppressions = Segments(shared), Suppressions(shared)
    return [
        CampaignRecipients(shared, campaigns, Gate(settings.link_base)),
        campaigns,
        Parties(shared, suppressions.suppress, [segments.follow]),
        SegmentMemberships(shared),
        segments,
        Subscriptions(shared),
        suppressions,
        Templates(shared),
        Topics(shared),
    ]


def _servicers(runtime: Runtime) -> list[Servicer]:
    shared = _shared(runtime)
    resources = _resources(shared, runtime.settings)
    known: dict[str, Any] = {each.RESOURCE.collection: each for each in resources}
    say, suppress = known["subscriptions"].say, known["suppressions"].suppress_by_itself
    log = ChangeLog(metadata, "marketing.kontor", resources)
    return [
        *resources,
        Unsubscribing(shared, say=say, suppress=suppress),
        ChangeServicer(_CHANGES, shared, log, runtime.waker, runtime.system),
        OperationServicer(_OPERATIONS, shared),
    ]
