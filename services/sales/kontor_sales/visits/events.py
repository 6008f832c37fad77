"""What is known of accounts: filled by what contacts tells of them, a snapshot included."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from kontor.contacts.v1 import account_pb2
from kontor_kit.db import Statement
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import parse_name
from kontor_kit.inbox.events import Event, Handlers
from kontor_kit.inbox.handling import Work
from kontor_sales.territories.rules import plain_code
from kontor_sales.visits.table import CHANNELS, account_facts, care_clocks, recount, take_turns

_COLUMNS: Final = [column for column in account_facts.c if column.name != "tenant_id"]
_facts = insert(account_facts).values(
    {"tenant_id": TENANT, **{column.name: sa.bindparam(column.name, type_=column.type) for column in _COLUMNS}}
)
_KNOW: Final = Statement(
    _facts.on_conflict_do_update(
        index_elements=["tenant_id", "account"],
        set_={column.name: _facts.excluded[column.name] for column in _COLUMNS if not column.primary_key},
        where=account_facts.c.version < _facts.excluded.version,
    ).returning(account_facts.c.version)
)
_ACCOUNT: Final = sa.bindparam("account", type_=sa.Uuid)
_FORGET: Final = Statement(
    care_clocks.delete().where(care_clocks.c.tenant_id == TENANT, care_clocks.c.account == _ACCOUNT)
)
_KIND: Final = ("tier", "role", "owner", "team")
_channel = (
    sa.func.unnest(sa.bindparam("channels", type_=ARRAY(sa.SmallInteger)))
    .table_valued(sa.column("channel", sa.SmallInteger))
    .render_derived(name="given")
)
_clocks = insert(care_clocks).from_select(
    ["tenant_id", "account", "channel", *_KIND, "last_time"],
    sa.select(
        TENANT,
        _ACCOUNT,
        _channel.c.channel,
        *(sa.bindparam(name, type_=care_clocks.c[name].type) for name in _KIND),
        sa.bindparam("known_since", type_=care_clocks.c.last_time.type),
    ),
)
_WIND: Final = Statement(
    _clocks.on_conflict_do_update(
        index_elements=["tenant_id", "account", "channel"], set_={name: _clocks.excluded[name] for name in _KIND}
    )
)


def declare(handlers: Handlers) -> None:
    """Declare the handlers of what is known of accounts."""
    handlers.on("kontor.contacts.v1.account.*")(know_account)


def know_account(event: Event, work: Work) -> None:
    """Keep what sales needs to know of an account, unless it is known as new already, and its clocks."""
    account: Any = event.record(account_pb2.Account())
    values = {"tenant": event.tenant_id, **_values(event, account)}
    take_turns(work.tx, values["account"])
    if not work.tx.run(_KNOW, values):
        return
    if not values["live"]:
        work.tx.defer(_FORGET, values)
        return
    work.tx.defer(_WIND, {**values, "channels": list(CHANNELS)})
    recount(work.tx, values["account"])


def _values(event: Event, account: Any) -> dict[str, Any]:
    address = next(
        (one for one in account.addresses if one.primary), account.addresses[0] if account.addresses else None
    )
    created = account.create_time.ToDatetime(dt.UTC) if account.HasField("create_time") else event.time
    return {
        "account": parse_name(event.resource_name, "accounts/{account}", "account"),
        "version": event.version,
        "display_name": account.display_name,
        "tier": account.tier,
        "role": account.roles[0] if account.roles else 0,
        "industry": account.industry or None,
        "employee_count": account.employee_count,
        "region_code": address.region_code or None if address else None,
        "postal_code": plain_code(address.postal_code) or None if address else None,
        "owner": parse_name(account.owner, "users/{user}", "owner") if account.owner else None,
        "team": parse_name(account.team, "teams/{team}", "team") if account.team else None,
        "known_since": created,
        "live": not account.HasField("delete_time"),
    }
