"""What is kept of records of others that parties are made of beside their contact; what is older changes nothing."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from kontor_kit.db import Statement, Transaction
from kontor_kit.filter_sql import TENANT
from kontor_kit.tables import KEY_TEXT
from kontor_marketing.parties.rules import Around
from kontor_marketing.parties.table import (
    known_accounts,
    known_affiliations,
    known_statuses,
    known_tickets,
    party_addresses,
)

_IDS: Final = sa.bindparam("ids", type_=ARRAY(sa.Uuid))
_LOCK: Final = sa.func.hashtextextended(sa.bindparam("name", type_=sa.Text), 0)
_ALONE: Final = Statement(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
_BESIDE: Final = Statement(sa.select(sa.func.pg_advisory_xact_lock_shared(_LOCK)))


def take_turns(tx: Transaction, contact: uuid.UUID | None = None) -> None:
    """Queue a lock for who changes the party of a contact; without one, for who changes those of an account.

    What is told of a contact and of its account at the same moment would not see each other otherwise.
    """
    name = f"{tx.tenant_id}/parties"
    if contact is None:
        tx.defer(_ALONE, {"name": name})
    else:
        tx.defer(_BESIDE, {"name": name})
        tx.defer(_ALONE, {"name": f"{name}/{contact}"})


def _keep(table: sa.Table) -> tuple[Statement, Statement]:
    """Return what locks and reads a row, and what writes it unless it is newer."""
    key = list(table.primary_key.columns)[1].name
    columns = [column for column in table.c if column.name != "tenant_id"]
    given = {column.name: sa.bindparam(f"new_{column.name}", type_=column.type) for column in columns}
    read = sa.select(*columns).where(table.c.tenant_id == TENANT, table.c[key] == given[key]).with_for_update()
    write = insert(table).values({"tenant_id": TENANT, **given})
    return Statement(read), Statement(
        write.on_conflict_do_update(
            index_elements=["tenant_id", key],
            set_={column.name: write.excluded[column.name] for column in columns if column.name != key},
            where=table.c.version <= write.excluded.version,
        )
    )


_KEEP: Final = {table: _keep(table) for table in (known_accounts, known_affiliations, known_statuses, known_tickets)}


def keep(tx: Transaction, table: sa.Table, values: dict[str, Any]) -> tuple[dict[str, Any] | None, bool]:
    """Keep the columns of a row of `table`, unless what is kept is newer.

    Return what was kept before (None for nothing), and whether that differs in more than the version.
    """
    read, write = _KEEP[table]
    given = {"tenant": tx.tenant_id, **{f"new_{name}": value for name, value in values.items()}}
    rows = tx.run(read, given)
    before = (
        dict(zip((column.name for column in table.c if column.name != "tenant_id"), rows[0], strict=True))
        if rows
        else None
    )
    if before is not None and before["version"] > values["version"]:
        return before, False
    tx.defer(write, given)
    return before, before is None or {**before, "version": 0} != {**values, "version": 0}


# Who left, and whom an organisation is no more, does not count; of several the one marked as primary, or the first known.
_AROUND: Final = Statement(
    sa.text(
        "SELECT given.id, first.account, first.display_name, first.industry, first.tier, first.roles, first.country,"
        " (SELECT count(*) FROM known_tickets t WHERE t.tenant_id = :tenant AND t.complains"
        "   AND (t.contact = given.id OR t.account = first.account))"
        " FROM unnest(:ids) AS given (id) LEFT JOIN LATERAL ("
        "  SELECT a.account, k.display_name, k.industry, k.tier, k.roles, k.country FROM known_affiliations a"
        "  LEFT JOIN known_accounts k ON k.tenant_id = a.tenant_id AND k.account = a.account"
        "  WHERE a.tenant_id = :tenant AND a.contact = given.id AND a.live AND coalesce(k.live, true)"
        "   AND (a.valid_to IS NULL OR a.valid_to >= :today)"
        '  ORDER BY a."primary" DESC, a.affiliation LIMIT 1) AS first ON true'
    ).bindparams(TENANT, _IDS, sa.bindparam("today", type_=sa.Date))
)


def around(tx: Transaction, ids: Sequence[uuid.UUID], today: dt.date) -> dict[uuid.UUID, Around]:
    """Return what is known around contacts, by their ids."""
    rows = tx.run(_AROUND, {"tenant": tx.tenant_id, "ids": list(ids), "today": today})
    return {id: Around(f"accounts/{account}" if account else "", *rest) for id, account, *rest in rows}


_AFFILIATED: Final = Statement(
    sa.select(known_affiliations.c.contact)
    .distinct()
    .where(
        known_affiliations.c.tenant_id == TENANT, known_affiliations.c.account == sa.bindparam("account", type_=sa.Uuid)
    )
    .order_by(known_affiliations.c.contact)
)


def affiliated(tx: Transaction, account: uuid.UUID) -> list[uuid.UUID]:
    """Return the contacts that have to do with an account, or had once, in order."""
    return [row[0] for row in tx.run(_AFFILIATED, {"tenant": tx.tenant_id, "account": account})]


_ENDED: Final = (
    known_affiliations.c.tenant_id == TENANT,
    known_affiliations.c.affiliation == sa.bindparam("affiliation", type_=sa.Uuid),
    known_affiliations.c.live,
    known_affiliations.c.valid_to < sa.bindparam("today", type_=sa.Date),
)
_WHOSE: Final = Statement(sa.select(known_affiliations.c.contact).where(*_ENDED))
_END: Final = Statement(
    known_affiliations.update().values(live=False).where(*_ENDED).returning(known_affiliations.c.contact)
)


def end(tx: Transaction, affiliation: uuid.UUID, today: dt.date) -> list[uuid.UUID]:
    """Let an affiliation whose last day is over count no more, and return whose it was; nothing where that was done."""
    values = {"tenant": tx.tenant_id, "affiliation": affiliation, "today": today}
    for (contact,) in tx.run(_WHOSE, values):
        take_turns(tx, contact)
    return [row[0] for row in tx.run(_END, values)]


_PARTY: Final = sa.bindparam("party", type_=sa.Uuid)
_UNLIST: Final = Statement(
    party_addresses.delete().where(party_addresses.c.tenant_id == TENANT, party_addresses.c.party == _PARTY)
)
_given = (
    sa.func.unnest(sa.bindparam("addresses", type_=ARRAY(KEY_TEXT)))
    .table_valued(sa.column("address", KEY_TEXT))
    .render_derived(name="given")
)
_LIST: Final = Statement(
    party_addresses.insert().from_select(["tenant_id", "address", "party"], sa.select(TENANT, _given.c.address, _PARTY))
)


def list_addresses(tx: Transaction, party: uuid.UUID, addresses: set[str]) -> None:
    """Queue the addresses of a party, in place of those it had."""
    given = {"tenant": tx.tenant_id, "party": party, "addresses": sorted(addresses)}
    tx.defer(_UNLIST, given)
    if addresses:
        tx.defer(_LIST, given)
