"""What accounts are like: copied from what contacts tells of them."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from kontor.contacts.v1 import account_pb2
from kontor_kit.db import Statement
from kontor_kit.ids import parse_name
from kontor_kit.inbox.events import Event, Handlers
from kontor_kit.inbox.handling import Work
from kontor_sales.recommendations.table import account_profiles

_profile = insert(account_profiles).values(
    {column.name: sa.bindparam(column.name, type_=column.type) for column in account_profiles.c}
)
_KEEP: Final = Statement(
    _profile.on_conflict_do_update(
        index_elements=["tenant_id", "account"],
        set_={name: _profile.excluded[name] for name in ("version", "industry", "employee_count")},
        where=account_profiles.c.version < _profile.excluded.version,
    )
)


def declare(handlers: Handlers) -> None:
    """Declare the handler."""
    handlers.on("kontor.contacts.v1.account.*")(know_profile)


def know_profile(event: Event, work: Work) -> None:
    """Keep what an account is like; of a deleted one nothing."""
    account: Any = event.record(account_pb2.Account())
    live = not account.HasField("delete_time")
    work.tx.defer(
        _KEEP,
        {
            "tenant_id": event.tenant_id,
            "account": parse_name(event.resource_name, "accounts/{account}", "account"),
            "version": event.version,
            "industry": (account.industry if live else "") or None,
            "employee_count": account.employee_count if live else 0,
        },
    )
