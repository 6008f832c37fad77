"""The composition root: everything that the service consists of."""

from pathlib import Path

from kontor.contacts.v1 import custom_field_definition_pb2
from kontor.sales.v1 import change_service_pb2, operation_service_pb2
from kontor_kit import definition_copies, normal_forms
from kontor_kit.calls import Servicer
from kontor_kit.changes.reader import ChangeLog
from kontor_kit.changes.servicer import ChangeServicer
from kontor_kit.clients import Peers
from kontor_kit.custom_fields import FieldType
from kontor_kit.inbox.events import Handlers
from kontor_kit.operations.servicer import OperationServicer
from kontor_kit.service import Runtime, Service
from kontor_kit.shared import Shared
from kontor_sales.close_reasons.api import CloseReasons
from kontor_sales.opportunities.api import Opportunities
from kontor_sales.pipelines.api import Pipelines
from kontor_sales.price_books.api import PriceBookEntries, PriceBooks
from kontor_sales.products.api import Products
from kontor_sales.promotions.api import PromotionRedemptions, Promotions
from kontor_sales.tables import metadata

_CHANGES = change_service_pb2.DESCRIPTOR.services_by_name["ChangeService"]
_OPERATIONS = operation_service_pb2.DESCRIPTOR.services_by_name["OperationService"]


def service() -> Service:
    """Return the service sales."""
    return Service(
        name="sales",
        package="kontor_sales",
        servicers=_servicers,
        metadata=metadata,
        migrations=Path(__file__).parent / "migrations",
        handlers=_handlers(),
    )


def _handlers() -> Handlers:
    handlers = Handlers()
    definition_copies.declare(handlers, custom_field_definition_pb2.CustomFieldDefinition)
    return handlers


def _shared(runtime: Runtime) -> Shared:
    return Shared.of(
        "sales.kontor",
        metadata,
        database=runtime.database,
        page_tokens=runtime.page_tokens(),
        peers=Peers.of(runtime.settings),
        formats={
            FieldType.EMAIL: normal_forms.email,
            FieldType.PHONE: normal_forms.phone,
            FieldType.URL: normal_forms.website,
        },
    )


def _servicers(runtime: Runtime) -> list[Servicer]:
    shared = _shared(runtime)
    pipelines = Pipelines(shared)
    resources = [
        CloseReasons(shared),
        Opportunities(shared, pipelines.standard),
        pipelines,
        PriceBookEntries(shared),
        PriceBooks(shared),
        Products(shared),
        PromotionRedemptions(shared),
        Promotions(shared),
    ]
    log = ChangeLog(metadata, "sales.kontor", resources)
    return [
        *resources,
        ChangeServicer(_CHANGES, shared, log, runtime.waker, runtime.system),
        OperationServicer(_OPERATIONS, shared),
    ]
