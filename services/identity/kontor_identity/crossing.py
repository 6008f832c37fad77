"""A way into another tenant inside of one transaction: for operators, and for who acts on behalf of somebody."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import sqlalchemy as sa

from kontor_kit.db import TENANT_SETTING, Statement, Transaction

_ENTER: Final = Statement(sa.select(sa.func.set_config(TENANT_SETTING, sa.bindparam("tenant", type_=sa.Text), True)))


@contextmanager
def inside(tx: Transaction, tenant_id: uuid.UUID) -> Iterator[None]:
    """Let a transaction that writes work in another tenant for a while."""
    before = tx.tenant_id
    tx.defer(_ENTER, {"tenant": str(tenant_id)})
    tx.tenant_id = tenant_id
    yield
    tx.defer(_ENTER, {"tenant": str(before)})
    tx.tenant_id = before
