"""The numbers of quotes: one after the other within a tenant, beside those given by hand."""

import itertools
from typing import Final

import sqlalchemy as sa

from kontor_kit.db import Statement, Transaction
from kontor_kit.filter_sql import TENANT
from kontor_sales.quotes.table import quotes

_NUMBER: Final = Statement(
    sa.text(
        "INSERT INTO quote_numbers (tenant_id, last) VALUES (:tenant, 1)"
        " ON CONFLICT (tenant_id) DO UPDATE SET last = quote_numbers.last + :step RETURNING last"
    ).bindparams(sa.bindparam("tenant", type_=sa.Uuid), sa.bindparam("step", type_=sa.BigInteger))
)
_STEPS: Final = 10
"""After so many numbers that are taken, some are left out."""
# Deleted ones too: they can come back.
_TAKEN: Final = Statement(
    sa.select(quotes.c.id)
    .where(
        quotes.c.tenant_id == TENANT, quotes.c.quote_number == sa.bindparam("number", type_=quotes.c.quote_number.type)
    )
    .limit(1)
)


def next_number(tx: Transaction) -> str:
    """Return the next number; those that somebody gave by hand are passed over."""
    # In ever longer steps where many are taken: an import gives thousands in a row.
    for step in (2 ** max(0, taken - _STEPS) for taken in itertools.count()):
        number = f"Q{tx.run(_NUMBER, {'tenant': tx.tenant_id, 'step': step})[0][0]:06d}"
        if not tx.run(_TAKEN, {"tenant": tx.tenant_id, "number": number}):
            break
    return number
