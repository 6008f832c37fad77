"""The job that ends offers which were not answered in time; any number of processes offer to run it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from itertools import groupby
from typing import Final

import sqlalchemy as sa

from kontor_kit.db import Statement
from kontor_kit.jobs import Periodic, Turn, every
from kontor_kit.tracing import start_span
from kontor_sales.quotes.api import Quotes

PERIOD_SECONDS: Final = 600.0
BATCH: Final = 200

_OVER: Final = Statement(
    sa.text(
        "SELECT tenant_id, id FROM quotes WHERE state = 4 AND delete_time IS NULL AND valid_until < :today"
        " ORDER BY tenant_id, id LIMIT :size"
    ).bindparams(sa.bindparam("today", type_=sa.Date), sa.bindparam("size", BATCH, sa.Integer))
)


def job(quotes: Quotes, today: Callable[[], dt.date]) -> Periodic:
    """Return the job; the database of `quotes` is as the app role."""

    @every(seconds=PERIOD_SECONDS)
    def expire_quotes(turn: Turn) -> None:
        day = today()
        while True:
            with turn.database.read(None) as tx:
                rows = tx.run(_OVER, {"today": day})
            for tenant, group in groupby(rows, key=lambda row: row[0]):
                turn.renew()
                with quotes.shared.database.write(tenant) as tx:
                    quotes.expire(tx, start_span(), [row[1] for row in group], day)
            if len(rows) < BATCH:
                return

    return expire_quotes
