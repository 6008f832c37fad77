"""The composition root: everything that the service consists of."""

import datetime as dt
from pathlib import Path
from typing import Any

from kontor.contacts.v1 import custom_field_definition_pb2
from kontor.identity.v1 import user_pb2
from kontor.sales.v1 import change_service_pb2, operation_service_pb2
from kontor_kit import definition_copies, handing_over
from kontor_kit.calls import Call, Servicer
from kontor_kit.changes.reader import ChangeLog
from kontor_kit.changes.servicer import ChangeServicer
from kontor_kit.clients import Peers
from kontor_kit.db import Transaction
from kontor_kit.inbox.events import Handlers
from kontor_kit.operations.servicer import OperationServicer
from kontor_kit.service import Job, Runtime, Service
from kontor_kit.shared import Shared
from kontor_sales.absences.api import Absences
from kontor_sales.activities.api import Activities
from kontor_sales.activities.table import activities
from kontor_sales.calendars import events as calendar_events
from kontor_sales.calendars.api import CalendarFeeds
from kontor_sales.close_reasons.api import CloseReasons
from kontor_sales.commissions.api import CommissionPlans, Commissions
from kontor_sales.contracts.api import RENEW_CONTRACTS, Contracts
from kontor_sales.contracts.table import contracts
from kontor_sales.exchange_rates.api import ExchangeRates
from kontor_sales.forecast_adjustments.api import ForecastAdjustments
from kontor_sales.forecasts import snapshots
from kontor_sales.forecasts.api import Forecasts
from kontor_sales.forecasts.snapshots import ForecastSnapshots
from kontor_sales.forecasts.winning import TRAIN
from kontor_sales.lead_assignment_rules import events as assignment_events
from kontor_sales.lead_assignment_rules.api import LeadAssignmentRules
from kontor_sales.lead_forms.api import LeadForms
from kontor_sales.lead_score_rules.api import RESCORE, LeadScoreRules
from kontor_sales.leads import events as lead_events
from kontor_sales.leads.api import Leads
from kontor_sales.leads.conversion import CONVERT_LEAD
from kontor_sales.leads.converting import Converting, trying
from kontor_sales.leads.refreshing import Refreshing
from kontor_sales.leads.table import leads
from kontor_sales.opportunities import events as opportunity_events
from kontor_sales.opportunities import stalling
from kontor_sales.opportunities.api import Opportunities
from kontor_sales.opportunities.table import opportunities
from kontor_sales.orders.api import Orders
from kontor_sales.orders.table import orders
from kontor_sales.pipelines.api import Pipelines
from kontor_sales.price_books.api import PriceBookEntries, PriceBooks
from kontor_sales.products.api import Products
from kontor_sales.promotions.api import PromotionRedemptions, Promotions
from kontor_sales.quotas.api import Quotas
from kontor_sales.quotes.api import EXPIRE_QUOTES, DiscountPolicies, Quotes
from kontor_sales.quotes.table import quotes
from kontor_sales.recommendations import events as recommendation_events
from kontor_sales.recommendations.api import Recommendations
from kontor_sales.recommendations.learning import TRAIN as TRAIN_RECOMMENDATIONS
from kontor_sales.tables import metadata
from kontor_sales.territories.api import Territories
from kontor_sales.visits import events as visit_events
from kontor_sales.visits.api import CareCadences, VisitPlans

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
        operations=[CONVERT_LEAD.kind, RESCORE, TRAIN, TRAIN_RECOMMENDATIONS],
        due=[EXPIRE_QUOTES, RENEW_CONTRACTS, stalling.WATCH],
        use=_records,
        jobs=_jobs,
    )


def _handlers() -> Handlers:
    handlers = Handlers()
    definition_copies.declare(handlers, custom_field_definition_pb2.CustomFieldDefinition)
    handing_over.declare(handlers, user_pb2.User, [activities, contracts, leads, opportunities, orders, quotes])
    assignment_events.declare(handlers)
    calendar_events.declare(handlers)
    lead_events.declare(handlers)
    opportunity_events.declare(handlers)
    recommendation_events.declare(handlers)
    visit_events.declare(handlers)
    return handlers


def _records(runtime: Runtime) -> dict[str, Any]:
    """Return what handlers and operations change, by collection."""
    shared = _shared(runtime)
    all_opportunities = Opportunities(shared, Pipelines(shared).standard)
    all_leads = _leads(runtime, shared, all_opportunities)
    return {
        "activities": Activities(shared),
        "calendarFeeds": CalendarFeeds(shared),
        "contracts": Contracts(shared, all_opportunities),
        "forecastSnapshots": ForecastSnapshots(shared),
        "leadAssignmentRules": LeadAssignmentRules(shared),
        "leadForms": LeadForms(shared, all_leads.capture),
        "leads": all_leads,
        "opportunities": all_opportunities,
        "orders": Orders(shared),
        "quotes": Quotes(shared, all_opportunities),
        "territories": Territories(shared),
    }


def _leads(runtime: Runtime, shared: Shared, all_opportunities: Opportunities) -> Leads:
    def create_opportunity(tx: Transaction, call: Call, record: Any) -> None:
        all_opportunities.new(
            tx, call, record, scope=all_opportunities.scope(call, all_opportunities.create_permission)
        )

    converting = Converting(Peers.of(runtime.settings), shared.definitions, trying(create_opportunity))
    return Leads(shared, converting, [Activities(shared).follow_lead])


def _jobs(runtime: Runtime, records: dict[str, Any]) -> list[tuple[str, Job]]:
    assert runtime.system is not None, "jobs are work's"
    return [
        ("refresh-scores", Refreshing(records["leads"], runtime.system).run),
        snapshots.job(records["forecastSnapshots"], _today).job(runtime.system),
    ]


def _today() -> dt.date:
    return dt.datetime.now(dt.UTC).date()


def _shared(runtime: Runtime) -> Shared:
    return Shared.of(
        "sales.kontor",
        metadata,
        database=runtime.database,
        page_tokens=runtime.page_tokens(),
        peers=Peers.of(runtime.settings),
    )


def _servicers(runtime: Runtime) -> list[Servicer]:
    shared = _shared(runtime)
    pipelines = Pipelines(shared)
    all_opportunities = Opportunities(shared, pipelines.standard)
    all_leads = _leads(runtime, shared, all_opportunities)
    resources = [
        Absences(shared),
        Activities(shared),
        CalendarFeeds(shared),
        CareCadences(shared),
        CloseReasons(shared),
        CommissionPlans(shared),
        Commissions(shared),
        Contracts(shared, all_opportunities),
        DiscountPolicies(shared),
        ExchangeRates(shared),
        ForecastAdjustments(shared),
        ForecastSnapshots(shared),
        LeadAssignmentRules(shared),
        LeadForms(shared, all_leads.capture),
        LeadScoreRules(shared),
        all_leads,
        all_opportunities,
        Orders(shared),
        pipelines,
        PriceBookEntries(shared),
        PriceBooks(shared),
        Products(shared),
        PromotionRedemptions(shared),
        Promotions(shared),
        Quotas(shared),
        Quotes(shared, all_opportunities),
        Territories(shared),
        VisitPlans(shared, Activities(shared)),
    ]
    log = ChangeLog(metadata, "sales.kontor", resources)
    return [
        *resources,
        Forecasts(shared, _today),
        Recommendations(shared),
        ChangeServicer(_CHANGES, shared, log, runtime.waker, runtime.system),
        OperationServicer(_OPERATIONS, shared),
    ]
