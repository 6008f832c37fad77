"""The gRPC service of forecast snapshots, and the job that takes one a day."""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections.abc import Callable
from typing import Any, Final

import psycopg.errors
import sqlalchemy as sa

from kontor.sales.v1 import forecast_snapshot_pb2, forecast_snapshot_service_pb2
from kontor_kit import money
from kontor_kit.calls import Call, MethodSpec
from kontor_kit.db import Database, Statement, Transaction
from kontor_kit.ids import parse_name
from kontor_kit.jobs import Periodic, Turn, every
from kontor_kit.methods import ResourceServicer
from kontor_kit.principals import Principal, Scope
from kontor_kit.tracing import Trace, start_span
from kontor_sales.exchange_rates.table import base_currency
from kontor_sales.forecasts import rules as periods
from kontor_sales.forecasts.table import FORECAST_SNAPSHOT

logger = logging.getLogger(__name__)

DAILY: Final = 1
ON_DEMAND: Final = 2
"""As ForecastSnapshot.Kind."""
KEPT_DAYS: Final = 366
"""So long a snapshot knows what was closed."""
PERIOD_SECONDS: Final = 600.0
LEASE_SECONDS: Final = 300.0
"""To take the snapshot of one tenant takes less."""

# By the rates of the day while it is open, by those of its last day afterwards: as it was frozen then, if it was.
_TAKE: Final = Statement(
    sa.text(
        "INSERT INTO forecast_deals"
        " SELECT o.tenant_id, :snapshot, o.id, o.owner, o.team, o.pipeline, o.stage, o.state, o.forecast_category,"
        " s.probability, o.day, o.amount_currency, o.amount_amount,"
        " CASE WHEN o.base_amount_currency = :base THEN o.base_amount_amount"
        " WHEN o.amount_currency = :base THEN round(o.amount_amount, :digits)"
        " ELSE round(o.amount_amount * r.rate, :digits) END"
        " FROM (SELECT *, CASE WHEN state = 1 THEN close_date ELSE CAST(timezone('UTC', close_time) AS date) END AS day"
        " FROM opportunities WHERE tenant_id = :tenant AND delete_time IS NULL"
        " AND (state = 1 OR close_time >= :since)) o"
        " JOIN pipeline_stages s ON s.tenant_id = o.tenant_id AND s.pipeline = o.pipeline AND s.stage = o.stage"
        " LEFT JOIN LATERAL (SELECT rate FROM exchange_rates r WHERE r.tenant_id = o.tenant_id"
        " AND r.currency_code = o.amount_currency AND r.delete_time IS NULL"
        " AND r.start_date <= CASE WHEN o.state = 1 THEN :day ELSE o.day END"
        " ORDER BY r.start_date DESC LIMIT 1) r ON o.amount_currency <> :base AND o.base_amount_currency IS NULL"
    ).bindparams(
        sa.bindparam("tenant", type_=sa.Uuid),
        sa.bindparam("snapshot", type_=sa.Uuid),
        sa.bindparam("base", type_=sa.Text),
        sa.bindparam("digits", type_=sa.Integer),
        sa.bindparam("day", type_=sa.Date),
        sa.bindparam("since", type_=sa.DateTime(timezone=True)),
    )
)
_DUE: Final = Statement(
    sa.text(
        "SELECT DISTINCT tenant_id FROM pipelines p WHERE NOT EXISTS (SELECT FROM forecast_snapshots s"
        " WHERE s.tenant_id = p.tenant_id AND s.kind = 1 AND s.day = :day)"
    ).bindparams(sa.bindparam("day", type_=sa.Date))
)


class ForecastSnapshots(ResourceServicer):
    """Serves forecast snapshots."""

    SERVICE = forecast_snapshot_service_pb2.DESCRIPTOR.services_by_name["ForecastSnapshotService"]
    RESOURCE = FORECAST_SNAPSHOT

    def new(self, tx: Transaction, call: Call, record: Any, *args: Any, **options: Any) -> Any:
        """Store a snapshot with its deals, of whoever they are; who may see which is decided where they are read."""
        now = dt.datetime.now(dt.UTC)
        if record.kind != DAILY:
            record.kind = ON_DEMAND
            periods.tell(record.day, now.date())
        record.base_currency_code = base_currency(tx)
        record = super().new(tx, call, record, *args, **options)
        base = record.base_currency_code
        values = {
            "tenant": tx.tenant_id,
            "snapshot": parse_name(record.name, self.RESOURCE.pattern, "name"),
            "base": base,
            "digits": -int(money.exponent(base).as_tuple().exponent) if base else 0,
            "day": dt.date(record.day.year, record.day.month, record.day.day),
            "since": now - dt.timedelta(days=KEPT_DAYS),
        }
        tx.defer(_TAKE, values)
        return record

    def take_daily(self, tx: Transaction, trace: Trace, day: dt.date) -> Any:
        """Take the snapshot of a day. Raises UniqueViolation, at the latest with the end of `tx`, where it is there."""
        assert tx.tenant_id is not None, "a snapshot belongs to a tenant"
        principal = Principal.of_service("sales", tx.tenant_id)
        method = self.SERVICE.methods_by_name["CreateForecastSnapshot"]
        call = Call(MethodSpec.of(method), trace, principal=principal, scope=Scope.ALL)
        record = forecast_snapshot_pb2.ForecastSnapshot(kind=DAILY)  # type: ignore[arg-type]  # a number is one
        periods.tell(record.day, day)
        return self.new(tx, call, record)


def job(snapshots: ForecastSnapshots, today: Callable[[], dt.date]) -> Periodic:
    """Return the job; the database of `snapshots` is as the app role."""

    @every(seconds=PERIOD_SECONDS, lease_seconds=LEASE_SECONDS)
    def take_snapshots(turn: Turn) -> None:
        day = today()
        for tenant in due(turn.database, day):
            turn.renew()
            try:
                # That there is one a day is said by an index: the lease saves work, it does not decide.
                with snapshots.shared.database.write(tenant) as tx:
                    snapshots.take_daily(tx, start_span(), day)
            except psycopg.errors.UniqueViolation:
                logger.info("the snapshot of the day is there already", extra={"tenant": str(tenant)})

    return take_snapshots


def due(database: Database, day: dt.date) -> list[uuid.UUID]:
    """Return the tenants of which there is no snapshot of a day; `database` works as the system role."""
    with database.read(None) as tx:
        return [tenant for (tenant,) in tx.run(_DUE, {"day": day})]
