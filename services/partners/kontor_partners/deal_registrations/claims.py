"""What is claimed by now: read, written and held one after the other by what end customers are known by."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Iterable
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from kontor.partners.v1 import deal_registration_service_pb2
from kontor_kit.db import Statement, Transaction
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import parse_name, uuid7
from kontor_kit.mapping import plain
from kontor_kit.requests import Requests
from kontor_kit.tables import KEY_TEXT
from kontor_partners.deal_registrations import rules
from kontor_partners.deal_registrations.arbiter import Claim, Deal
from kontor_partners.deal_registrations.table import (
    DEAL_REGISTRATION,
    deal_arbitrations,
    deal_claims,
    deal_registrations,
)
from kontor_partners.known_deals import rules as customers
from kontor_partners.known_deals.rules import Key, Kind
from kontor_partners.known_deals.table import ACCOUNTS_BY_KEY, OPEN_DEALS
from kontor_partners.partners.table import partners

SHOWN: Final = 100
"""So many decisions on a registration are shown."""

_ID: Final = sa.bindparam("id", type_=sa.Uuid)
_KEYS: Final = sa.bindparam("keys", type_=ARRAY(KEY_TEXT))
_NOW: Final = Statement(sa.text("SELECT clock_timestamp()"))

_found = sa.select(deal_claims.c.registration).where(
    deal_claims.c.tenant_id == TENANT, deal_claims.c.key == sa.any_(_KEYS)
)
_known_by = (
    sa.select(sa.func.array_agg(deal_claims.c.key))
    .where(
        deal_claims.c.tenant_id == deal_registrations.c.tenant_id,
        deal_claims.c.registration == deal_registrations.c.id,
    )
    .scalar_subquery()
)
_CLAIMS: Final = Statement(
    sa.select(
        deal_registrations.c.id,
        deal_registrations.c.state,
        deal_registrations.c.submit_time,
        deal_registrations.c.protection_end_time,
        deal_registrations.c.products,
        deal_registrations.c.region_codes,
        deal_registrations.c.partner,
        partners.c.account,
        _known_by,
    )
    .join(
        partners,
        sa.and_(partners.c.tenant_id == deal_registrations.c.tenant_id, partners.c.id == deal_registrations.c.partner),
    )
    .where(deal_registrations.c.tenant_id == TENANT, deal_registrations.c.id.in_(_found))
)
_KEYS_OF: Final = Statement(
    sa.select(deal_claims.c.key).where(deal_claims.c.tenant_id == TENANT, deal_claims.c.registration == _ID)
)
_given = sa.func.unnest(_KEYS).table_valued(sa.column("key", KEY_TEXT)).render_derived(name="given")
_TAKE: Final = Statement(
    insert(deal_claims)
    .from_select(["tenant_id", "key", "registration"], sa.select(TENANT, _given.c.key, _ID))
    .on_conflict_do_nothing()
)
_LEAVE: Final = Statement(
    deal_claims.delete().where(
        deal_claims.c.tenant_id == TENANT, deal_claims.c.registration == _ID, deal_claims.c.key != sa.all_(_KEYS)
    )
)
_KEEP: Final = Statement(
    deal_arbitrations.insert().values(
        tenant_id=TENANT,
        id=sa.bindparam("arbitration_id", type_=sa.Uuid),
        registration=_ID,
        arbitration=sa.bindparam("arbitration", type_=deal_arbitrations.c.arbitration.type),
    )
)
_DECISIONS: Final = Statement(
    sa.select(deal_arbitrations.c.arbitration)
    .where(deal_arbitrations.c.tenant_id == TENANT, deal_arbitrations.c.registration == _ID)
    .order_by(deal_arbitrations.c.id.desc())
    .limit(SHOWN)
)


class Claims:
    """The claims of a tenant; all that is done with one goes through the lock of its end customer."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    def known_by(self, tx: Transaction, registration: Any) -> frozenset[Key]:
        """Return what the end customer of a registration is known by, the account it turns out to be included."""
        keys = rules.customer_keys(registration)
        if registration.account:
            return keys
        account = customers.resolve(keys, self._accounts(tx, keys))
        return keys | {Key(Kind.ACCOUNT, account)} if account else keys

    def serialise(self, tx: Transaction, keys: Iterable[Key]) -> None:
        """Let whoever claims something for an end customer with one of these keys do so one after the other.

        To be called before a registration is locked, once in a transaction: so nobody waits for each other.
        """
        for key in sorted(map(str, keys)):
            self._requests.serialise(tx, f"dealClaims/{key}")

    @staticmethod
    def now(tx: Transaction, after: Iterable[Claim] = ()) -> dt.datetime:
        """Return the time by the clock of the database, later than what was submitted before."""
        now: dt.datetime = tx.run(_NOW, {})[0][0]
        latest = max((claim.submit_time for claim in after), default=None)
        return now if latest is None or latest < now else latest + dt.timedelta(microseconds=1)

    @staticmethod
    def meeting(tx: Transaction, keys: Iterable[Key]) -> list[Claim]:
        """Return the claims, undecided and approved, for end customers that have one of the keys."""
        rows = tx.run(_CLAIMS, {"tenant": tx.tenant_id, "keys": _texts(keys)})
        return [
            Claim(
                f"dealRegistrations/{id}",
                frozenset(map(Key.of, texts)),
                frozenset(f"products/{product}" for product in products or ()),
                frozenset(regions or ()),
                submitted,
                f"partners/{partner}",
                f"accounts/{account}",
                state in rules.HOLDING,
                protected,
            )
            for id, state, submitted, protected, products, regions, partner, account, texts in rows
        ]

    def deals(self, tx: Transaction, keys: Collection[Key]) -> list[Deal]:
        """Return the open deals of the own sales force with accounts that have one of the keys."""
        accounts = self._accounts(tx, keys)
        for key in keys:
            if key.kind is Kind.ACCOUNT:
                accounts.setdefault(key.value, set()).add(key)
        ids = [uuid.UUID(account.partition("/")[2]) for account in accounts]
        if not ids:
            return []
        return [
            Deal(
                f"opportunities/{id}",
                frozenset(accounts[f"accounts/{account}"]),
                frozenset(f"products/{product}" for product in products),
                opened,
                f"accounts/{partner}" if partner else "",
            )
            for id, account, partner, products, opened in tx.run(OPEN_DEALS, {"tenant": tx.tenant_id, "accounts": ids})
        ]

    @staticmethod
    def _accounts(tx: Transaction, keys: Iterable[Key]) -> dict[str, set[Key]]:
        """Return the accounts that have one of the keys, with these and the one that they are."""
        accounts: dict[str, set[Key]] = {}
        for id, text in tx.run(ACCOUNTS_BY_KEY, {"tenant": tx.tenant_id, "keys": _texts(keys)}):
            account = f"accounts/{id}"
            accounts.setdefault(account, {Key(Kind.ACCOUNT, account)}).add(Key.of(text))
        return accounts

    @staticmethod
    def keys_of(tx: Transaction, id: uuid.UUID) -> frozenset[Key]:
        """Return what the end customer was known by when a registration claimed it; nothing where it claims nothing."""
        return frozenset(Key.of(row[0]) for row in tx.run(_KEYS_OF, {"tenant": tx.tenant_id, "id": id}))

    @staticmethod
    def take(tx: Transaction, id: uuid.UUID, keys: Iterable[Key]) -> None:
        """Let a registration claim the end customer with these keys; without any it claims nothing any more."""
        values = {"tenant": tx.tenant_id, "id": id, "keys": _texts(keys)}
        tx.defer(_LEAVE, values)
        tx.defer(_TAKE, values)

    @staticmethod
    def keep(tx: Transaction, registration: str, arbitration: dict[str, Any]) -> None:
        """Keep a decision on a registration; `arbitration` are fields of DealArbitration."""
        kept = plain(deal_registration_service_pb2.DealArbitration(**arbitration))
        values = {"id": parse_name(registration, DEAL_REGISTRATION.pattern, "name"), "arbitration_id": uuid7()}
        tx.defer(_KEEP, {"tenant": tx.tenant_id, **values, "arbitration": kept})

    @staticmethod
    def decisions(tx: Transaction, id: uuid.UUID) -> list[dict[str, Any]]:
        """Return the decisions on a registration, the newest first, as fields of DealArbitration."""
        return [row[0] for row in tx.run(_DECISIONS, {"tenant": tx.tenant_id, "id": id})]


def _texts(keys: Iterable[Key]) -> list[str]:
    return sorted(map(str, keys))
